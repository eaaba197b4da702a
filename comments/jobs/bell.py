"""How an open page hears of its person's jobs: the group of the requester.

As with comments, the database has the truth and the channel layer is only the doorbell: who misses
a message finds the state by the next look (comments/desk_socket.py). Without Redis the worker is
another process than the server, and every message is missed.
"""

import logging
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from comments.layer import bounded
from comments.models import Job


@dataclass(frozen=True, slots=True)
class JobState:
    """What a page shows of a job: numbers and names, no words; times in ISO 8601."""

    id: int
    stream_id: int
    kind: str
    state: str
    done: int
    total: int
    size: int
    problem: str
    created_at: str
    expires_at: str

    @classmethod
    def of(cls, job: Job) -> "JobState":
        return cls(
            job.pk,
            job.stream_id,
            job.kind,
            job.state,
            job.done,
            job.total,
            job.size,
            job.problem,
            job.created_at.isoformat(),
            job.expires_at.isoformat() if job.expires_at else "",
        )

    @property
    def is_active(self) -> bool:
        return self.state in Job.ACTIVE

    @property
    def per_cent(self) -> int:
        return min(100, self.done * 100 // self.total) if self.total else 0


def group_name(requester_id: int) -> str:
    return f"jobs.{requester_id}"


def ring(job: Job) -> None:
    """Tell the requester's pages, once the transaction is committed. Never raises."""
    if job.requester_id is not None:
        transaction.on_commit(partial(_ring, job), robust=True)


def _ring(job: Job) -> None:
    assert job.requester_id is not None, "ring() has looked"
    message = {"type": "job", "job": asdict(JobState.of(job))}
    async_to_sync(_send)(group_name(job.requester_id), message)


async def _send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    assert layer is not None, "settings.CHANNEL_LAYERS has a default"
    await bounded(layer.group_send(group, message), f"{group}: not told", logging.WARNING)
