"""What every socket of ours has in common: its loop, in place of Channels' own."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer


class Socket(AsyncWebsocketConsumer):
    """One message of the peer after another, and `leave` at the end, whatever ends it.

    Channels' own loop would keep a second task per socket to listen to a channel layer, and start
    one more for each message; its dispatch would go through the one thread that the whole process
    shares, to close old connections, which `threads.in_database` looks after here.
    """

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.scope, self.base_send = scope, send
        try:
            while True:
                message = await receive()
                await getattr(self, get_handler_name(message))(message)
        except StopConsumer:
            pass
        finally:
            self.leave()

    def leave(self) -> None:
        """Let go of what the socket holds: also after an exception, a cancel or a lost peer, when
        Channels calls no `disconnect`."""
        raise NotImplementedError

    def session_key(self) -> str | None:
        """The key of the session behind it; None for who has none."""
        key: str | None = self.scope["session"].session_key
        return key
