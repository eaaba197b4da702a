"""The plain listener beside TLS (HTTP_BIND): it shows people the way to https, and no more."""

from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

HEALTH = ("/healthz", "/readyz")
MOVED = {"GET", "HEAD"}


class HttpsOnly:
    """ASGI middleware: what comes by http is redirected to https, or refused (403) where it had
    brought something along: a form, or a WebSocket. Supervisors may ask /healthz by http."""

    def __init__(self, app: Any, port: int) -> None:
        """`port` is where this process serves https."""
        self.app = app
        self.port = port

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and scope["scheme"] == "ws":
            await receive()
            await send({"type": "websocket.close", "code": 4403})
        elif scope["type"] == "http" and scope["scheme"] == "http" and scope["path"] not in HEALTH:
            await self._answer(scope, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: dict[str, Any], send: Any) -> None:
        location = self._location(scope) if scope["method"] in MOVED else None
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if location:
            headers.append((b"location", location))
        status, body = (301, b"") if location else (403, b"This site is reached by https only.\n")
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _location(self, scope: dict[str, Any]) -> bytes | None:
        """The same address by https; None where its host is not ours."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        domain, port = split_domain_port(hosts[0]) if len(hosts) == 1 else ("", "")
        if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
            return None
        if not scope["raw_path"].startswith(b"/"):
            return None  # `@elsewhere.example/` would go on with the host's name
        # Who came by port 80 finds https at 443, whatever is in between; by another port, which
        # somebody has written by hand, at ours.
        where = f"{domain}:{self.port}" if port and self.port != 443 else domain
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        location: bytes = b"https://" + where.encode() + scope["raw_path"] + query
        return location
