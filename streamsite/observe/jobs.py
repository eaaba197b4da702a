"""How much work waits for the workers: asked of the database when somebody asks for it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count, Min
from django.utils import timezone

from comments.models import Job
from comments.services.common import DATABASE_FAILED
from comments.threads import in_database

KEPT_SECONDS = 3.0  # an answer, for whoever asks next
WAITED_AT_MOST = 1.0  # seconds: the other figures are most wanted when the database hangs


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs by state, of those that are not at their end, and for how many seconds the oldest of
    those that wait does."""

    states: Mapping[str, int]
    oldest: float


def read() -> Queue:
    """Both from one query over the rows that the index of active jobs has."""
    rows = Job.objects.active().order_by().values("state")
    found = {row["state"]: row for row in rows.annotate(count=Count("pk"), first=Min("created_at"))}
    states = {state: found[state]["count"] if state in found else 0 for state in Job.ACTIVE}
    oldest = 0.0
    if Job.State.QUEUED in found:
        since = timezone.now() - found[Job.State.QUEUED]["first"]
        oldest = max(0.0, since.total_seconds())
    return Queue({str(state.value): count for state, count in states.items()}, oldest)


class Watched:
    """The queue as this process was told last; None while the database does not tell."""

    def __init__(self) -> None:
        self.queue: Queue | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Ask the database, unless that was just done. Raises nothing, and takes WAITED_AT_MOST."""
        if self._asking is None:
            if time.monotonic() - self._asked_at < KEPT_SECONDS:
                return
            self._asked_at = time.monotonic()
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        _done, late = await asyncio.wait([self._asking], timeout=WAITED_AT_MOST)
        if late:
            self.queue = None

    def look_now(self) -> None:
        """As `look`, in a thread that may wait for the database."""
        self.queue = read()

    async def _ask(self) -> None:
        try:
            self.queue = await in_database(read)()
        except DATABASE_FAILED:
            self.queue = None
        finally:
            self._asking = None


watched = Watched()
