"""Where the stream's ORM calls run: `database_sync_to_async`, in a few threads of their own.

The default is one thread for the whole process: one slow query there holds back every other
socket. HTTP requests have threads of their own anyway. What pages are sent is read in
other threads than people act in: actions that wait for a lock must not hold back what others see.
"""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from channels.db import database_sync_to_async

READING = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stream-read")
ACTING = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stream-act")


def in_database[**P, R](
    function: Callable[P, R], threads: ThreadPoolExecutor = READING
) -> Callable[P, Awaitable[R]]:
    """`function`, to be awaited; its database connection is looked after before and behind it."""
    wrapped: Callable[P, Awaitable[R]] = database_sync_to_async(
        function, thread_sensitive=False, executor=threads
    )
    return wrapped
