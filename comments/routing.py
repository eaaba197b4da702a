"""The sockets' paths, and an answer for every other one."""

from typing import Any

from channels.routing import URLRouter
from django.urls import path, re_path

from comments.consumers import CommentConsumer
from comments.desk_socket import DeskConsumer


async def no_such_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse the handshake (403). Channels' router would raise: a 500 and a traceback."""
    await receive()
    await send({"type": "websocket.close", "code": 4404})


application = URLRouter(
    [
        path("ws/videos/<slug:slug>/", CommentConsumer.as_asgi()),
        path("ws/videos/<slug:slug>/jobs/", DeskConsumer.as_asgi()),
        # An ASGI application where Django's typing expects a view.
        re_path(r"", no_such_socket),  # type: ignore[arg-type]
    ]
)
