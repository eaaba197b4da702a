"""What psycopg 3.3 lacks where PostgreSQL goes silent: an end to waiting for it.

A host that failed over, a pooler whose backend is gone, a network that forgot the connection: no
error comes, and who waits for an answer waits for ever. TCP's own timeouts (streamsite/env.py) find
it where packets get lost, not where something in between still acknowledges them. It can go when
psycopg takes a timeout for statements. tests/faults/test_silence.py shows what it is for.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
from django.db import connection as django_connection
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

CHECK_SECONDS = 2.0  # that an idle connection has to answer before it is handed out

_thread = threading.local()


@contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """All that this thread asks of PostgreSQL meanwhile fails (OperationalError) when it has not
    been answered by then. It means nothing to SQLite."""
    outer: float | None = getattr(_thread, "until", None)
    until = monotonic() + seconds
    _thread.until = until if outer is None else min(outer, until)
    try:
        yield
    finally:
        _thread.until = outer


class Connection(psycopg.Connection[Any]):
    """A connection that is closed, with an OperationalError, when an answer does not come."""

    # The most seconds for one answer where `answered_within` asks for none; None: no bound, for
    # migrations and other commands. Set where a process serves (streamsite/lifespan.py).
    seconds: float | None = None
    _drained_at = 0.0  # of the process

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made_at = monotonic()

    def wait[R](self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        until: float | None = getattr(_thread, "until", None)
        left = None if until is None else max(0.0, until - monotonic())
        bounds = [bound for bound in (timeout, self.seconds, left) if bound is not None]
        try:
            return super().wait(gen, interval, min(bounds, default=None))
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise  # an answer, or the news that the connection is lost
            self.close()
            self._distrust_others()
            raise psycopg.OperationalError("PostgreSQL did not answer in time") from error

    def _distrust_others(self) -> None:
        """Have the idle ones made anew, which would each be waited for in turn otherwise."""
        pool: ConnectionPool[Any] | None = getattr(django_connection, "pool", None)
        if pool and self._made_at > Connection._drained_at:
            Connection._drained_at = monotonic()
            pool.drain()


def check(connection: psycopg.Connection[Any]) -> None:
    """For the pool: whether a connection that was idle still answers. Raises OperationalError."""
    with answered_within(CHECK_SECONDS):
        ConnectionPool.check_connection(connection)
