"""What a log line is about: request, video and viewer, kept beside the code that runs for them.

`know` tells it once, wherever it becomes known; streamsite/logs.py adds it to every line. What
serves many at once (hubs, batches) calls `forget`: it must not speak for who happened to start it.
"""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

_VIDEO = re.compile(r"/(?:ws/)?videos/([-a-zA-Z0-9_]{1,100})/")


@dataclass(slots=True)
class About:
    """`known`: names and values that are shown; `hidden`: texts that no line may repeat."""

    known: dict[str, str] = field(default_factory=dict)
    hidden: list[object] = field(default_factory=list)


_about: ContextVar[About | None] = ContextVar("about", default=None)


def about() -> About:
    """Of what runs now; of nothing in particular where nobody has told."""
    return _about.get() or About()


def know(**values: str) -> None:
    """Add to what is known of the request (or socket, or video) that is served here and now.

    Threads and tasks that it starts share it, so it does not matter in which of them it is told.
    """
    found = _about.get()
    if found is None:
        forget()
        found = _about.get()
        assert found is not None, "it was just made"
    found.known |= values


def hide(*texts: object) -> None:
    """These are a person's own words: a line that would repeat them shows that they were left out.

    Only the latest are kept: one action after the other comes through a socket.
    """
    found = _about.get()
    if found is not None:
        found.hidden = list(texts)


def hidden() -> list[str]:
    """Each line of what is to be left out, as it was sent and as comments.text makes it."""
    sent = [line.strip() for text in about().hidden if isinstance(text, str)
            for line in text.splitlines()]  # fmt: skip
    found = {
        form for line in sent for form in (line, normalize("NFC", line), normalize("NFKC", line))
    }
    return sorted((line for line in found if len(line) > 3), key=len, reverse=True)


def forget() -> None:
    """From here on this task is about nothing in particular."""
    _about.set(About())


class Traced:
    """ASGI middleware, outermost: each request and each socket gets an id of ours (what a client
    may send as one is not looked at), which answers carry as X-Request-ID."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        forget()
        request = secrets.token_hex(6)
        know(request=request)
        if match := _VIDEO.match(scope["path"]):
            know(video=match[1])

        async def send_with_id(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"x-request-id", request.encode())]
                message = message | {"headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_id if scope["type"] == "http" else send)
