"""From a job to a worker, and back from a worker that is lost.

django-tasks-db 0.13 leaves the task of a worker that was killed in RUNNING for ever. `reclaim` is
our answer, here alone: every worker looks for jobs whose worker has stopped to beat, and puts them
into the queue again. It can go when the library does so itself; tests/test_jobs.py kills a worker.
"""

import logging
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.tasks import TaskResultStatus
from django.utils import timezone
from django.utils.translation import gettext_noop
from django_tasks_db.models import DBTaskResult

from comments.jobs import bell
from comments.models import Job

logger = logging.getLogger(__name__)

BEAT_SECONDS = 2.0  # between two signs of life of a worker that is at a job
LEASE_SECONDS = 12  # of silence, by the database's clock, after which its job is given to another
ATTEMPTS_AT_MOST = 3
LOST = gettext_noop("This failed several times without a reason that we know. Please tell us.")


def enqueue(job: Job) -> None:
    """Put the job into the queue, in the caller's transaction. An earlier task of it, should it
    still run, loses the right to write to it."""
    from comments.tasks import work

    job.state = Job.State.QUEUED
    job.done = 0
    # The id in the job before the task can be seen: both are committed together.
    job.task_id = uuid.UUID(work.enqueue(job.pk).id)
    job.save(update_fields=["state", "done", "task_id", "attempts"])


def part_path(task_id: uuid.UUID | None) -> Any:
    """Where a task writes its file until it is whole."""
    return settings.EXPORT_DIR / f"{task_id}.part"


def reclaim() -> int:
    """Put the jobs of lost workers into the queue again, or give them up; how many there were."""
    found = 0
    for pk, task_id in _lost():
        with transaction.atomic():
            # Another worker may have been faster; one of the two finds the row changed.
            rows = Job.objects.select_for_update(skip_locked=_can_skip(), of=_of_itself())
            job = rows.active().filter(pk=pk, task_id=task_id).first()
            if job is None:
                continue
            found += 1
            part_path(task_id).unlink(missing_ok=True)
            tasks = DBTaskResult.objects.filter(pk__in=[task_id] if task_id else [])
            tasks.filter(status=TaskResultStatus.RUNNING).update(
                status=TaskResultStatus.FAILED,
                finished_at=timezone.now(),
                traceback="The worker was lost.",
            )
            if job.attempts >= ATTEMPTS_AT_MOST:
                job.state, job.problem, job.finished_at = Job.State.FAILED, LOST, timezone.now()
                job.save(update_fields=["state", "problem", "finished_at"])
            else:
                job.attempts += 1
                enqueue(job)
            logger.warning("job %s: its worker is lost; now %s", pk, job.state)
            bell.ring(job)
    return found


def _lost() -> list[tuple[int, uuid.UUID | None]]:
    """Jobs that nobody is at: without beat for long, or with a task that will not begin them."""
    silent = Job.objects.filter(
        state=Job.State.RUNNING, beat_at__lt=Now() - timedelta(seconds=LEASE_SECONDS)
    )
    lost = list(silent.values_list("pk", "task_id"))
    queued = dict(Job.objects.filter(state=Job.State.QUEUED).values_list("task_id", "pk"))
    if queued:
        # Between a worker's taking the task and the job there is an instant; so both are looked at.
        began = timezone.now() - timedelta(seconds=LEASE_SECONDS)
        waiting = DBTaskResult.objects.filter(pk__in=[key for key in queued if key]).filter(
            Q(status=TaskResultStatus.READY)
            | Q(status=TaskResultStatus.RUNNING, started_at__gt=began)
        )
        known = set(waiting.values_list("pk", flat=True))
        lost += [(pk, task_id) for task_id, pk in queued.items() if task_id not in known]
    return lost


def _can_skip() -> bool:
    return connection.features.has_select_for_update_skip_locked


def _of_itself() -> tuple[str, ...]:
    return ("self",) if connection.features.has_select_for_update_of else ()
