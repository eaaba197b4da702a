"""What clients send and take, bounded in size and time.

Django's ASGI handler spools a whole body to disk before the first middleware sees the request, and
waits for it for as long as it drips; and it waits for ever for a client to take its answer.
"""

import asyncio
import re
from contextlib import suppress
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.urls import reverse

from comments.identity import user_of_session
from comments.services.common import DATABASE_FAILED
from comments.threads import in_database
from streamsite.cookies import session_key

GRACE_SECONDS = 10.0
LEAST_RATE = 4 * 1024  # bytes a second, on average after the grace: an upload over a poor line
MOST_BYTES = 1024 * 1024  # far more than the longest form of a page
POSTER_AND_FIELDS = 8 * 1024 * 1024
PAST_SECONDS = 10.0  # for which the rest of a body that was refused is read past
UPLOADS_AT_ONCE = 4  # of more than MOST_BYTES: each is on the disk before Django looks at it
# Pieces of an answer are 64 KiB at most. Who takes that slowly is usually cut before, by what its
# kernel takes (streamsite/peers.py); streams of HTTP/2 stand still on connections that do not.
TAKE_GRACE_SECONDS = 30.0
LEAST_TAKEN = 512  # bytes a second

TOO_LARGE = (413, b"This is larger than is taken here.\n")
TOO_MANY = (503, b"Too many files are being uploaded. Please try again in a few minutes.\n")
DATABASE_AWAY = (503, b"The site's database cannot be reached right now. Please try again.\n")


class TooLargeError(Exception):
    """The body is longer than its request may have."""


class BoundedBodies:
    """ASGI middleware for HTTP. A body over the bound is answered 413; one that comes slower than
    LEAST_RATE counts as given up by its client, and so does an answer that is not taken.

    Only from staff, for a video, may a body be as large as an upload (UPLOAD_MAX_MB), if it says
    beforehand how large. Dripping headers need no such thing: Hypercorn's keep_alive_timeout runs
    until they are whole.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.uploads = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        announced = announced_bytes(scope)
        if announced <= MOST_BYTES:
            await self._bounded(MOST_BYTES, scope, receive, send)
            return
        refusal = await why_refused(scope, announced)
        if refusal is None and self.uploads >= UPLOADS_AT_ONCE:
            refusal = TOO_MANY
        if refusal:
            await refuse(scope, receive, send, *refusal)
            return
        self.uploads += 1
        try:
            await self._bounded(announced, scope, receive, send)
        finally:
            self.uploads -= 1

    async def _bounded(self, most: int, scope: dict[str, Any], receive: Any, send: Any) -> None:
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

        async def bounded_send(message: dict[str, Any]) -> None:
            nonlocal answered
            answered = True
            seconds = TAKE_GRACE_SECONDS + len(message.get("body", b"")) / LEAST_TAKEN
            try:
                async with asyncio.timeout(seconds):
                    await send(message)
            except TimeoutError:  # ours, or the kernel's for a peer that is gone
                raise RequestAborted from None  # as Django knows a client that has left

        try:
            await self.app(scope, bounded_receive, bounded_send)
        except TooLargeError:
            if not answered:
                await refuse(scope, receive, send, *TOO_LARGE)


async def why_refused(scope: dict[str, Any], announced: int) -> tuple[int, bytes] | None:
    """Status and sentence for a body of more than MOST_BYTES; None where it may come."""
    largest = settings.UPLOAD_MAX_MB * 1024 * 1024 + POSTER_AND_FIELDS
    key = session_key(scope)
    if (
        announced > largest
        or scope["method"] != "POST"
        or not upload_path().fullmatch(scope["path"])
        or not key
    ):
        return TOO_LARGE
    try:
        account = await in_database(user_of_session)(key)
    except DATABASE_FAILED:
        return DATABASE_AWAY
    return None if getattr(account, "is_staff", False) else TOO_LARGE


@cache
def upload_path() -> re.Pattern[str]:
    """Where staff make and change videos."""
    videos = re.escape(reverse("admin:videos_video_changelist"))
    return re.compile(rf"{videos}(add|[0-9]+/change)/")


def announced_bytes(scope: dict[str, Any]) -> int:
    """The Content-Length; 0 without one, or for what is none."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def refuse(
    scope: dict[str, Any], receive: Any, send: Any, status: int, sentence: bytes
) -> None:
    """Answer, then read past what still comes. A connection that is closed with something unread
    is reset, and its peer, which still sends, may never see the answer. A stream of HTTP/2 is
    closed by itself.
    """
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(sentence)).encode()),
        (b"connection", b"close"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"60"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence, "more_body": True})
    if scope["http_version"] != "2":
        with suppress(TimeoutError):
            async with asyncio.timeout(PAST_SECONDS):
                while (await receive()).get("more_body"):
                    pass
    await send({"type": "http.response.body"})
