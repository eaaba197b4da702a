"""The cache that several processes share, which the site must be able to lose."""

import logging
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

SECONDS_KEPT = 60


class ShortLivedRedisCache(RedisCache):
    """Django's Redis cache for sessions (`cached_db`): errors are misses, and nothing stays long.

    A session that was deleted while Redis could not be reached would otherwise live on in the
    cache for its whole age once Redis is back. So no entry outlives 60 s; the database has them.
    """

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        try:
            return super().get(key, default, version)
        except RedisError as error:
            logger.warning("cache: get failed: %s", type(error).__name__)
            return default

    def set(
        self,
        key: str,
        value: Any,
        timeout: float | object | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        seconds = timeout if isinstance(timeout, int | float) else SECONDS_KEPT
        try:
            super().set(key, value, min(seconds, SECONDS_KEPT), version)
        except RedisError as error:
            logger.warning("cache: set failed: %s", type(error).__name__)

    def delete(self, key: str, version: int | None = None) -> bool:
        try:
            return super().delete(key, version)
        except RedisError as error:
            logger.warning("cache: delete failed: %s", type(error).__name__)
            return False

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self.get(key, version=version) is not None
