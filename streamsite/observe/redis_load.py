"""How loaded the Redis servers are, and a warning before one would drop a message.

Redis drops what a subscriber does not take in time (output buffers), what has no room (memory),
and who is one too many (clients). Each has a share of its limit that is looked at here every few
seconds; past its threshold it is counted, and logged with what to do. INFO is cheap for Redis
whatever it holds; nothing is asked here that grows with clients or keys.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from channels_redis.utils import create_pool
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streamsite.observe.counts import counts

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0  # for all that is asked in one look
TELL_SECONDS = 60.0  # between two lines that say the same
# What Redis takes when CONFIG may not be asked: 8 MiB for a minute, for subscribers.
OUTPUT_BUFFER_BYTES = 8 * 1024 * 1024
# From which share of a limit on it is a warning, and what to do then.
LIMITS: dict[str, tuple[float, str]] = {
    "memory": (0.8, "raise maxmemory, or move what else is kept there"),
    "clients": (0.8, "raise maxclients, or run fewer processes on it"),
    "output_buffer": (0.5, "a subscriber falls behind: look for a process that is overloaded"),
    "processor": (0.8, "divide the videos over more servers: REDIS_URL takes several"),
    "backlog": (0.5, "a process does not take its messages: look for one that is overloaded"),
}
# Something is lost already: INFO's counter, and what to do.
LOSSES: dict[str, tuple[str, str]] = {
    "evicted": ("evicted_keys", "Redis has thrown keys away: raise maxmemory"),
    "rejected": ("rejected_connections", "Redis has turned connections away: raise maxclients"),
    "disconnected": (
        "client_output_buffer_limit_disconnections",
        "Redis has cut subscribers that fell behind; the safety poll delivers what they missed",
    ),
}


@dataclass
class Load:
    """One server as it was last seen. `info` is what INFO says; `shares` are parts of limits."""

    server: str
    up: bool = False
    answered_in: float = 0.0  # seconds
    info: dict[str, Any] = field(default_factory=dict)
    output_buffer_limit: int = OUTPUT_BUFFER_BYTES
    shares: dict[str, float] = field(default_factory=dict)

    def number(self, name: str) -> float:
        """One of INFO's numbers; 0 where this server has none."""
        value = self.info.get(name, 0)
        return float(value) if isinstance(value, int | float) else 0.0


class Watched:
    """One Redis server, looked at again and again."""

    def __init__(self, host: dict[str, Any]) -> None:
        self.load = Load(name_of(host))
        # As the channel layer connects, but nothing is tried twice: the next look comes soon.
        at_once = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
        once: dict[str, Any] = at_once | {"retry": Retry(NoBackoff(), 0)}
        if "sentinels" in host:
            once["sentinel_kwargs"] = dict(once)
        self._redis = aioredis.Redis(connection_pool=create_pool(host | once))
        self._cpu = (0.0, 0.0)  # seconds used, when
        self._lost: dict[str, float] = {}
        self._told: dict[str, float] = {}

    async def look(self) -> None:
        """Ask the server, then judge. Never raises."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                info: dict[str, Any] = await self._redis.info()
                self.load.answered_in = time.monotonic() - started
                self.load.output_buffer_limit = await self._output_buffer_limit()
                backlog = await self._backlog()
        except Exception as error:
            # Whatever a connection dies of, at whatever byte: the next look tells more.
            if self.load.up:
                logger.warning("Redis %s is away: %s", self.load.server, type(error).__name__)
            self.load.up = False
            return
        self.load.up, self.load.info = True, info
        self.load.shares = self._shares(backlog)
        self._judge()

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _output_buffer_limit(self) -> int:
        """Bytes after which a subscriber is cut, at once or when it stays so long; 0: never."""
        try:
            found = await self._redis.config_get("client-output-buffer-limit")
        except RedisError:  # hosted ones often forbid it
            return OUTPUT_BUFFER_BYTES
        words = str(found.get("client-output-buffer-limit", "")).split()
        if "pubsub" not in words:
            return OUTPUT_BUFFER_BYTES
        at = words.index("pubsub")
        hard, soft = int(words[at + 1]), int(words[at + 2])
        return min((bound for bound in (hard, soft) if bound), default=0)

    async def _backlog(self) -> float:
        """With CHANNEL_LAYER=core: how full the list is of what this process has not taken yet;
        what is beyond its capacity is dropped without a word."""
        layer = get_channel_layer()
        if not isinstance(layer, RedisChannelLayer):
            return 0.0
        waiting = await self._redis.zcard(f"{layer.prefix}specific.{layer.client_prefix}!")
        return float(waiting) / float(layer.capacity)

    def _shares(self, backlog: float) -> dict[str, float]:
        number = self.load.number
        memory = number("maxmemory") or number("total_system_memory")
        used = number("used_cpu_sys_main_thread") + number("used_cpu_user_main_thread")
        used = used or number("used_cpu_sys") + number("used_cpu_user")
        before, at = self._cpu
        self._cpu = used, time.monotonic()
        seconds = self._cpu[1] - at
        return {
            "memory": _share(number("used_memory"), memory),
            "clients": _share(number("connected_clients"), number("maxclients")),
            "output_buffer": _share(
                number("client_recent_max_output_buffer"), self.load.output_buffer_limit
            ),
            # Redis answers from one thread. Not at the first look, nor after its restart.
            "processor": _share(used - before, seconds) if at and used >= before else 0.0,
            "backlog": backlog,
        }

    def _judge(self) -> None:
        for what, share in self.load.shares.items():
            least, advice = LIMITS[what]
            if share >= least:
                self._warn(what, f"{what} is at {share:.0%} of its limit: {advice}")
        for what, (name, advice) in LOSSES.items():
            now = self.load.number(name)
            before = self._lost.get(what, now)
            self._lost[what] = now
            if now > before:
                self._warn(what, f"{what} +{now - before:.0f}: {advice}")

    def _warn(self, what: str, sentence: str) -> None:
        counts.redis_warnings.add(what)
        now = time.monotonic()
        if now - self._told.get(what, -TELL_SECONDS) >= TELL_SECONDS:
            self._told[what] = now
            logger.warning("Redis %s: %s", self.load.server, sentence)


def name_of(host: dict[str, Any]) -> str:
    """The server's name in figures: host and port, or the master's name; never a password."""
    if "sentinels" in host:
        return str(host["master_name"])
    return f"{host.get('host', 'localhost')}:{host.get('port', 6379)}"


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
