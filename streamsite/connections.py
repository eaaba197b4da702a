"""What redis-py 8.1 and channels-redis 4.3 lack where Redis refuses, fails over or goes silent.

- `attentive`: connections that notice a silence. A subscriber only listens: from a machine that is
  gone without a word, or a server that hangs, it would wait for messages for ever, while Sentinel
  has long found another master.
- TellingRetry: nobody says why Redis cannot be reached. Who waits for it gives up before redis-py
  does, and knows only that it took too long.
- MasterPool: Django's cache does not speak Sentinel.

Each can go when the library does it. tests/faults/test_layers.py runs them all.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry as SyncRetry
from redis.sentinel import Sentinel, SentinelConnectionPool

logger = logging.getLogger(__name__)

UNANSWERED_AT_MOST = 3.0  # seconds that a subscriber's ping may wait for anything to come
TELL_SECONDS = 2.0  # between two lines that say what is wrong with Redis


class _Attentive(AbstractConnection):
    _unanswered = 0.0  # seconds waited in vain, after pings went out

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  redis-py's own
        **options: Any,
    ) -> Any:
        """As it is; but a subscriber that hears nothing, not even the answer to its pings, fails.

        It is then connected anew by its own retry: under Sentinel to whoever is master by then.
        """
        response = await super().read_response(disable_decoding, timeout, **options)
        if response is not None or timeout is None or not self.health_check_interval:
            self._unanswered = 0.0
            return response
        # Whatever comes puts the next check off by the interval; from then on each wait pings.
        # What it waited is added up, so that a process that was frozen blames nobody else.
        if asyncio.get_running_loop().time() > self.next_health_check:
            self._unanswered += timeout
        if self._unanswered > UNANSWERED_AT_MOST:
            self._unanswered = 0.0
            raise RedisConnectionError(f"{self._host_error()} has gone silent")
        return None


class AttentiveConnection(_Attentive, Connection):
    pass


class AttentiveSSLConnection(_Attentive, SSLConnection):
    pass


class AttentiveSentinelConnection(_Attentive, SentinelManagedConnection):
    pass


def attentive(host: dict[str, Any]) -> dict[str, Any]:
    """The same host of channels-redis with connections that notice a silence."""
    if "sentinels" in host:
        return host | {"connection_class": AttentiveSentinelConnection}
    if host.get("connection_class") is SSLConnection:
        return host | {"connection_class": AttentiveSSLConnection}
    return host | {"connection_class": AttentiveConnection}


class TellingRetry(Retry):
    """Logs why a try failed; one line in 2 s for the whole process, however many wait."""

    _quiet_until = 0.0  # of the process

    async def call_with_retry[T](
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        async def tell(error: Exception, *count: int) -> None:
            if time.monotonic() >= TellingRetry._quiet_until:
                TellingRetry._quiet_until = time.monotonic() + TELL_SECONDS
                logger.warning("Redis fails: %s", error)
            await fail(error, *count)

        return await super().call_with_retry(do, tell, is_retryable, with_failure_count)


class MasterPool(SentinelConnectionPool):
    """Connections to whoever is master now, made as Django's cache makes its pools."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The URL says nothing; `options` are those of a host of channels-redis."""
        # Asked once each and as briefly as the master: redis-py would try a dead one ten times.
        waits = {name: value for name, value in options.items() if name.startswith("socket_")}
        once = SyncRetry(NoBackoff(), 0)
        sentinels = Sentinel(  # type: ignore[no-untyped-call]
            options.pop("sentinels"), sentinel_kwargs=waits | {"retry": once}
        )
        return cls(options.pop("master_name"), sentinels, **options)
