"""One worker at one job: taking it, telling how far it is, stopping when nobody wants it, and the
end. Every write is bound to the attempt's own task, so that a worker that was given up writes
nothing more."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_noop

from comments.identity import Actor
from comments.jobs import bell, queue
from comments.models import Job
from streamsite.observe import tracing

logger = logging.getLogger(__name__)

TELL_SECONDS = 0.5  # between two states of the progress bar

NOT_ALLOWED = gettext_noop("You do not moderate this video any more.")
NO_ROOM = gettext_noop("The file could not be written. The disk may be full.")
OUR_MISTAKE = gettext_noop("Something went wrong here. It has been noted; please try again.")

# This process is asked to end: the job goes back to the queue at its next step.
stopping = threading.Event()
_current: "Attempt | None" = None


class NotWantedError(Exception):
    """The job was cancelled, given to another worker, or is gone: nothing is written any more."""


class GivenBackError(Exception):
    """This process ends before the job does."""


class ProblemError(Exception):
    """The job cannot be done; its text (marked for translation) says why."""


class Attempt:
    """A job in this worker's hands."""

    def __init__(self, job: Job, task_id: uuid.UUID) -> None:
        self.job = job
        self.task_id = task_id
        self._told = 0.0

    @property
    def part(self) -> Path:
        """The file to write into; it becomes the job's own when the job is done."""
        found: Path = queue.part_path(self.task_id)
        return found

    def step(self, done: int, total: int) -> None:
        """So far is the work. Raises NotWantedError or GivenBackError where it is to stop."""
        if stopping.is_set():
            raise GivenBackError
        now = time.monotonic()
        if now - self._told < TELL_SECONDS:
            return
        self._told = now
        self._write(done=done, total=total, beat_at=Now())
        self.job.done, self.job.total = done, total
        bell.ring(self.job)

    def beat(self) -> None:
        """A sign of life, from the worker's second thread."""
        self._rows().update(beat_at=Now())

    def finish(self, result: Mapping[str, Any] | None, extension: str) -> None:
        """The work is done: its file gets its name, then the job says so."""
        job = self.job
        hours = timedelta(hours=settings.EXPORT_HOURS)
        ended: dict[str, Any] = {"state": Job.State.DONE, "finished_at": timezone.now()}
        ended |= {"result": result, "done": job.total, "total": job.total}
        path = None
        if extension:
            path = self.part.with_suffix(f".{extension}")
            ended |= {"size": self.part.stat().st_size, "file": path.name}
            ended["expires_at"] = ended["finished_at"] + hours
            self.part.replace(path)
        try:
            self._end(**ended)
        except BaseException:
            if path:
                path.unlink(missing_ok=True)
            raise

    def fail(self, problem: str) -> None:
        try:
            self._end(state=Job.State.FAILED, problem=problem, finished_at=timezone.now())
        except NotWantedError:
            pass

    def give_back(self, *, counted: bool) -> None:
        """To the queue again; `counted` where it is the job that may be to blame."""
        with transaction.atomic():
            if not self._rows().update(state=Job.State.QUEUED):
                return
            self.job.attempts += counted
            queue.enqueue(self.job)
        bell.ring(self.job)

    def _end(self, **fields: Any) -> None:
        self._write(**fields)
        for name, value in fields.items():
            setattr(self.job, name, value)
        bell.ring(self.job)

    def _write(self, **fields: Any) -> None:
        if not self._rows().update(**fields):
            raise NotWantedError

    def _rows(self) -> Any:
        own = {"pk": self.job.pk, "task_id": self.task_id}
        return Job.objects.filter(state=Job.State.RUNNING, **own)


type Work = Callable[[Attempt], tuple[Mapping[str, Any] | None, str]]


def run(pk: int, task_id: uuid.UUID, works: Mapping[str, Work]) -> None:
    """Do a job from its beginning, if this task is still the one to do it.

    A work answers with a result and the extension of the file that it wrote ("" for none).
    """
    global _current
    taken = Job.objects.filter(pk=pk, task_id=task_id, state=Job.State.QUEUED).update(
        state=Job.State.RUNNING, beat_at=Now()
    )
    if not taken:
        return
    job = Job.objects.select_related("stream__video", "requester").get(pk=pk)
    attempt = Attempt(job, task_id)
    settings.EXPORT_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    _current = attempt
    try:
        video = job.stream.video.slug
        with tracing.span(f"job {job.kind}", root=True, job=job.pk, video=video):
            _do(attempt, works[job.kind])
            outcome = "not_wanted" if job.state == Job.State.RUNNING else job.state
            tracing.tell(failed=job.state == Job.State.FAILED, outcome=outcome, rows=job.total)
    finally:
        _current = None
        attempt.part.unlink(missing_ok=True)


def _do(attempt: Attempt, work: Work) -> None:
    job = attempt.job
    try:
        if job.kind != Job.Kind.POSTER and not Actor(None, job.requester).can_moderate(job.stream):
            raise ProblemError(NOT_ALLOWED)
        attempt.finish(*work(attempt))
    except NotWantedError:
        logger.info("job %s: not wanted any more", job.pk)
    except GivenBackError:
        attempt.give_back(counted=False)
    except ProblemError as problem:
        attempt.fail(str(problem))
    except OperationalError as error:
        logger.warning("job %s: the database failed: %s", job.pk, type(error).__name__)
        raise  # its job is found without beat, and tried again
    except OSError as error:
        logger.warning("job %s: %s", job.pk, error)
        attempt.fail(NO_ROOM)
    except Exception:
        logger.exception("job %s failed", job.pk)
        attempt.fail(OUR_MISTAKE)
    except BaseException:  # told to end at once
        attempt.give_back(counted=False)
        raise


def beat() -> None:
    """For the worker's second thread: the job at hand, if there is one, lives."""
    attempt = _current
    if attempt is not None:
        attempt.beat()
