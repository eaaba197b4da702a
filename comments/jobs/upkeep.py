"""What `manage.py housekeeping` clears away, part by part. Each part says first how much there is,
and deletes in small pieces: nothing waits long for a lock, and it can be ended at any moment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from comments.models import Comment, Job, Stream, ViewerCount
from comments.services.retention import forget_viewers, purge, silent_viewers
from videos.leftovers import lost_uploads
from videos.models import Video

PIECE = 1000  # rows in one transaction
UPLOADS_PIECE = 100  # files in one query for who still names them
JOBS_KEPT = timedelta(
    days=30
)  # finished ones, and their tasks; a report stays while it is the last
# A viewer who has an account or has written stays. Of all others nothing is left when their session
# ends; a day more than it lasts, so that no page is open in it any more.
VIEWERS_KEPT = timedelta(seconds=settings.SESSION_COOKIE_AGE, days=1)
STRAY_AFTER = timedelta(hours=1)  # that a file nobody knows may still be one that is being written

UPLOADS_KEPT = timedelta(days=1)  # that a file of no video may still be one that is being saved


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of what is old: what it is called, how many there are, and their deletion, which
    tells after each piece how many are gone."""

    name: str
    count: int
    clear: Callable[[], Iterator[int]]


def parts() -> Iterator[Part]:
    """Everything there is to clear away now."""
    now = timezone.now()
    sessions = Session.objects.filter(expire_date__lt=now)
    yield Part("sessions that have ended", sessions.count(), partial(_rows, sessions))
    silent_since = now - VIEWERS_KEPT
    silent = silent_viewers(silent_since)
    yield Part("viewers who never wrote", silent.count(), partial(_viewers, silent_since))
    for stream in Stream.objects.select_related("video").exclude(retention_days=None):
        assert stream.retention_days is not None, "the query has looked"
        before = now - timedelta(days=stream.retention_days)
        old = Comment.objects.filter(stream=stream, posted_at__lt=before)
        name = f"comments of {stream.video.slug} older than {stream.retention_days} days"
        yield Part(name, old.count(), partial(_comments, stream.pk, before))
        minutes = ViewerCount.objects.filter(stream=stream, minute__lt=before)
        name = f"minutes of viewers of {stream.video.slug} from before that"
        yield Part(name, minutes.count(), partial(_rows, minutes))
    lost = ViewerCount.objects.filter(~Exists(Stream.objects.filter(pk=OuterRef("stream_id"))))
    yield Part("minutes of viewers of deleted videos", lost.count(), partial(_rows, lost))
    expired = Job.objects.filter(expires_at__lt=now).exclude(file="")
    yield Part("files of exports that have expired", expired.count(), partial(_files, expired))
    jobs = Job.objects.filter(finished_at__lt=now - JOBS_KEPT).exclude(pk__in=_last_reports())
    yield Part("jobs that ended long ago", jobs.count(), partial(_rows, jobs))
    tasks = DBTaskResult.objects.finished().filter(finished_at__lt=now - JOBS_KEPT)
    yield Part("tasks that ended long ago", tasks.count(), partial(_rows, tasks))
    strays = list(_strays(now))
    yield Part("files that belong to no job", len(strays), partial(_unlink, strays))
    lost_files = list(lost_uploads(now - UPLOADS_KEPT))
    yield Part("uploads that no video names", len(lost_files), partial(_clear, lost_files))


def _rows(rows: QuerySet[Any]) -> Iterator[int]:
    while chosen := list(rows.order_by("pk").values_list("pk", flat=True)[:PIECE]):
        # What has changed since it was chosen, a session that goes on say, is left.
        rows.filter(pk__in=chosen).delete()
        yield len(chosen)


def _viewers(before: datetime) -> Iterator[int]:
    last = 0
    while piece := forget_viewers(before, last, PIECE):
        gone, last = piece
        yield gone


def _comments(stream_id: int, before: datetime) -> Iterator[int]:
    while gone := purge(stream_id, before, PIECE):
        yield gone


def _files(expired: QuerySet[Job]) -> Iterator[int]:
    for job in expired.order_by("pk").iterator():
        (settings.EXPORT_DIR / job.file).unlink(missing_ok=True)
        Job.objects.filter(pk=job.pk).update(file="")
        yield 1


def _last_reports() -> list[int]:
    """Of each stream the report that its page shows."""
    done = Job.objects.filter(kind=Job.Kind.REPORT, state=Job.State.DONE)
    return list(dict(done.order_by("finished_at").values_list("stream_id", "pk")).values())


def _strays(now: datetime) -> Iterator[Path]:
    """Files of jobs whose video was deleted, or of a worker that was killed at its last step."""
    if not settings.EXPORT_DIR.exists():
        return
    known = set(Job.objects.exclude(file="").values_list("file", flat=True))
    known |= {
        f"{task_id}.part" for task_id in Job.objects.active().values_list("task_id", flat=True)
    }
    for path in settings.EXPORT_DIR.iterdir():
        old = path.stat().st_mtime < (now - STRAY_AFTER).timestamp()
        if old and path.name not in known:
            yield path


def _unlink(paths: list[Path]) -> Iterator[int]:
    for path in paths:
        path.unlink(missing_ok=True)
        yield 1


def _clear(names: list[str]) -> Iterator[int]:
    for piece in batched(names, UPLOADS_PIECE, strict=False):
        yield Video.objects.clear_files(piece)
