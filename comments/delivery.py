"""What goes out to the seats of one hub: who stands where, and one frame for all who stand alike.

Each socket has a cursor, never a queue: a flush joins what lies beyond a cursor once for all seats
that share it. Lives on the event loop; no method blocks.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from comments.frames import cursor_element, reset_frame
from comments.pace import Pace
from comments.ring import Ring, in_pieces
from comments.seats import Seat
from comments.stream import Batch, Cursor
from streamsite.observe.counts import counts
from streamsite.websocket import Frame

GONE = " hidden></li>"  # in the fragment of a removed comment, for the public
BEAT_SECONDS = 15.0  # silence after which pages are told that the connection lives


class Source(Protocol):
    """What there is to send, which is the hub's."""

    slug: str
    ring: Ring
    epoch: str
    notice_version: int

    def notice(self, *, staff: bool) -> str:
        """How the room is, for one audience."""

    def read(self, seat: Seat, cursor: Cursor | None) -> None:
        """Catch a seat up from the database; it stands aside meanwhile."""


class Delivery:
    """The seats of one hub, and when they are sent what."""

    def __init__(self, source: Source) -> None:
        self.seats: set[Seat] = set()
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._given: list[tuple[float, int]] = []  # when unsent numbers were given, how many then
        self._flush_handle: asyncio.Handle | None = None
        self._pace = Pace()
        self._flushed = self._loop.time()  # when everybody was last sent something
        # Each seat that waits for no read is in one of these. Those abreast have the head and the
        # notice of `_shown`: it stands for their own, so that a flush need not look at each.
        self._shown = (0, 0)
        # In the order they came, as what is flushed in the order it lies in memory costs less.
        self._abreast: dict[bool, dict[Seat, None]] = {False: {}, True: {}}  # by `staff`
        self._fresh: set[Seat] = set()  # who came since, and who had no room

    def add(self, seat: Seat) -> None:
        """Take a seat in, to be sent what lies beyond its cursor with the next flush."""
        self.seats.add(seat)
        self._fresh.add(seat)

    def remove(self, seat: Seat) -> None:
        self.seats.discard(seat)
        self.set_aside(seat)

    def set_aside(self, seat: Seat) -> None:
        """Send a seat nothing for now: it waits for what is read for it, or is about to go."""
        self._fresh.discard(seat)
        self._abreast[seat.staff].pop(seat, None)

    def set_all_aside(self) -> None:
        """A new history begins: nobody stands in it until `deliver` brings them there."""
        for abreast in self._abreast.values():
            abreast.clear()

    def given(self, times: Iterable[tuple[float, int]]) -> None:
        """Of numbers that are about to be sent: when they were given, and how many then."""
        self._given += times

    def stop(self) -> None:
        if self._flush_handle:
            self._flush_handle.cancel()

    def schedule(self) -> None:
        """Flush as soon as the pace allows."""
        if self._flush_handle is None:
            wait = self._pace.next - self._loop.time()
            if wait > 0:
                self._flush_handle = self._loop.call_later(wait, self._flush)
            else:
                self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send every seat what lies beyond its cursor; who has no room for it is served later."""
        self._flush_handle = None
        started = self._loop.time()
        now = self._source.ring.head, self._source.notice_version
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
            if cursor > self._source.ring.head:
                self._fresh.update(seats)  # read from the database ahead of the doorbell
            elif frames is None:
                for seat in seats:
                    self._source.read(seat, Cursor(self._source.epoch, cursor))
            else:
                self._abreast[staff].update(dict.fromkeys(seats))
                for seat in self._send(seats, frames):
                    del self._abreast[staff][seat]
        took = self._loop.time() - started
        if reaches:
            counts.reached_sockets(took, self._given, self._source.slug, len(self.seats))
        self._given.clear()
        self._pace.flushed(started, took)
        if self._fresh:
            # Nothing else would come back to who had no room.
            self._pace.rest(started)
            self.schedule()

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
                self._source.read(seat, Cursor(self._source.epoch, cursor))
            return
        for reached, frame in frames:
            # The hot path: one call for each socket, and nothing noted of it.
            busy = [seat for seat in seats if not seat.peer.write(frame)]
            self._fall_behind(busy, cursor, notice)
            self._fresh.update(seat for seat in busy if not seat.peer.is_ending)
            counts.frames_sent += len(seats)  # who had no room is not among them any more
            counts.without_room += len(busy)
            cursor, notice = reached, self._source.notice_version

    def _fall_behind(self, seats: list[Seat], cursor: int, notice: int) -> None:
        """From here on each has a cursor and a notice of its own again."""
        for seat in seats:
            seat.cursor, seat.notice = cursor, notice
            self._abreast[seat.staff].pop(seat, None)

    def _due(self, cursor: int, notice: int, *, staff: bool) -> list[tuple[int, Frame]] | None:
        """The frames that a seat needs to be abreast; None where the ring does not reach back."""
        text = self._source.notice(staff=staff) if notice != self._source.notice_version else ""
        ring = self._source.ring
        if cursor < ring.floor:
            return None
        if cursor < ring.head:
            return self._frames(text, ring.beyond(cursor, staff=staff), ring.head)
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
                (cursor, Frame(first + text + cursor_element(Cursor(self._source.epoch, cursor))))
            )
            first = ""
        return frames

    def _send(self, seats: list[Seat], frames: list[tuple[int, Frame]]) -> list[Seat]:
        """Send frames, in their order, to each seat as far as there is room; to whom there was
        not for all of them. Those are served with the next flush."""
        busy: list[Seat] = []
        version = self._source.notice_version
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

    def deliver(self, batch: Batch, seats: list[Seat]) -> list[Seat]:
        """Send a batch as it was read, and bring the seats to its head.

        Who had no room for a window is set aside, and answered: its cursor may be of another
        history, so it is to be sent a window all the same.
        """
        left: list[Seat] = []
        for staff in (False, True):
            audience = [seat for seat in seats if seat.staff is staff]
            if not audience:
                continue
            # The role first: what rows offer depends on it.
            notice = self._source.notice(staff=staff)
            changes = [(c.change, c.staff if staff else c.public) for c in batch.changes]
            if batch.reset:
                counts.windows += len(audience)
                states = "".join(text for _change, text in changes)
                window = reset_frame(states, Cursor(batch.epoch, batch.head))
                left += self._send(audience, [(batch.head, Frame(notice + window))])
            else:
                self._send(audience, self._frames(notice, changes, batch.head))
        self._fresh.update(seat for seat in seats if not seat.peer.is_ending)
        self._fresh.difference_update(left)
        self.schedule()
        return left

    def beat_if_due(self) -> None:
        """A frame that says nothing: a page that hears none for long knows its link is dead."""
        if self._loop.time() - self._flushed <= BEAT_SECONDS:
            return
        self._flushed = self._loop.time()
        if self._shown == (self._source.ring.head, self._source.notice_version):
            frame = Frame(cursor_element(Cursor(self._source.epoch, self._source.ring.head)))
            for seats in self._abreast.values():
                for seat in seats:
                    seat.peer.write(frame)  # who has no room has something to read
