"""What has to be looked at again and again: Redis, the event loop's lag, and the last minutes."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from comments.fanout import fanout
from streamsite.connections import attentive
from streamsite.observe.counts import counts
from streamsite.observe.redis_load import Load, Watched

logger = logging.getLogger(__name__)

SECONDS = 5.0
LAG_SECONDS = 0.25  # between two looks at how late the event loop is
KEPT = 180  # samples: 15 minutes


@dataclass(frozen=True, slots=True)
class Sample:
    """This process at one moment; totals are since its start."""

    at: float  # seconds since 1970
    viewers: int
    posted: int
    refused: int
    delivered: int
    delivered_seconds: float
    loop_lag: float


class Sampler:
    """Runs from the start of serving to its end."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.loop_lag = 0.0  # seconds; the worst of the last SECONDS
        self.started_at = time.time()
        self._watched: list[Watched] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def redis(self) -> list[Load]:
        return [watched.load for watched in self._watched]

    def start(self) -> None:
        hosts = settings.REDIS.hosts if settings.REDIS else []
        self._watched = [Watched(attentive(host)) for host in hosts]
        self._task = asyncio.get_running_loop().create_task(self._keep_sampling())

    def stop(self) -> None:
        if self._task:
            self._task.cancel()

    async def _keep_sampling(self) -> None:
        while True:
            try:
                await asyncio.gather(self._lag(), *(watched.look() for watched in self._watched))
                self.samples.append(self._sample())
            except Exception:
                # The figures may fail; what they tell of goes on.
                logger.exception("the figures could not be taken")
                await asyncio.sleep(SECONDS)

    async def _lag(self) -> None:
        """Find the worst lag of the event loop; takes SECONDS."""
        loop = asyncio.get_running_loop()
        worst = 0.0
        for _ in range(int(SECONDS / LAG_SECONDS)):
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            worst = max(worst, loop.time() - due)
        self.loop_lag = worst

    def _sample(self) -> Sample:
        actions: dict[tuple[str, ...], Any] = counts.actions.read()
        return Sample(
            at=time.time(),
            viewers=sum(len(hub.seats) for hub in fanout.hubs.values()),
            posted=counts.changes.read().get(("posted",), 0),
            refused=sum(n for (_door, _action, outcome), n in actions.items() if outcome != "ok"),
            delivered=counts.latency_seconds.count,
            delivered_seconds=counts.latency_seconds.sum,
            loop_lag=self.loop_lag,
        )


sampler = Sampler()
