"""Requests whose body drips in, to hold a connection and a task for ever, are cut."""

import asyncio
from typing import Any

GRACE_SECONDS = 10.0
LEAST_RATE = 4 * 1024  # bytes a second, on average after the grace: an upload over a poor line


class LeastRate:
    """ASGI middleware for HTTP: a body comes at LEAST_RATE, or its request counts as given up.

    Dripping headers need no such thing: Hypercorn's keep_alive_timeout runs until they are whole.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        received = 0
        whole = False

        async def receive_in_time() -> Any:
            nonlocal received, whole
            if whole:  # what follows is only the news that the client has gone
                return await receive()
            try:
                async with asyncio.timeout_at(started + GRACE_SECONDS + received / LEAST_RATE):
                    message = await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)
