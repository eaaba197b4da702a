"""Where the stream's ORM calls run: `database_sync_to_async`, in a few threads of their own.

The default is one thread for the whole process: one slow query there holds back every other
socket. HTTP requests have threads of their own anyway. What pages are sent is read in other threads
than people act in: actions that wait for a lock must not hold back what others see.

No call takes for ever. A thread gives PostgreSQL up after its pool's time (streamsite/postgres.py)
and is free again, so none needs to be replaced; SQLite ends its waits by itself.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

from channels.db import database_sync_to_async
from django.db import OperationalError, connection

from streamsite.postgres import answered_within

# Seconds after which a thread that computes lets others go on. A database thread stops at every
# statement; with Python's own 5 ms it would wait that long after each while the event loop is busy.
sys.setswitchinterval(0.0005)


class Threads(ThreadPoolExecutor):
    """`count` threads, in which a call may take `seconds`, and wait as long for its turn before."""

    def __init__(self, name: str, count: int, seconds: float) -> None:
        super().__init__(max_workers=count, thread_name_prefix=f"stream-{name}")
        self.kind = name
        self.seconds = seconds

    @property
    def waiting(self) -> int:
        """Calls that have not begun."""
        return self._work_queue.qsize()


READING = Threads("read", 4, 5.0)
# A verb may wait for two rows, 5 s each (lock_timeout).
ACTING = Threads("act", 4, 12.0)
# Who waits for a row that another transaction holds, while all others act on; and what is written
# for nobody in particular.
WAITING = Threads("wait", 2, 12.0)
# The safety poll, which is not to wait behind anybody.
LOOKING = Threads("look", 1, 5.0)
ALL = (READING, ACTING, WAITING, LOOKING)


class UnansweredError(OperationalError):
    """The database has not answered in time; what was asked may be done all the same."""


_under_way: dict[asyncio.Timeout, bool] = {}  # whether it is a person's action
_is_given_up = False
given_up = 0  # actions that `give_up` ended; who reads is told to come back, and has lost nothing


def in_database[**P, R](
    function: Callable[P, R], threads: Threads = READING, *, for_nobody: bool = False
) -> Callable[P, Awaitable[R]]:
    """`function`, to be awaited; its database connection is looked after before and behind it.
    `for_nobody`: no person waits for what comes of it, and none is told when it is given up.

    Raises UnansweredError when it takes too long, besides what it raises itself.
    """

    def answered(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        with answered_within(threads.seconds):
            try:
                return function(*args, **kwargs)
            finally:
                _keep_open()

    in_thread = database_sync_to_async(answered, thread_sensitive=False, executor=threads)

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _is_given_up:
            raise UnansweredError("the process ends")
        try:
            # What has not begun by then never does.
            async with asyncio.timeout(2 * threads.seconds) as timeout:
                _under_way[timeout] = threads in (ACTING, WAITING) and not for_nobody
                result: R = await in_thread(args, kwargs)
                return result
        except TimeoutError:
            raise UnansweredError(f"{function.__name__}: not in time") from None
        finally:
            _under_way.pop(timeout, None)

    return call


def _keep_open() -> None:
    """Let this thread's connection to SQLite outlive the call. Opening one costs as much as several
    queries; and with the last one to close, SQLite writes its log back and deletes it."""
    if connection.vendor == "sqlite":
        connection.close_at = None  # PostgreSQL's goes back to the pool


def give_up() -> None:
    """End all waiting for the database, now and from now on: the process ends."""
    global _is_given_up, given_up
    _is_given_up = True
    for timeout, is_action in _under_way.items():
        if not timeout.expired():
            timeout.reschedule(0.0)
            given_up += is_action
