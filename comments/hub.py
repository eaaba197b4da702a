"""Fan-out: one hub per process and video takes published changes to the sockets of this process.

A hub joins its video's group once. Each socket has a seat with a cursor, never a queue: a flush
joins what lies beyond a cursor once for all seats that share it. What the doorbell loses, doubles
or shuffles is found by its number, and what it never says by the safety poll.
Why not one group membership per socket: docs/decisions.md, "One hub per process".
"""

import asyncio
import itertools
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, Protocol

from channels.layers import get_channel_layer

from comments import stream
from comments.frames import (
    cursor_element,
    render_room,
    reset_frame,
    role_element,
    watching_element,
)
from comments.identity import Standing
from comments.models import Stream
from comments.ring import SIZE, Ring, in_pieces
from comments.stream import Batch, Change, Cursor
from comments.threads import in_database
from streamsite.observe import context
from streamsite.observe.counts import counts
from streamsite.websocket import Frame

logger = logging.getLogger(__name__)

GAP_SECONDS = 0.05  # how long an early number waits for the ones before it
# A flush that took t seconds is followed by the next one 10 t after its start: it takes a tenth of
# the processor. That is no later than PACE_AT_MOST while it leaves a fifth free; a quiet room is
# flushed at once.
PACE = 10
PACE_AT_LEAST = 1.25
PACE_AT_MOST = 0.24
GONE = " hidden></li>"  # in the fragment of a removed comment, for the public
BEAT_SECONDS = 15.0  # silence after which pages are told that the connection lives
READS_AT_ONCE = 4
EARLY_AT_MOST = 2 * SIZE  # numbers ahead of what is known that are kept until the others come
UNHEARD_AT_MOST = 2  # safety polls in a row that knew more than the doorbell
PRESENCE_SECONDS = 6.0  # a process that has not told its viewers for this long counts none

PROCESS = uuid.uuid4().hex


class Peer(Protocol):
    """A socket as the server gives it (streamsite.websocket)."""

    def write(self, frame: Frame) -> bool:
        """Send a frame at once; False, and nothing is sent, while earlier ones still wait."""

    @property
    def is_ending(self) -> bool:
        """Whether it will never take a frame again."""

    def abort(self) -> None:
        """End the connection without waiting for who does not read."""


class Seat:
    """One socket's place in a hub.

    `close` ends the socket with a code; `standing` is what a signed-in socket's authority rests
    on, which the safety poll looks at again. `by_slug` is the video's slug as this process had it
    in mind, where the database was not asked; until the safety poll has confirmed it.
    """

    __slots__ = ("by_slug", "close", "cursor", "notice", "peer", "reading", "staff", "standing")

    def __init__(
        self,
        peer: Peer,
        close: Callable[[int], Awaitable[None]],
        *,
        staff: bool,
        standing: Standing | None,
        by_slug: str = "",
    ) -> None:
        self.peer = peer
        self.close = close
        self.staff = staff
        self.standing = standing
        self.by_slug = by_slug
        self.cursor = 0
        self.notice = 0  # the version of the room's notice that this socket has
        self.reading = 0  # which read from the database it waits for, 0 for none


