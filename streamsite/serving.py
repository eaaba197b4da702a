"""How Hypercorn runs us: one process, uvloop, hypercorn.toml, and an end that browsers hear of."""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, NoReturn

from django.conf import settings
from hypercorn.asyncio import serve as hypercorn_serve

from comments import threads
from comments.fanout import fanout
from streamsite.accepting import Loop
from streamsite.env import is_loopback, refuse
from streamsite.https import HttpsOnly
from streamsite.observe import sentry, tracing
from streamsite.tls import TlsConfig

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 3.0  # over which the sockets are told to come back, so that they do not all at once
GC_THRESHOLD = (10_000, 20, 20)
END_AT_MOST = 9.5  # seconds from the signal to the end, whatever peers, threads or locks do
UNFINISHED = 1  # the exit code when something that was in flight did not finish


class CannotStartError(Exception):
    """The server refuses to start; its text is the sentence to show."""


class InFlight:
    """ASGI middleware that knows whether the end cut something off: a request before the whole of
    its answer was handed on, or a socket that was not told to come back."""

    def __init__(self, app: Any, ending: asyncio.Event) -> None:
        self.app = app
        self.ending = ending
        self.cut: list[str] = []  # what it was, by kind and path

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        finished = scope["type"] == "lifespan"

        async def watched_send(message: dict[str, Any]) -> None:
            nonlocal finished
            if message["type"] == "websocket.close":
                finished = True  # whether the peer still listens is its own business
            await send(message)
            if message["type"].endswith("response.body") and not message.get("more_body", False):
                finished = True

        try:
            await self.app(scope, receive, watched_send)
        except asyncio.CancelledError:
            if self.ending.is_set() and not finished:
                self.cut.append(f"{scope['type']} {scope['path']}")
            raise


def keep_debug_here(bind: str) -> None:
    """Raise ImproperlyConfigured where others than this machine's people would see DEBUG."""
    for address in filter(None, (bind, settings.HTTP_BIND)):
        if settings.DEBUG and not is_loopback(address):
            refuse(
                "DEBUG",
                f"is on, and shows its error pages to whoever reaches {address}",
                "DEBUG=off (and SECRET_KEY), or an address of this machine alone",
            )


def run(bind: str) -> NoReturn:
    """Serve on `bind` until SIGTERM or SIGINT, then end the process: with 0, or with UNFINISHED.
    Raises CannotStartError."""
    config = TlsConfig.from_toml(settings.BASE_DIR / "hypercorn.toml")
    assert isinstance(config, TlsConfig)  # Hypercorn says that it is its own
    config.bind = [bind]
    where = f"BIND is {bind!r}"
    if settings.TLS:
        config.use(settings.TLS)
    if settings.HTTP_BIND:
        config.insecure_bind = [settings.HTTP_BIND]
        where += f" and HTTP_BIND {settings.HTTP_BIND!r}"
    # Our handlers and their formatter: Hypercorn's own would say everything a second time, and
    # take line breaks in a path as they come.
    config.errorlog = logging.getLogger("hypercorn.error")
    access = logging.getLogger("hypercorn.access")
    config.accesslog = access if access.isEnabledFor(logging.INFO) else None
    # What was made until here stays; thousands of sockets come on top of it. By default the
    # collector would look at all of it after every few of them.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    with asyncio.Runner(loop_factory=Loop) as runner:
        try:
            code = runner.run(_serve(config))
        except OSError as error:
            raise CannotStartError(
                f"{where}, which cannot be used: {error.strerror}. Write another port."
            ) from None
        logging.shutdown()
        sentry.flush()
        tracing.flush()
        # Python would wait for every thread, and the database may keep one for longer than we may
        # stay; the runner for every task, and Redis may keep one.
        os._exit(code)


async def _serve(config: TlsConfig) -> int:
    """Until a signal; the exit code."""
    from streamsite.asgi import application

    ending = asyncio.Event()
    in_flight = InFlight(application, ending)
    app: Any = in_flight
    if config.ssl_enabled:
        app = HttpsOnly(in_flight, port_of(config.bind[0]))

    def end() -> None:
        if ending.is_set():
            os._exit(UNFINISHED)  # a second signal: at once
        ending.set()
        # A thread and not the loop's timer, which ends with the loop, before threads are joined.
        deadline = threading.Timer(END_AT_MOST, os._exit, [UNFINISHED])
        deadline.daemon = True
        deadline.start()

    loop = asyncio.get_running_loop()
    closing: set[asyncio.Task[None]] = set()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end)

    if config.ssl_enabled:
        loop.add_signal_handler(signal.SIGHUP, config.renew)
    loop.set_exception_handler(_without_handshakes)

    async def shutdown_trigger() -> None:
        # Hypercorn listens when it begins to wait for this.
        tell_supervisor("READY=1")
        await ending.wait()
        tell_supervisor("STOPPING=1")
        # While Hypercorn stops to accept and waits for what is open, the sockets are closed with
        # 1012: browsers come back by themselves, to another process, and resume.
        closing.add(loop.create_task(fanout.close_all(1012, seconds=DRAIN_SECONDS)))

    await hypercorn_serve(app, config, shutdown_trigger=shutdown_trigger)
    if not in_flight.cut and not threads.given_up:
        return 0
    logger.warning(
        "the end came before all had finished: %d cut off (first: %s), %d actions given up",
        len(in_flight.cut),
        next(iter(in_flight.cut), "none"),
        threads.given_up,
    )
    return UNFINISHED


def tell_supervisor(state: str) -> None:
    """Tell systemd, where it started us with Type=notify (sd_notify(3)), what we are doing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # in the abstract namespace
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.sendto(state.encode(), address)


def port_of(bind: str) -> int:
    """443 where `bind` names a socket that is somewhere else's."""
    port = bind.rpartition(":")[2]
    return int(port) if port.isdigit() else 443


def _without_handshakes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's handler of what nobody waits for; strangers who speak no TLS are no news."""
    if not isinstance(context.get("exception"), ssl.SSLError | ConnectionError):
        loop.default_exception_handler(context)
