"""The hubs of this process, and the safety poll that finds what the doorbell never said."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from comments import stream
from comments.frames import render_room
from comments.hub import Hub
from comments.identity import Standing, still_standing
from comments.models import Stream
from comments.seats import Seat, ignore_errors
from comments.stream import Cursor
from comments.threads import LOOKING, give_up, in_database
from comments.viewer_counts import ViewerCounts, keep
from streamsite.observe import context

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # the safety poll: the longest that a lost doorbell can delay a comment
LINGER_SECONDS = 10.0  # that a hub outlives its last socket: reloading a page starts none anew
BLIND_AT_MOST = 10.0  # seconds without a safety poll that succeeds until this process is not ready
CLOSING_STEPS = 60
KEEP_SECONDS = 0.5  # that sockets stay open at the end until how many watched is written
ANSWER_SECONDS = 2.5  # that actions under way have for their answer when all sockets are closed


class Fanout:
    """The hubs of this process, by stream, and the safety poll over all of them."""

    def __init__(self) -> None:
        self.hubs: dict[int, Hub] = {}
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: set[asyncio.Timeout] = set()
        self._is_polling = False
        self._looking = False
        self._look_again = False
        self._looked_at = 0.0  # when the safety poll succeeded last
        self.viewer_counts = ViewerCounts()
        self.draining = False  # this process ends: who comes now is sent to another

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Around all that a socket waits for until it has its seat: the database may keep it
        waiting for longer than a process that ends may stay. Raises TimeoutError when it ends."""
        async with asyncio.timeout(0.0 if self.draining else None) as timeout:
            self._arriving.add(timeout)
            try:
                yield
            finally:
                self._arriving.discard(timeout)

    async def join(self, stream_id: int, seat: Seat, cursor: Cursor | None) -> None:
        """Seat a socket in its video's hub. Raises Stream.DoesNotExist, or a database's error."""
        while (hub := self.hubs.get(stream_id)) is None:
            starting = self._starting.get(stream_id)
            if starting is None:
                starting = asyncio.ensure_future(self._start(stream_id))
                self._starting[stream_id] = starting
            # Shielded: whoever came first may leave while others wait for the same hub.
            await asyncio.shield(starting)
        hub.join(seat, cursor)

    async def _start(self, stream_id: int) -> None:
        context.forget()  # it outlives who came first
        try:
            stream.attach(asyncio.get_running_loop())
            hub = Hub(stream_id, self.look_anew)
            await hub.start()
            if not self.hubs:
                self._looked_at = time.monotonic()  # until now there was nothing to look at
            self.hubs[stream_id] = hub
            if not self._is_polling:
                self._is_polling = True
                self._spawn(self._keep_polling())
        finally:
            del self._starting[stream_id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def is_blind(self) -> bool:
        """Whether pages here may have missed something for long, since no safety poll succeeds."""
        return self.blind_for > BLIND_AT_MOST

    @property
    def blind_for(self) -> float:
        """Seconds since the safety poll succeeded; 0 where there is nothing to look at."""
        return time.monotonic() - self._looked_at if self.hubs else 0.0

    def leave(self, stream_id: int, seat: Seat) -> None:
        hub = self.hubs.get(stream_id)
        if hub is None:
            return
        hub.leave(seat)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if seen := self.viewer_counts.turn(time.time()):
                self._spawn(keep(seen))  # not awaited, as `look` below
            for hub in list(self.hubs.values()):
                _apart(hub, self._tend, hub)
            # Not awaited: a database that hangs holds back no beat and no cut.
            self._spawn(self.look())

    def _tend(self, hub: Hub) -> None:
        if hub.seats:
            hub.tick()
            self.viewer_counts.see(hub.stream_id, hub.viewers)
        elif asyncio.get_running_loop().time() - hub.empty_since > LINGER_SECONDS:
            del self.hubs[hub.stream_id]
            hub.stop()

    async def look(self) -> None:
        """One query for all active streams: where each stands, and how its room is; and whether
        signed-in sockets still are who they were."""
        if not self.hubs or self._looking:
            return
        self._looking = True
        try:
            await self._look_once()
            while self._look_again:
                self._look_again = False
                await self._look_once()
        finally:
            self._looking = False

    async def look_anew(self) -> None:
        """As `look`, when something has changed: what is looked at already may be from before."""
        self._look_again = self._looking
        await self.look()

    async def _look_once(self) -> None:
        watched = {stream_id: (hub.head, hub.slug) for stream_id, hub in self.hubs.items()}
        signed_in = [
            (seat, (hub.stream_id, seat.standing))
            for hub in self.hubs.values()
            for seat in hub.seats
            if seat.standing
        ]
        try:
            found, remade, standings = await in_database(_look, LOOKING)(
                {stream_id: slug for stream_id, (_head, slug) in watched.items()},
                {standing for _seat, standing in signed_in},
            )
        except Exception as error:
            logger.warning("safety poll failed: %s", type(error).__name__)
            return
        self._looked_at = time.monotonic()
        for stream_id, (head_before, slug) in watched.items():
            hub = self.hubs.get(stream_id)
            if hub is None:
                continue
            if stream_id in found:
                _apart(hub, _follow, hub, head_before, found[stream_id])
            else:
                # Under its slug there may be another video now, which pages then come back to.
                del self.hubs[stream_id]  # before anybody else is seated in it
                self._spawn(_close(hub, 1013 if slug in remade else 4404))
        for seat, standing in signed_in:
            hub = self.hubs.get(standing[0])
            if hub is not None and seat in hub.seats:
                _apart(hub, hub.stand, seat, staff=standings[standing])

    async def close_all(self, code: int, *, seconds: float) -> None:
        """Close every socket with `code`, spread evenly over `seconds`; let no more in.

        An action under way is answered first. What the database has not answered ANSWER_SECONDS
        later is given up: its socket is told to try again, and closed all the same.
        """
        self.draining = True
        for timeout in self._arriving:
            timeout.reschedule(0.0)
        loop = asyncio.get_running_loop()
        loop.call_later(KEEP_SECONDS + seconds + ANSWER_SECONDS, give_up)
        if seen := self.viewer_counts.take():
            # Before the sockets are closed: with the last of them the process may end.
            await asyncio.wait([self._spawn(keep(seen))], timeout=KEEP_SECONDS)
        seats = [seat for hub in self.hubs.values() for seat in hub.seats]
        seats = [seat for n in range(CLOSING_STEPS) for seat in seats[n::CLOSING_STEPS]]
        began, told = loop.time(), 0
        closing = set()
        # In steps that a timer can tell apart, however many sockets there are; and by the clock,
        # since each step is late on a machine that is busy, and there is an end to our time.
        while told < len(seats):
            due = 1 + int(len(seats) * min(1.0, (loop.time() - began) / seconds))
            for seat in seats[told:due]:
                closing.add(asyncio.ensure_future(ignore_errors(seat.close(code))))
            told = due
            await asyncio.sleep(seconds / CLOSING_STEPS)
        if closing:
            await asyncio.wait(closing, timeout=ANSWER_SECONDS + 1)


def _apart[**P](hub: Hub, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """One hub's part of the safety poll: its failure is logged, and is not the others'."""
    try:
        step(*args, **kwargs)
    except Exception:
        logger.exception("stream %s: a part of the safety poll failed", hub.stream_id)


async def _close(hub: Hub, code: int) -> None:
    """Close the sockets of a hub, then end it."""
    await asyncio.gather(*(ignore_errors(seat.close(code)) for seat in hub.seats))
    hub.stop()


def _follow(hub: Hub, head_before: int, found: tuple[str, int, str, str]) -> None:
    epoch, head, hub.slug, room = found
    hub.set_room(room)
    # Behind us (a restored backup), of another history, or ahead of us: read it.
    if epoch != hub.epoch or head > hub.head or head < head_before:
        hub.missed()


def _look(
    watched: dict[int, str], signed_in: set[tuple[int, Standing]]
) -> tuple[dict[int, tuple[str, int, str, str]], set[str], dict[tuple[int, Standing], bool | None]]:
    """What is found of the watched streams (id: slug), which slugs of those that are gone are
    videos again, and what became of standings."""
    rooms = Stream.objects.select_related("video").filter(pk__in=list(watched))
    found = {room.pk: (room.epoch, room.head, room.video.slug, render_room(room)) for room in rooms}
    gone = [slug for pk, slug in watched.items() if pk not in found]
    remade = Stream.objects.filter(video__slug__in=gone) if gone else Stream.objects.none()
    slugs = set(remade.values_list("video__slug", flat=True))
    return found, slugs, still_standing(signed_in)


fanout = Fanout()