class Hub:
    """The fan-out of one video in this process. Lives on the event loop; no method blocks."""

    def __init__(self, stream_id: int, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`look` is the safety poll, for when a message tells that the room has changed."""
        self.stream_id = stream_id
        self._look = look
        self.slug = ""
        self.slug_is_known = True  # until the room is told to have changed
        self.seats: set[Seat] = set()
        self.epoch = ""
        self.ring = Ring()
        self.early: dict[int, Change] = {}  # arrived before the numbers in front of them
        self._given: list[tuple[float, int]] = []  # when unsent numbers were given, how many then
        self.room = ""  # rendered state of room and video
        self.elsewhere: dict[str, tuple[int, float]] = {}  # process -> its viewers, told when
        self.told = (-1, 0.0)  # own viewers as last told to the others, when
        self.watching = 0
        self.notice_version = 0
        self._counted = 0.0
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._context.run(context.forget)  # its tasks serve all sockets, not who came first
        self._tasks: set[asyncio.Task[None]] = set()
        self._healing = False
        self._heal_again = False  # asked for while a read was under way
        self._generation = 0  # counts resets: what was read before one is not of this history
        self._unheard = 0  # times in a row that the safety poll knew more than the doorbell
        self._listening: asyncio.Task[None] | None = None
        self._flush_handle: asyncio.Handle | None = None
        self._next_flush = 0.0
        self._flushed = self._loop.time()  # when everybody was last sent something
        # Each seat that waits for no read is in one of these. Those abreast have the head and the
        # notice of `_shown`: it stands for their own, so that a flush need not look at each.
        self._shown = (0, 0)
        self._abreast: dict[bool, set[Seat]] = {False: set(), True: set()}  # by `staff`
        self._fresh: set[Seat] = set()  # who came since, and who had no room
        self.empty_since = self._loop.time()
        self._window: Batch | None = None  # the last reset that was read
        self._reads: dict[Cursor | None, list[tuple[Seat, int]]] = {}
        self._numbers = itertools.count(1)  # of reads
        self._reading = asyncio.Semaphore(READS_AT_ONCE)

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
        if self._flush_handle:
            self._flush_handle.cancel()

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
                    try:
                        async with asyncio.timeout(stream.PUBLISH_SECONDS):
                            await layer.group_discard(group, channel)
                    except Exception as error:
                        logger.info(
                            "stream %s: group_discard: %s", self.stream_id, type(error).__name__
                        )

    # --- seats --------------------------------------------------------------------------------

    def join(self, seat: Seat, cursor: Cursor | None) -> None:
        """Seat a socket whose page stands at `cursor`; what it missed is sent to it next."""
        self.seats.add(seat)
        self._fresh.add(seat)
        if cursor and cursor.epoch == self.epoch and self.ring.covers(cursor.change):
            seat.cursor = cursor.change
        elif cursor and cursor.epoch == self.epoch and cursor.change > self.head - SIZE:
            # Older than the ring, or newer than the doorbell: the database knows.
            self._read(seat, cursor)
        else:
            self._read(seat, None)  # the window, which is read once for all
        if time.monotonic() - self._counted > 1.0:
            self._count()
        self._schedule()

    def leave(self, seat: Seat) -> None:
        self.seats.discard(seat)
        self._fresh.discard(seat)
        self._abreast[seat.staff].discard(seat)
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
            self.slug_is_known = False
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
            self._given.append((float(message.get("given_at", now)), self.head - before))
        if self.early:
            self.heal(after=GAP_SECONDS)

    def _take_early(self) -> None:
        while (change := self.early.pop(self.head + 1, None)) is not None:
            self.ring.append(change)
        self._schedule()

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
                await self._read_beyond()
        except Exception as error:
            # The safety poll comes back to it.
            logger.warning("stream %s: not healed: %s", self.stream_id, type(error).__name__)
        finally:
            self._healing = False

    async def _read_beyond(self) -> None:
        cursor = Cursor(self.epoch, self.head)
        generation = self._generation
        announced = list(self.early)
        batch = await in_database(stream.catch_up)(self.stream_id, cursor)
        counts.heals += 1
        if generation == self._generation:
            if not batch.reset:
                found = [change for change in batch.changes if change.change > self.head]
                counts.healed_changes += len(found)
                self._given += [(change.given_at, 1) for change in found if change.given_at]
            self._apply(batch)
            # What was announced before is read now, or is of a history that was lost.
            for number in announced:
                self.early.pop(number, None)

    def _apply(self, batch: Batch) -> None:
        if batch.reset:
            self._generation += 1
            counts.histories += 1
            self.epoch = batch.epoch
            self.ring.start_at(batch.head)
            self.early.clear()
            self._window = None  # its numbers may mean other comments now
            for abreast in self._abreast.values():
                abreast.clear()
            self._deliver(batch, [seat for seat in self.seats if not seat.reading])
            return
        for change in batch.changes:
            if change.change > self.head:
                self.ring.append(change)
        self.ring.head = max(self.head, batch.head)
        self.early = {n: change for n, change in self.early.items() if n > self.head}
        self._take_early()

    # --- frames out ---------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._flush_handle is None:
            wait = self._next_flush - self._loop.time()
            if wait > 0:
                self._flush_handle = self._loop.call_later(wait, self._flush)
            else:
                self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send every seat what lies beyond its cursor; who has no room for it is served later."""
        self._flush_handle = None
        started = self._loop.time()
        now = self.head, self.notice_version
        groups: defaultdict[tuple[int, int, bool], list[Seat]] = defaultdict(list)
        for seat in self._fresh:
            groups[seat.cursor, seat.notice, seat.staff].append(seat)
        self._fresh = set()
        reaches = bool(groups)
        if self._shown != now:
            for staff, abreast in self._abreast.items():
                reaches |= bool(abreast)
                self._flush_abreast(*self._shown, staff=staff)
            self._shown = now
            self._flushed = started
        for (cursor, notice, staff), seats in groups.items():
            frames = self._due(cursor, notice, staff=staff)
            if cursor > self.head:
                self._fresh.update(seats)  # read from the database ahead of the doorbell
            elif frames is None:
                for seat in seats:
                    self._read(seat, Cursor(self.epoch, cursor))
            else:
                self._abreast[staff].update(seats)
                self._abreast[staff].difference_update(self._send(seats, frames))
        took = self._loop.time() - started
        if reaches:
            counts.reached_sockets(took, self._given, self.slug, len(self.seats))
        self._given.clear()
        self._next_flush = started + max(PACE_AT_LEAST * took, min(PACE_AT_MOST, PACE * took))
        if self._fresh:
            # Nothing else would come back to who had no room.
            self._next_flush = started + PACE_AT_MOST
            self._schedule()

    def _flush_abreast(self, cursor: int, notice: int, *, staff: bool) -> None:
        """Send what is due to all of one audience who are abreast, which is at `_shown`."""
        seats = self._abreast[staff]
        if not seats:
            return
        frames = self._due(cursor, notice, staff=staff)
        if frames is None:
            behind = list(seats)
            self._fall_behind(behind, cursor, notice)
            for seat in behind:
                self._read(seat, Cursor(self.epoch, cursor))
            return
        for reached, frame in frames:
            # The hot path: one call for each socket, and nothing noted of it.
            busy = [seat for seat in seats if not seat.peer.write(frame)]
            self._fall_behind(busy, cursor, notice)
            self._fresh.update(seat for seat in busy if not seat.peer.is_ending)
            counts.frames_sent += len(seats)  # who had no room is not among them any more
            counts.without_room += len(busy)
            cursor, notice = reached, self.notice_version

    def _fall_behind(self, seats: list[Seat], cursor: int, notice: int) -> None:
        """From here on each has a cursor and a notice of its own again."""
        for seat in seats:
            seat.cursor, seat.notice = cursor, notice
            self._abreast[seat.staff].discard(seat)

    def _due(self, cursor: int, notice: int, *, staff: bool) -> list[tuple[int, Frame]] | None:
        """The frames that a seat needs to be abreast; None where the ring does not reach back."""
        text = self._notice(staff=staff) if notice != self.notice_version else ""
        if cursor < self.ring.floor:
            return None
        if cursor < self.head:
            return self._frames(text, self.ring.beyond(cursor, staff=staff), self.head)
        return [(cursor, Frame(text))] if text else []

    def _frames(
        self, first: str, changes: list[tuple[int, str]], head: int
    ) -> list[tuple[int, Frame]]:
        """Changes up to `head` as frames, with where a page is after each; `first` before all.

        Where they come in several pieces, what was removed goes before: it is the first thing that
        a page learns which comes back, and comes again in its place.
        """
        pieces = list(in_pieces(changes, head))
        if len(pieces) > 1:
            gone = "".join(text for _change, text in changes if GONE in text)
            pieces.insert(0, (changes[0][0] - 1, gone))
        frames = []
        for cursor, text in pieces:
            frames.append(
                (cursor, Frame(first + text + cursor_element(Cursor(self.epoch, cursor))))
            )
            first = ""
        return frames

    def _send(self, seats: list[Seat], frames: list[tuple[int, Frame]]) -> list[Seat]:
        """Send frames, in their order, to each seat as far as there is room; to whom there was
        not for all of them. Those are served with the next flush."""
        busy: list[Seat] = []
        version = self.notice_version
        for seat in seats:
            for cursor, frame in frames:
                if not seat.peer.write(frame):
                    if not seat.peer.is_ending:  # else there is nothing to come back for
                        busy.append(seat)
                    break
                seat.cursor = cursor
                seat.notice = version
        self._fresh.update(busy)
        counts.frames_sent += len(frames) * (len(seats) - len(busy))
        counts.without_room += len(busy)
        return busy

    def _read(self, seat: Seat, cursor: Cursor | None) -> None:
        """Catch a seat up from the database; seats at the same cursor share one read."""
        seat.reading = number = next(self._numbers)  # an earlier read of it counts no more
        self._fresh.discard(seat)
        self._abreast[seat.staff].discard(seat)
        counts.ring_misses += cursor is not None
        waiting = self._reads.get(cursor)
        if waiting is not None:
            waiting.append((seat, number))
        else:
            self._reads[cursor] = [(seat, number)]
            self.spawn(self._read_for(cursor))

    async def _read_for(self, cursor: Cursor | None) -> None:
        batch = None
        try:
            async with self._reading:
                batch = await self._catch_up(cursor)
        except Exception as error:
            logger.warning("stream %s: no catch-up: %s", self.stream_id, type(error).__name__)
        waiting = self._reads.pop(cursor)
        seats = [s for s, number in waiting if s in self.seats and s.reading == number]
        if batch is None:
            counts.catch_ups_failed += len(seats)
            for seat in seats:
                self.leave(seat)
                self.spawn(ignore_errors(seat.close(1013)))
            return
        for seat in seats:
            seat.reading = 0
        self._deliver(batch, seats)

    async def _catch_up(self, cursor: Cursor | None) -> Batch:
        """`stream.catch_up`, of the history that this hub is in when it is read."""
        wanted = cursor
        while True:
            window = self._window
            if wanted is None and window and (window.epoch, window.head) == (self.epoch, self.head):
                return window
            generation = self._generation
            batch = await in_database(stream.catch_up)(self.stream_id, wanted)
            if batch.epoch != self.epoch and generation == self._generation:
                await self._read_beyond()  # a new history that the hub has not met yet
            if generation == self._generation:
                if batch.reset:
                    self._window = batch
                return batch
            wanted = None

    def _deliver(self, batch: Batch, seats: list[Seat]) -> None:
        """Send a batch as it was read, and bring the seats to its head."""
        for staff in (False, True):
            audience = [seat for seat in seats if seat.staff is staff]
            if not audience:
                continue
            # The role first: what rows offer depends on it.
            notice = self._notice(staff=staff)
            changes = [(c.change, c.staff if staff else c.public) for c in batch.changes]
            if batch.reset:
                counts.windows += len(audience)
                states = "".join(text for _change, text in changes)
                window = reset_frame(states, Cursor(batch.epoch, batch.head))
                frames = [(batch.head, Frame(notice + window))]
            else:
                frames = self._frames(notice, changes, batch.head)
            for seat in self._send(audience, frames):
                if batch.reset:
                    # Its cursor may be of another history: it is sent a window all the same.
                    seat.reading = next(self._numbers)
                    self._fresh.discard(seat)
                    self._loop.call_later(PACE_AT_MOST, self._read, seat, None)
        self._fresh.update(s for s in seats if not s.reading and not s.peer.is_ending)
        self._schedule()

    # --- the room -----------------------------------------------------------------------------

    def _notice(self, *, staff: bool) -> str:
        return self.room + watching_element(self.watching) + role_element(staff=staff)

    def set_room(self, room: str) -> None:
        """Show a new state of room and video, where it differs from what pages have."""
        if room != self.room:
            self.room = room
            self.notice_version += 1
            self._schedule()

    def _count(self) -> None:
        """Add up who watches here and elsewhere; pages are told of changes from 1% on."""
        now = self._counted = time.monotonic()
        self.elsewhere = {
            process: (viewers, at)
            for process, (viewers, at) in self.elsewhere.items()
            if process != PROCESS and now - at < PRESENCE_SECONDS
        }
        watching = len(self.seats) + sum(viewers for viewers, _at in self.elsewhere.values())
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
        self._schedule()
        if self._loop.time() - self._flushed > BEAT_SECONDS:
            self._beat()

    def _beat(self) -> None:
        """A frame that says nothing: a page that hears none for long knows its link is dead."""
        self._flushed = self._loop.time()
        if self._shown == (self.head, self.notice_version):
            frame = Frame(cursor_element(Cursor(self.epoch, self.head)))
            for seats in self._abreast.values():
                for seat in seats:
                    seat.peer.write(frame)  # who has no room has something to read

    def stand(self, seat: Seat, *, staff: bool | None) -> None:
        """What the safety poll found of a seat's authority; None where its session is over."""
        if staff is None:
            # The browser comes back by itself, as whoever it is now.
            self.leave(seat)
            self.spawn(ignore_errors(seat.close(1012)))
        elif staff is not seat.staff:
            self._abreast[seat.staff].discard(seat)
            seat.staff = staff
            self._read(seat, None)  # the window anew, as the other audience sees it

    def prove(self, seat: Seat) -> None:
        """The safety poll has confirmed the slug that a seat came by; or there is another video
        under it now, which the browser comes back to."""
        if seat.by_slug != self.slug:
            self.leave(seat)
            self.spawn(ignore_errors(seat.close(1012)))
        seat.by_slug = ""


async def ignore_errors(work: Awaitable[None]) -> None:
    """Closing a socket that is already gone is no error."""
    try:
        await work
    except Exception as error:
        logger.info("closing a socket: %s", type(error).__name__)


def _open(stream_id: int) -> tuple[Batch, str, str]:
    room = Stream.objects.select_related("video").get(pk=stream_id)
    cursor = Cursor(room.epoch, max(0, room.head - SIZE))
    return stream.catch_up(stream_id, cursor), room.video.slug, render_room(room)
