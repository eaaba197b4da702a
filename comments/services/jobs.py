"""Asking for background work, and calling it off."""

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from comments import limits
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.jobs import bell, queue
from comments.models import Job, Stream
from comments.services.common import verb

REQUESTABLE = (*Job.EXPORTS, Job.Kind.REPORT)


@verb
def request_job(actor: Actor, stream_id: int, kind: object) -> Job:
    """Have a worker make an export or a report of a video's comments. Asked for again before it is
    done, it is the same job.

    Refused: not_found, not_allowed, malformed, too_fast.
    """
    stream = _moderated(actor, stream_id)
    if kind not in REQUESTABLE:
        raise Refused(Code.MALFORMED, _("There is no such kind of export."))
    if kind == Job.Kind.VTT and stream.video.started_at is None:
        sentence = _("WebVTT follows the video's clock, and this video has not started yet.")
        raise Refused(Code.NOT_ALLOWED, sentence)
    assert actor.user is not None, "who moderates has an account"
    return enter(stream, str(kind), actor.user.pk, limited=True)


def enter(stream: Stream, kind: str, requester_id: int | None, *, limited: bool = False) -> Job:
    """The active job of this kind, or a new one in the queue; in the caller's transaction."""
    asked = {"stream": stream, "kind": kind, "requester_id": requester_id}
    standing = Job.objects.active().filter(**asked)
    if (job := standing.first()) is not None:
        return job
    if limited and requester_id is not None:
        limits.jobs(requester_id)
    try:
        with transaction.atomic():
            job = Job.objects.create(**asked)
    except IntegrityError:
        # Asked for twice in the same moment: the constraint let one through.
        return standing.get()
    queue.enqueue(job)
    bell.ring(job)
    return job


@verb
def cancel_job(actor: Actor, stream_id: int, job_id: object) -> Job:
    """Call off one's own job. Its worker stops at its next step; one that has ended stays so.

    Refused: not_found, not_allowed.
    """
    _moderated(actor, stream_id)
    pk = int(job_id) if isinstance(job_id, str) and job_id.isdecimal() and len(job_id) < 19 else 0
    own = Job.objects.filter(pk=pk, stream_id=stream_id, requester=actor.user)
    own.active().update(state=Job.State.CANCELLED, finished_at=timezone.now())
    job = own.first()
    if job is None:
        raise Refused(Code.NOT_FOUND, _("There is no such job of yours."))
    bell.ring(job)
    return job


def _moderated(actor: Actor, stream_id: int) -> Stream:
    stream = Stream.objects.select_related("video").filter(pk=stream_id).first()
    if stream is None:
        raise Refused(Code.NOT_FOUND, _("This video is gone."))
    if not actor.can_moderate(stream):
        raise Refused(Code.NOT_ALLOWED, _("Only moderators of this video may do this."))
    return stream
