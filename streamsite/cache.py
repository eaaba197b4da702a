"""The cache that several processes share, which the site must be able to lose."""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

SECONDS_KEPT = 60
SECONDS_AWAY = 5.0  # in which a Redis that failed is not asked again


class ShortLivedRedisCache(RedisCache):
    """Django's Redis cache for sessions (`cached_db`): errors are misses, and nothing stays long.

    A session that was deleted while Redis could not be reached would otherwise live on in the
    cache for its whole age once Redis is back. So no entry outlives 60 s; the database has them.
    A Redis that hangs costs each process one time-out (0.5 s) in 5 s, not one a request.
    """

    _away_until = 0.0  # of the process: whoever fails first tells the others

    def _ask[R](self, question: Callable[[], R], otherwise: R) -> R:
        if time.monotonic() < ShortLivedRedisCache._away_until:
            return otherwise
        try:
            return question()
        except RedisError as error:
            ShortLivedRedisCache._away_until = time.monotonic() + SECONDS_AWAY
            logger.warning("cache: Redis failed: %s", error)
            return otherwise

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._ask(
            lambda: super(ShortLivedRedisCache, self).get(key, default, version), default
        )

    def set(
        self,
        key: str,
        value: Any,
        timeout: float | object | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        seconds = timeout if isinstance(timeout, int | float) else SECONDS_KEPT
        kept = min(seconds, SECONDS_KEPT)
        self._ask(lambda: super(ShortLivedRedisCache, self).set(key, value, kept, version), None)

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._ask(lambda: super(ShortLivedRedisCache, self).delete(key, version), False)

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self.get(key, version=version) is not None
