"""What a request, an action, a batch or a job went through, as spans for OpenTelemetry.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set, and then next to nothing: no package is imported, and
what is decorated or wrapped here is handed back as it came. A span says in our own words what was
done, for how long, and how it ended. Nothing that people send stands in one, nor an error's text,
which may repeat it: of those the type alone. What a client sends as the trace that it is in is not
looked at: anybody could have all their requests kept.
"""

import atexit
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings

from comments.errors import Refused
from streamsite.logs import Seldom
from streamsite.observe.context import about
from streamsite.observe.counts import counts

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span

    from streamsite.observe.spans import Spans

FLUSH_SECONDS = 0.5  # at the end of the process, which has 9.5 s for everything
FLUSHES_APART = 0.1  # seconds between two spans of flushes, over all videos of a process
PROBES = ("/healthz", "/readyz", "/metrics")  # asked every few seconds, for ever
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_spans: "Spans | None" = None
_nothing = nullcontext()


def start() -> None:
    """Make spans from here on. Raises ImproperlyConfigured where the SDK takes a variable that
    only it knows for wrong."""
    global _spans
    from streamsite.observe.spans import Spans

    collector = settings.TRACES
    assert collector is not None, "who calls has looked"
    _spans = Spans(collector)
    counts.tell_flush = _Flushes(_spans).tell
    atexit.register(flush)


def flush() -> None:
    """Send what waits, before the process ends; FLUSH_SECONDS at most."""
    if _spans is not None:
        _spans.end(FLUSH_SECONDS)


def span(
    name: str,
    *,
    root: bool = False,
    server: bool = False,
    links: "Sequence[Link | None]" = (),
    **attributes: Any,
) -> AbstractContextManager[None]:
    """Around what is one span. A `root` stands for nobody in particular, or for several, to whose
    spans its `links` lead (`here`). `attributes` are named below `streamsite.`."""
    if _spans is None:
        return _nothing
    made = _spans.one(name, root=root, server=server, links=links, attributes=attributes)
    return _span(_spans, made, root)


def spanned[**P, R](
    name: str, *, server: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates what is one span each time; the function itself where nothing is traced."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if settings.TRACES is None:
            return function

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name, server=server):
                return function(*args, **kwargs)

        @wraps(function)
        async def wait(*args: P.args, **kwargs: P.kwargs) -> Any:
            with span(name, server=server):
                return await cast("Any", function(*args, **kwargs))

        return cast("Callable[P, R]", wait) if iscoroutinefunction(function) else run

    return decorate


def here() -> "Link | None":
    """What leads to the span that is under way, for others' `links`."""
    return _spans.link() if _spans is not None else None


def tell(*, failed: bool = False, **attributes: Any) -> None:
    """Add to the span that is under way."""
    if _spans is not None:
        _spans.describe(_spans.current(), attributes, failed=failed)


def answered(door: str, action: str, outcome: str) -> None:
    """An action was answered, within the span of its request or its frame."""
    if _spans is not None:
        if door == "socket":
            _spans.current().update_name(f"socket {action}")
        tell(failed=outcome == "error", action=action, outcome=outcome)


@contextmanager
def _span(spans: "Spans", made: "AbstractContextManager[Span]", root: bool) -> Iterator[None]:
    with made as current:
        try:
            yield
        except Refused as refusal:
            spans.describe(current, {"outcome": refusal.code})
            raise
        except BaseException as error:
            failed = isinstance(error, Exception)
            spans.describe(current, {"outcome": type(error).__name__}, failed=failed)
            raise
        finally:
            if not root:
                spans.describe(current, dict(about().known))


class _Flushes:
    """One span for several flushes of a moment: they may be a thousand a second, each for all
    sockets of a video."""

    def __init__(self, spans: "Spans") -> None:
        self._spans = spans
        self._seldom = Seldom(FLUSHES_APART)
        self._flushes = 0  # since the last that was told

    def tell(self, took: float, changes: int, video: str, sockets: int) -> None:
        """A flush that has just ended, and took so many seconds."""
        self._flushes += 1
        if not self._seldom.is_due():
            return
        attributes = {"video": video, "changes": changes, "sockets": sockets}
        self._spans.past("flush", took, attributes | {"flushes": self._flushes})
        self._flushes = 0


def requests(app: Any) -> Any:
    """The ASGI application with a span for each HTTP request; itself where nothing is traced."""
    return app if settings.TRACES is None else _Requests(app)


class _Requests:
    """ASGI middleware, within streamsite.observe.context.Traced."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if _spans is None or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        status = 0

        async def watched_send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with span(method, server=True):
            current = _spans.current()
            try:
                await self.app(scope, receive, watched_send)
            finally:
                # What was asked for as urls.py has it: a path itself may hold anything.
                route = _route(scope["path"])
                current.update_name(f"{method} {route}".strip())
                current.set_attribute("http.request.method", method)
                if route:
                    current.set_attribute("http.route", route)
                if status:
                    current.set_attribute("http.response.status_code", status)
                if status == 404:
                    # What stands in the place of a video's name is only what somebody wrote.
                    about().known.pop("video", None)
                if status >= 500:
                    tell(failed=True)


def _route(path: str) -> str:
    from django.urls import Resolver404, resolve

    if path.startswith(settings.STATIC_URL):
        return settings.STATIC_URL
    try:
        return f"/{resolve(path).route}"
    except Resolver404:
        return ""
