"""How Hypercorn runs us: one process, uvloop, hypercorn.toml, and an end that browsers hear of."""

import asyncio
import gc
import logging
import os
import signal

import uvloop
from django.conf import settings
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from comments.fanout import fanout

DRAIN_SECONDS = 3.0  # over which the sockets are told to come back, so that they do not all at once
GC_THRESHOLD = (10_000, 20, 20)
END_AT_MOST = 9.5  # seconds from the signal to the end, whatever peers do


class CannotStartError(Exception):
    """The server refuses to start; its text is the sentence to show."""


def run(bind: str) -> None:
    """Serve on `bind` until SIGTERM or SIGINT. Raises CannotStartError."""
    config = Config.from_toml(settings.BASE_DIR / "hypercorn.toml")
    config.bind = [bind]
    # Our handlers and their formatter: Hypercorn's own would say everything a second time, and
    # take line breaks in a path as they come.
    config.errorlog = logging.getLogger("hypercorn.error")
    access = logging.getLogger("hypercorn.access")
    config.accesslog = access if access.isEnabledFor(logging.INFO) else None
    # What was made until here stays; thousands of sockets come on top of it. By default the
    # collector would look at all of it after every few of them.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(config))
        except LifespanFailureError as failure:
            # "Lifespan failure in startup. 'the sentence'"
            raise CannotStartError(str(failure).partition("'")[2].rstrip("'")) from None
        except OSError as error:
            raise CannotStartError(
                f"BIND is {bind!r}, which cannot be used: {error.strerror}. Write another port."
            ) from None


async def _serve(config: Config) -> None:
    from streamsite.asgi import application

    ending = asyncio.Event()

    def end() -> None:
        if ending.is_set():
            os._exit(1)  # a second signal: at once
        ending.set()
        # 1 as well: something that was in flight did not finish, and a supervisor should know.
        loop.call_later(END_AT_MOST, os._exit, 1)

    loop = asyncio.get_running_loop()
    closing: set[asyncio.Task[None]] = set()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end)

    async def shutdown_trigger() -> None:
        await ending.wait()
        # While Hypercorn stops to accept and waits for what is open, the sockets are closed with
        # 1012: browsers come back by themselves, to another process, and resume.
        closing.add(loop.create_task(fanout.close_all(1012, seconds=DRAIN_SECONDS)))

    await hypercorn_serve(application, config, shutdown_trigger=shutdown_trigger)
