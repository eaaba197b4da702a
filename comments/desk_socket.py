"""The socket of the moderators' desk: `/ws/videos/<slug>/jobs/` tells one's jobs as they go on.

There are few of these, so each listens for itself: in its requester's group, whose messages bring
the new state, and in the database, at times, for what no message told.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from channels.layers import get_channel_layer

from comments.desk import SHOWN, row
from comments.fanout import fanout
from comments.identity import actor_of_session
from comments.jobs import bell
from comments.jobs.bell import JobState
from comments.layer import bounded
from comments.models import Job, Stream
from comments.sockets import Socket
from comments.threads import in_database

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0  # also how long the end of the process is not noticed
LOOK_BUSY_SECONDS = 1.0  # between two looks at the database while a job is under way
LOOK_IDLE_SECONDS = 5.0


class LeaveError(Exception):
    """The socket is to be closed with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class DeskConsumer(Socket):
    """Sends `<li>` states of jobs; what the page sends is not read."""

    telling: asyncio.Task[None] | None = None

    def leave(self) -> None:
        if self.telling:
            self.telling.cancel()

    async def connect(self) -> None:
        await self.accept()
        self.slug: str = self.scope["url_route"]["kwargs"]["slug"]
        self.shown: dict[int, str] = {}
        self.telling = asyncio.create_task(self._tell())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is asked for here: forms do that."""

    async def _tell(self) -> None:
        try:
            await self._tell_for_ever()
        except LeaveError as leave:
            await self.close(leave.code)
        except Exception as error:
            # The browser comes back, and sees the state then.
            logger.warning("a desk is not told any more: %s", type(error).__name__)
            await self.close(1013)

    async def _tell_for_ever(self) -> None:
        """Tell every state. Raises LeaveError when the socket is to be closed."""
        desk = await self._look()
        async with _listening(bell.group_name(desk.user_id)) as heard:
            while True:
                for state in desk.jobs:
                    await self._show(state)
                is_busy = any(state.is_active for state in desk.jobs)
                await self._hear(heard, desk, LOOK_BUSY_SECONDS if is_busy else LOOK_IDLE_SECONDS)
                desk = await self._look()

    async def _hear(self, heard: Callable[[], Awaitable[Any]], desk: "Desk", for_: float) -> None:
        """Show what messages tell, for a while."""
        until = time.monotonic() + for_
        while time.monotonic() < until:
            if fanout.draining:
                raise LeaveError(1012)
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    message = await heard()
            except TimeoutError:
                continue
            state = JobState(**message["job"])
            if state.stream_id == desk.stream_id:
                await self._show(state)

    async def _show(self, state: JobState) -> None:
        html = row(state, self.slug)
        if self.shown.get(state.id) != html:
            self.shown[state.id] = html
            await self.send(html)

    async def _look(self) -> "Desk":
        return await in_database(_look)(self.slug, self.session_key())


@dataclass(frozen=True, slots=True)
class Desk:
    """Whose jobs these are, of which stream, and how they stand, the oldest first."""

    user_id: int
    stream_id: int
    jobs: list[JobState]


@asynccontextmanager
async def _listening(group: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """A channel of one's own in a group: what waits for its next message. Where the layer fails
    there are none; the database is looked at all the same."""
    layer = get_channel_layer()
    assert layer is not None, "settings.CHANNEL_LAYERS has a default"

    async def receive() -> Any:
        try:
            return await layer.receive(channel)
        except Exception as error:
            logger.info("a desk does not hear: %s", type(error).__name__)
            await asyncio.sleep(TICK_SECONDS)
            raise TimeoutError from error

    channel = await layer.new_channel()
    await bounded(layer.group_add(group, channel), "a desk's group")
    try:
        yield receive
    finally:
        await bounded(layer.group_discard(group, channel), "a desk's group")


def _look(slug: str, session_key: str | None) -> Desk:
    stream = Stream.objects.filter(video__slug=slug).first()
    if stream is None:
        raise LeaveError(4404)
    actor = actor_of_session(session_key, "")
    if actor.user is None:
        raise LeaveError(4401)
    if not actor.can_moderate(stream):
        raise LeaveError(4403)
    jobs = Job.objects.of(actor.user.pk, stream.pk)[:SHOWN]
    return Desk(actor.user.pk, stream.pk, [JobState.of(job) for job in reversed(jobs)])
