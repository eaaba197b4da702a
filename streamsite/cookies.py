"""The session's cookie, looked at before anything uses it."""

import re
from typing import Any

from django.conf import settings
from django.http import parse_cookie

SESSION_KEY = re.compile(r"[a-z0-9]{32}")  # as Django makes them (SessionBase.create)


class CleanCookies:
    """ASGI middleware for both doors: a session key that Django cannot have made is taken out.

    PostgreSQL would raise an error at a NUL in it, for everybody whose session is read in the same
    batch, and Django would ask for what cannot exist.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = [
            (name, cleaned(value) if name == b"cookie" else value)
            for name, value in scope["headers"]
        ]
        await self.app(scope | {"headers": headers}, receive, send)


def cleaned(header: bytes) -> bytes:
    """A Cookie header without session keys that are none."""
    if settings.SESSION_COOKIE_NAME.encode() not in header:
        return header
    return b";".join(part for part in header.split(b";") if _is_plausible(part))


def session_key(scope: dict[str, Any]) -> str:
    """The session key that a request came with; empty without one."""
    key = ""
    for name, value in scope["headers"]:
        if name == b"cookie":
            cookies = parse_cookie(value.decode("latin-1"))
            key = cookies.get(settings.SESSION_COOKIE_NAME, key)
    return key


def _is_plausible(part: bytes) -> bool:
    key = parse_cookie(part.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
    return key is None or SESSION_KEY.fullmatch(key) is not None
