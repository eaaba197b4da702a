"""Fan-out: one hub per process and video takes published changes to the sockets of this process.

A hub joins its video's group once. What the doorbell loses, doubles or shuffles is found by its
number, and what it never says by the safety poll. How seats are sent what is new stands in
`delivery`, how they are brought up from the database in `reads`.
Why not one group membership per socket: docs/decisions.md, "One hub per process".
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from channels.layers import get_channel_layer

from comments import pace, stream
from comments.delivery import Delivery
from comments.frames import render_room, role_element, watching_element
from comments.layer import bounded
from comments.models import Stream
from comments.reads import Reads
from comments.ring import SIZE, Ring
from comments.seats import Seat, ignore_errors
from comments.stream import Batch, Change, Cursor
from comments.threads import in_database
from streamsite.observe import context
from streamsite.observe.counts import counts

logger = logging.getLogger(__name__)

GAP_SECONDS = 0.05  # how long an early number waits for the ones before it
EARLY_AT_MOST = 2 * SIZE  # numbers ahead of what is known that are kept until the others come
UNHEARD_AT_MOST = 2  # safety polls in a row that knew more than the doorbell
PRESENCE_SECONDS = 6.0  # a process that has not told its viewers for this long counts none

PROCESS = uuid.uuid4().hex


class Hub:
    """The fan-out of one video in this process. Lives on the event loop; no method blocks."""

    def __init__(self, stream_id: int, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`look` is the safety poll, for when a message tells that the room has changed."""
        self.stream_id = stream_id
        self._look = look
        self.slug = ""
        self.epoch = ""
        self.ring = Ring()
        self.early: dict[int, Change] = {}  # arrived before the numbers in front of them
        self.room = ""  # rendered state of room and video
        self.elsewhere: dict[str, tuple[int, float]] = {}  # process -> its viewers, told when
        self.told = (-1, 0.0)  # own viewers as last told to the others, when
        self.viewers = 0  # here and elsewhere
        self.watching = 0  # as pages were told
        self.notice_version = 0
        self._counted = 0.0
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._context.run(context.forget)  # its tasks serve all sockets, not who came first
        self._tasks: set[asyncio.Task[None]] = set()
        self._healing = False
        self._heal_again = False  # asked for while a read was under way
        self.generation = 0  # counts resets: what was read before one is not of this history
        self._unheard = 0  # times in a row that the safety poll knew more than the doorbell
        self._listening: asyncio.Task[None] | None = None
        self.empty_since = self._loop.time()
        self.delivery = Delivery(self)
        self.seats = self.delivery.seats
        self._reads = Reads(self)

    @property
    def head(self) -> int:
        """The latest change that this process knows of, with all before it."""
        return self.ring.head

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read where the stream is, then listen. Raises Stream.DoesNotExist."""
        batch, self.slug, self.room = await in_database(_open)(self.stream_id)
        self._context.run(context.know, video=self.slug)
        self.epoch, self.notice_version = batch.epoch, 1
        self.ring.start_at(max(0, batch.head - SIZE))
        self._apply(batch)
        self._listening = self.spawn(self._listen())

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.delivery.stop()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _listen(self) -> None:
        """Receive from the video's group for as long as the hub lives, through every failure."""
        layer = get_channel_layer()
        assert layer is not None, "settings.CHANNEL_LAYERS has a default"
        group = stream.group_name(self.stream_id)
        while True:
            channel = None
            try:
                channel = await layer.new_channel()
                await layer.group_add(group, channel)
                self.heal()  # what was announced before we listened
                while True:
                    self.receive(await layer.receive(channel))
            except Exception as error:
                logger.warning("stream %s: not listening: %s", self.stream_id, type(error).__name__)
                await asyncio.sleep(1)
            finally:
                if channel:
                    leaving = layer.group_discard(group, channel)
                    await bounded(leaving, f"stream {self.stream_id}: group_discard")

    # --- seats --------------------------------------------------------------------------------

    def join(self, seat: Seat, cursor: Cursor | None) -> None:
        """Seat a socket whose page stands at `cursor`; what it missed is sent to it next."""
        self.delivery.add(seat)
        if cursor and cursor.epoch == self.epoch and self.ring.covers(cursor.change):
            seat.cursor = cursor.change
        elif cursor and cursor.epoch == self.epoch and cursor.change > self.head - SIZE:
            # Older than the ring, or newer than the doorbell: the database knows.
            self.read(seat, cursor)
        else:
            self.read(seat, None)  # the window, which is read once for all
        if time.monotonic() - self._counted > 1.0:
            self._count()
        self.delivery.schedule()

    def leave(self, seat: Seat) -> None:
        self.delivery.remove(seat)
        self.empty_since = self._loop.time()

    # --- changes in ---------------------------------------------------------------------------

    def receive(self, message: dict[str, Any]) -> None:
        """Take one message of the group. Nothing is trusted to arrive, once, or in order."""
        try:
            self._take(message)
        except (KeyError, TypeError, ValueError) as error:
            # Of another version of this program, or of somebody else: the database is asked.
            logger.warning("stream %s: a message was not understood: %r", self.stream_id, error)
            self.heal()

    def _take(self, message: dict[str, Any]) -> None:
        self._unheard = 0
        kind, now = message["type"], time.time()
        counts.doorbell_seconds.observe(max(0.0, now - float(message.get("sent_at", now))))
        if kind == "presence":
            self.elsewhere[str(message["process"])] = (int(message["viewers"]), time.monotonic())
            return
        if kind == "room":
            self.spawn(self._look())
            return
        if message["epoch"] != self.epoch:
            self.heal()
            return
        for change in [Change.of_message(values) for values in message["changes"]]:
            if self.head < change.change <= self.head + EARLY_AT_MOST:
                self.early[change.change] = change
        before = self.head
        self._take_early()
        if self.head > before:
            self.delivery.given([(float(message.get("given_at", now)), self.head - before)])
        if self.early:
            self.heal(after=GAP_SECONDS)

    def _take_early(self) -> None:
        while (change := self.early.pop(self.head + 1, None)) is not None:
            self.ring.append(change)
        self.delivery.schedule()

    def missed(self) -> None:
        """The safety poll found what no message told: read it; listen anew if that goes on.

        Redis may have come back empty, and the core layer then has no group left to send to.
        """
        self._unheard += 1
        counts.polls_ahead += 1
        if self._unheard >= UNHEARD_AT_MOST and self._listening:
            self._unheard = 0
            self._listening = self.spawn(self._listen_anew(self._listening))
        self.heal()

    async def _listen_anew(self, listening: asyncio.Task[None]) -> None:
        # One after the other: leaving the group late would undo the other's joining.
        listening.cancel()
        await asyncio.wait([listening])
        await self._listen()

    def heal(self, *, after: float = 0.0) -> None:
        """Read from the database what is beyond `head`; one read at a time for all seats."""
        self._heal_again = True
        if not self._healing:
            self._healing = True
            self.spawn(self._heal(after))

    async def _heal(self, after: float) -> None:
        try:
            await asyncio.sleep(after)
            while self._heal_again:
                self._heal_again = False
                await self.read_beyond()
        except Exception as error:
            # The safety poll comes back to it.
            logger.warning("stream %s: not healed: %s", self.stream_id, type(error).__name__)
        finally:
            self._healing = False

    async def read_beyond(self) -> None:
        """Take from the database what is beyond `head`, also where that is a new history."""
        cursor = Cursor(self.epoch, self.head)
        generation = self.generation
        announced = list(self.early)
        batch = await in_database(stream.catch_up)(self.stream_id, cursor)
        counts.heals += 1
        if generation == self.generation:
            if not batch.reset:
                found = [change for change in batch.changes if change.change > self.head]
                counts.healed_changes += len(found)
                self.delivery.given((change.given_at, 1) for change in found if change.given_at)
            self._apply(batch)
            # What was announced before is read now, or is of a history that was lost.
            for number in announced:
                self.early.pop(number, None)

    def _apply(self, batch: Batch) -> None:
        if batch.reset:
            self.generation += 1
            counts.histories += 1
            self.epoch = batch.epoch
            self.ring.start_at(batch.head)
            self.early.clear()
            self._reads.forget_window()
            self.delivery.set_all_aside()
            self._deliver(batch, [seat for seat in self.seats if not seat.reading])
            return
        for change in batch.changes:
            if change.change > self.head:
                self.ring.append(change)
        self.ring.head = max(self.head, batch.head)
        self.early = {n: change for n, change in self.early.items() if n > self.head}
        self._take_early()

    def read(self, seat: Seat, cursor: Cursor | None) -> None:
        """Catch a seat up from the database (None: with the window); it stands aside meanwhile."""
        self.delivery.set_aside(seat)
        self._reads.start(seat, cursor)

    def answer(self, batch: Batch | None, seats: list[Seat]) -> None:
        """Serve the seats that are still here what was read for them; None where that failed."""
        here = [seat for seat in seats if seat in self.seats]
        if batch is None:
            counts.catch_ups_failed += len(here)
            for seat in here:
                self.leave(seat)
                self.spawn(ignore_errors(seat.close(1013)))
            return
        for seat in here:
            seat.reading = 0
        self._deliver(batch, here)

    def _deliver(self, batch: Batch, seats: list[Seat]) -> None:
        for seat in self.delivery.deliver(batch, seats):
            self._reads.claim(seat)
            self._loop.call_later(pace.APART, self.read, seat, None)

    # --- the room -----------------------------------------------------------------------------

    def notice(self, *, staff: bool) -> str:
        return self.room + watching_element(self.watching) + role_element(staff=staff)

    def set_room(self, room: str) -> None:
        """Show a new state of room and video, where it differs from what pages have."""
        if room != self.room:
            self.room = room
            self.notice_version += 1
            self.delivery.schedule()

    def _count(self) -> None:
        """Add up who watches here and elsewhere; pages are told of changes from 1% on."""
        now = self._counted = time.monotonic()
        self.elsewhere = {
            process: (viewers, at)
            for process, (viewers, at) in self.elsewhere.items()
            if process != PROCESS and now - at < PRESENCE_SECONDS
        }
        elsewhere = sum(viewers for viewers, _at in self.elsewhere.values())
        self.viewers = watching = len(self.seats) + elsewhere
        if watching != self.watching and abs(watching - self.watching) * 100 >= self.watching:
            self.watching = watching
            self.notice_version += 1

    def tick(self) -> None:
        """With every safety poll: tell the others our viewers; beat where nothing was said."""
        now = time.monotonic()
        viewers, at = self.told
        if viewers != len(self.seats) or now - at > PRESENCE_SECONDS / 2:
            self.told = (len(self.seats), now)
            message = {"type": "presence", "process": PROCESS, "viewers": len(self.seats)}
            self.spawn(stream.send(self.stream_id, message))
        self._count()
        self.delivery.schedule()
        self.delivery.beat_if_due()

    def stand(self, seat: Seat, *, staff: bool | None) -> None:
        """What the safety poll found of a seat's authority; None where its session is over."""
        if staff is None:
            # The browser comes back by itself, as whoever it is now.
            self.leave(seat)
            self.spawn(ignore_errors(seat.close(1012)))
        elif staff is not seat.staff:
            self.delivery.set_aside(seat)
            seat.staff = staff
            self.read(seat, None)  # the window anew, as the other audience sees it


def _open(stream_id: int) -> tuple[Batch, str, str]:
    room = Stream.objects.select_related("video").get(pk=stream_id)
    cursor = Cursor(room.epoch, max(0, room.head - SIZE))
    return stream.catch_up(stream_id, cursor), room.video.slug, render_room(room)
