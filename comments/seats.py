"""A socket's place in its video's hub."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from comments.identity import Standing
from streamsite.websocket import Frame

logger = logging.getLogger(__name__)


class Peer(Protocol):
    """A socket as the server gives it (streamsite.websocket)."""

    def write(self, frame: Frame) -> bool:
        """Send a frame at once; False, and nothing is sent, while earlier ones still wait."""

    @property
    def is_ending(self) -> bool:
        """Whether it will never take a frame again."""


class Seat:
    """One socket's place in a hub.

    `close` ends the socket with a code; `standing` is what a signed-in socket's authority rests
    on, which the safety poll looks at again.
    """

    __slots__ = ("close", "cursor", "notice", "peer", "reading", "staff", "standing")

    def __init__(
        self,
        peer: Peer,
        close: Callable[[int], Awaitable[None]],
        *,
        staff: bool,
        standing: Standing | None,
    ) -> None:
        self.peer = peer
        self.close = close
        self.staff = staff
        self.standing = standing
        self.cursor = 0
        self.notice = 0  # the version of the room's notice that this socket has
        self.reading = 0  # which read from the database it waits for, 0 for none


async def ignore_errors(work: Awaitable[None]) -> None:
    """Closing a socket that is already gone is no error."""
    try:
        await work
    except Exception as error:
        logger.info("closing a socket: %s", type(error).__name__)
