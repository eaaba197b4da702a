"""Before any query: where a socket comes from, and how many there are already.

ASGI middleware around the socket's application, outermost first in streamsite/asgi.py.
"""

import re
from collections import Counter
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.translation import gettext as _

from comments import limits
from comments.errors import Code, Refused
from comments.frames import refusal
from streamsite.observe.counts import counts

DEFAULT_PORTS = {"http": 80, "https": 443}


class StrictOrigin:
    """Refuse (403) a handshake whose Origin is not exactly this site's scheme, host and port.

    The site's own origin is the handshake's Host, which must be allowed, with http or https as
    the connection has it (or the trusted proxy says); CSRF_TRUSTED_ORIGINS are added to it.
    Without Origin it is refused too: browsers always send one. Channels' own validator takes any
    port and `http:` for an https site.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if is_allowed(scope):
            await self.app(scope, receive, send)
        else:
            counts.sockets_refused.add("origin")
            await receive()
            await send({"type": "websocket.close", "code": 4403})


def is_allowed(scope: dict[str, Any]) -> bool:
    headers: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, []).append(value.decode("latin-1"))
    origins, hosts = headers.get(b"origin", []), headers.get(b"host", [])
    if len(origins) != 1 or len(hosts) != 1:
        return False
    secure = scope.get("scheme") in ("wss", "https")
    if settings.TRUSTED_PROXIES:
        forwarded = headers.get(b"x-forwarded-proto")
        secure = secure or forwarded in (["https"], ["wss"])
    if settings.HTTPS and not secure:
        return False  # ws:// of a site that is reached by https
    scheme = "https" if secure else "http"
    domain, _port = split_domain_port(hosts[0])
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    origin = parse_origin(origins[0])
    own = parse_origin(f"{scheme}://{hosts[0]}")
    trusted = [parse_origin(trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS]
    return origin is not None and (origin == own or origin in trusted)


@lru_cache(maxsize=1024)
def parse_origin(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None for what is not one (`null` among them)."""
    if not re.fullmatch(r"https?://[^/?#@\\\s]+", origin):
        return None
    try:
        parts = urlsplit(origin)
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


class Admission:
    """Cap the sockets per session (4408, told first), per address and per process (503).

    One's own session a person can do something about. Behind an address there may be thousands of
    people, so its cap turns nobody away for good: the browser tries again.

    Counted in this process, by the session cookie as it was sent and the address's hash: nothing
    is asked of the database for a socket that is one too many.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.total = 0
        self.sessions: Counter[str] = Counter()
        self.addresses: Counter[str] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        session = scope["cookies"].get(settings.SESSION_COOKIE_NAME, "")
        address = scope["address"] = limits.address_of(*peer_of(scope))
        if session and _is_over(self.sessions[session], settings.SOCKETS_PER_SESSION):
            counts.sockets_refused.add("session")
            await _refuse_too_many(receive, send)
            return
        if (full := _is_over(self.total, settings.SOCKETS_PER_PROCESS)) or (
            address and _is_over(self.addresses[address], settings.SOCKETS_PER_ADDRESS)
        ):
            counts.sockets_refused.add("process" if full else "address")
            await _refuse_busy(scope, receive, send)
            return
        self.total += 1
        self.sessions[session] += 1
        self.addresses[address] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.total -= 1
            _count_down(self.sessions, session)
            _count_down(self.addresses, address)


def peer_of(scope: dict[str, Any]) -> tuple[dict[str, str], str]:
    """Headers that tell of proxies, and who connected: the arguments of `limits.address_of`."""
    forwarded = [
        value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
    ]
    return {"x-forwarded-for": ",".join(forwarded)}, (scope.get("client") or ("",))[0]


def _is_over(count: int, most: int | None) -> bool:
    return most is not None and count >= most


def _count_down(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


async def _refuse_busy(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """503 in the handshake: the browser tries again, and may reach another process."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"retry-after", b"5"), (b"content-type", b"text/plain")]
        start = {"type": "websocket.http.response.start", "status": 503, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"busy, try again"})
    else:
        await send({"type": "websocket.close", "code": 1013})


async def _refuse_too_many(receive: Any, send: Any) -> None:
    """Accept, say why, close 4408: a refused handshake is a network fault to a browser."""
    await receive()
    await send({"type": "websocket.accept"})
    sentence = _("Too many pages of this site are open. Close some, then reload this one.")
    text = refusal("", Refused(Code.NOT_ALLOWED, sentence))
    await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close", "code": 4408})
