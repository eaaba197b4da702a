"""What clients send as request bodies, bounded in size and time before Django keeps any of it.

Django's ASGI handler spools a whole body to disk before the first middleware sees the request, and
waits for it for as long as it drips.
"""

import asyncio
from typing import Any

from django.conf import settings
from django.urls import reverse

GRACE_SECONDS = 10.0
LEAST_RATE = 4 * 1024  # bytes a second, on average after the grace: an upload over a poor line
MOST_BYTES = 1024 * 1024  # far more than the longest form of a page
POSTER_AND_FIELDS = 8 * 1024 * 1024


class TooLargeError(Exception):
    """The body is longer than its request may have."""


class BoundedBodies:
    """ASGI middleware for HTTP. A body over the bound is answered 413; one that comes slower than
    LEAST_RATE counts as given up by its client.

    Only in admin, and only with a session, may it be as large as an upload (UPLOAD_MAX_MB).
    Dripping headers need no such thing: Hypercorn's keep_alive_timeout runs until they are whole.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        most = most_bytes(scope)
        started = asyncio.get_running_loop().time()
        received = 0
        whole = False
        answered = False

        async def bounded_receive() -> Any:
            nonlocal received, whole
            if whole:  # what follows is only the news that the client has gone
                return await receive()
            try:
                async with asyncio.timeout_at(started + GRACE_SECONDS + received / LEAST_RATE):
                    message = await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
            received += len(message.get("body", b""))
            if received > most:
                raise TooLargeError
            whole = not message.get("more_body", False)
            return message

        async def watched_send(message: dict[str, Any]) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            if announced_bytes(scope) > most:
                raise TooLargeError
            await self.app(scope, bounded_receive, watched_send)
        except TooLargeError:
            if not answered:
                await refuse(send)


def most_bytes(scope: dict[str, Any]) -> int:
    """How long this request's body may be."""
    in_admin = scope["path"].startswith(reverse("admin:index"))
    cookies = b";".join(value for name, value in scope["headers"] if name == b"cookie")
    if in_admin and f"{settings.SESSION_COOKIE_NAME}=".encode() in cookies:
        most: int = settings.UPLOAD_MAX_MB * 1024 * 1024 + POSTER_AND_FIELDS
        return most
    return MOST_BYTES


def announced_bytes(scope: dict[str, Any]) -> int:
    """The Content-Length; 0 without one, or for what is none."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def refuse(send: Any) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"This is larger than is taken here.\n"})
