"""What seats wait for from the database: one read for all at the same cursor, a few at once."""

import asyncio
import itertools
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from comments import stream
from comments.seats import Seat
from comments.stream import Batch, Cursor
from comments.threads import in_database
from streamsite.observe.counts import counts

logger = logging.getLogger(__name__)

READS_AT_ONCE = 4


class Reader(Protocol):
    """Whose seats they are, which is the hub."""

    stream_id: int
    epoch: str
    generation: int  # counts resets: what was read before one is not of this history

    @property
    def head(self) -> int:
        """The latest change that is known, with all before it."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> Any:
        """Run it beside."""

    async def read_beyond(self) -> None:
        """Read for all what is beyond `head`, also where that is a new history."""

    def answer(self, batch: Batch | None, seats: list[Seat]) -> None:
        """Serve seats what was read for them; None where that failed."""


class Reads:
    """The catch-up reads of one hub."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._window: Batch | None = None  # the last reset that was read
        self._waiting: dict[Cursor | None, list[tuple[Seat, int]]] = {}
        self._numbers = itertools.count(1)
        self._at_once = asyncio.Semaphore(READS_AT_ONCE)

    def start(self, seat: Seat, cursor: Cursor | None) -> None:
        """Read what a seat at this cursor has missed (None: the window); seats at the same one
        share one read."""
        number = self.claim(seat)
        counts.ring_misses += cursor is not None
        waiting = self._waiting.get(cursor)
        if waiting is not None:
            waiting.append((seat, number))
        else:
            self._waiting[cursor] = [(seat, number)]
            self._reader.spawn(self._serve(cursor))

    def claim(self, seat: Seat) -> int:
        """Let a seat wait; what was read for it earlier counts no more."""
        seat.reading = next(self._numbers)
        return seat.reading

    def forget_window(self) -> None:
        """A new history: its numbers may mean other comments now."""
        self._window = None

    async def _serve(self, cursor: Cursor | None) -> None:
        batch = None
        try:
            async with self._at_once:
                batch = await self._catch_up(cursor)
        except Exception as error:
            logger.warning(
                "stream %s: no catch-up: %s", self._reader.stream_id, type(error).__name__
            )
        waiting = self._waiting.pop(cursor)
        self._reader.answer(batch, [seat for seat, number in waiting if seat.reading == number])

    async def _catch_up(self, cursor: Cursor | None) -> Batch:
        """`stream.catch_up`, of the history that the hub is in when it is read."""
        reader, wanted = self._reader, cursor
        while True:
            window = self._window
            known = reader.epoch, reader.head
            if wanted is None and window and (window.epoch, window.head) == known:
                return window
            generation = reader.generation
            batch = await in_database(stream.catch_up)(reader.stream_id, wanted)
            if batch.epoch != reader.epoch and generation == reader.generation:
                await reader.read_beyond()  # a new history that the hub has not met yet
            if generation == reader.generation:
                if batch.reset:
                    self._window = batch
                return batch
            wanted = None
