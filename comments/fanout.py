"""The hubs of this process, and the safety poll that finds what the doorbell never said."""

import asyncio
import logging

from comments import stream
from comments.frames import render_room
from comments.hub import Hub, Seat, ignore_errors
from comments.identity import Standing, still_standing
from comments.models import Stream
from comments.stream import Cursor
from comments.threads import in_database

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # the safety poll: the longest that a lost doorbell can delay a comment
LINGER_SECONDS = 10.0  # that a hub outlives its last socket: reloading a page starts none anew
CLOSING_STEPS = 60


class Fanout:
    """The hubs of this process, by stream, and the safety poll over all of them."""

    def __init__(self) -> None:
        self.hubs: dict[int, Hub] = {}
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._poll: asyncio.Task[None] | None = None
        self._looking = False
        self.draining = False  # this process ends: who comes now is sent to another

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
        try:
            stream.attach(asyncio.get_running_loop())
            hub = Hub(stream_id, self.look)
            await hub.start()
            self.hubs[stream_id] = hub
            if self._poll is None:
                self._poll = asyncio.ensure_future(self._keep_polling())
        finally:
            del self._starting[stream_id]

    def stream_of(self, slug: str) -> int | None:
        """The stream of a video that is watched here already, without asking the database."""
        return next((hub.stream_id for hub in self.hubs.values() if hub.slug == slug), None)

    def leave(self, stream_id: int, seat: Seat) -> None:
        hub = self.hubs.get(stream_id)
        if hub is None:
            return
        hub.leave(seat)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for hub in list(self.hubs.values()):
                if hub.seats:
                    hub.tick()
                elif asyncio.get_running_loop().time() - hub.empty_since > LINGER_SECONDS:
                    del self.hubs[hub.stream_id]
                    hub.stop()
            await self.look()

    async def look(self) -> None:
        """One query for all active streams: where each stands, and how its room is; and whether
        signed-in sockets still are who they were."""
        if not self.hubs or self._looking:
            return
        self._looking = True
        heads = {stream_id: hub.head for stream_id, hub in self.hubs.items()}
        signed_in = [
            (seat, (hub.stream_id, seat.standing))
            for hub in self.hubs.values()
            for seat in hub.seats
            if seat.standing
        ]
        try:
            found, standings = await in_database(_look)(
                list(heads), {standing for _seat, standing in signed_in}
            )
        except Exception as error:
            logger.warning("safety poll failed: %s", type(error).__name__)
            return
        finally:
            self._looking = False
        for stream_id, head_before in heads.items():
            hub = self.hubs.get(stream_id)
            if hub is None:
                continue
            if stream_id not in found:
                for seat in list(hub.seats):
                    hub.spawn(ignore_errors(seat.close(4404)))
                continue
            epoch, head, hub.slug, room = found[stream_id]
            hub.set_room(room)
            # Behind us (a restored backup), of another history, or ahead of us: read it.
            if epoch != hub.epoch or head > hub.head or head < head_before:
                hub.missed()
        for seat, standing in signed_in:
            hub = self.hubs.get(standing[0])
            if hub is not None and seat in hub.seats:
                hub.stand(seat, staff=standings[standing])

    async def close_all(self, code: int, *, seconds: float) -> None:
        """Close every socket with `code`, spread evenly over `seconds`; let no more in."""
        self.draining = True
        seats = [seat for hub in self.hubs.values() for seat in hub.seats]
        closing = set()
        # In steps that a timer can tell apart, however many sockets there are.
        for step in range(CLOSING_STEPS):
            for seat in seats[step::CLOSING_STEPS]:
                closing.add(asyncio.ensure_future(ignore_errors(seat.close(code))))
            if seats:
                await asyncio.sleep(seconds / CLOSING_STEPS)
        if closing:
            await asyncio.wait(closing, timeout=1)


def _look(
    stream_ids: list[int], signed_in: set[tuple[int, Standing]]
) -> tuple[dict[int, tuple[str, int, str, str]], dict[tuple[int, Standing], bool | None]]:
    rooms = Stream.objects.select_related("video").filter(pk__in=stream_ids)
    found = {room.pk: (room.epoch, room.head, room.video.slug, render_room(room)) for room in rooms}
    return found, still_standing(signed_in)


fanout = Fanout()
