"""A channel layer around the configured one that drops, doubles, shuffles and delays messages.

What it does is read from a file, so that a test changes it while the servers run:
`{"drop": 0.5, "double": 0.5, "shuffle": 0.5, "delay": 1.5, "seed": 1}`, each as wanted.
"""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

from channels.layers import BaseChannelLayer
from django.utils.module_loading import import_string

SHUFFLED_WITHIN = 0.3  # seconds


class Doorbell(BaseChannelLayer):
    def __init__(self, backend: str, config: dict[str, Any], control: str, **options: Any) -> None:
        super().__init__(**options)
        self.inner = import_string(backend)(**config)
        self.control = Path(control)
        self._changed = 0.0
        self._mood: dict[str, float] = {}
        self._random = random.Random(0)
        self._late: set[asyncio.Task[None]] = set()

    @property
    def mood(self) -> dict[str, float]:
        try:
            changed = self.control.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if changed != self._changed:
            self._changed = changed
            self._mood = json.loads(self.control.read_text() or "{}")
            self._random = random.Random(self._mood.get("seed", 0))
        return self._mood

    def _happens(self, what: str) -> bool:
        return self._random.random() < self.mood.get(what, 0)

    @property
    def extensions(self) -> list[str]:
        found: list[str] = self.inner.extensions
        return found

    async def new_channel(self, prefix: str = "specific.") -> str:
        name: str = await self.inner.new_channel(prefix)
        return name

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self.inner.send(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = await self.inner.receive(channel)
            if not self._happens("drop"):  # here: one process hears what another does not
                return message

    async def group_add(self, group: str, channel: str) -> None:
        await self.inner.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self.inner.group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        later = self.mood.get("delay", 0.0)
        if self._happens("shuffle"):
            later += self._random.uniform(0, SHUFFLED_WITHIN)
        if self._happens("double"):
            self._send_later(self._random.uniform(0, SHUFFLED_WITHIN), group, message)
        if later:
            self._send_later(later, group, message)
        else:
            await self.inner.group_send(group, message)

    def _send_later(self, seconds: float, group: str, message: dict[str, Any]) -> None:
        async def send() -> None:
            await asyncio.sleep(seconds)
            try:
                await self.inner.group_send(group, message)
            except Exception:  # noqa: S110  lost, as a message may be
                pass

        task = asyncio.get_running_loop().create_task(send())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
