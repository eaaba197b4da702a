"""Deleting for good what is old. The verbs without an actor: settings and time ask for them."""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, ManyToOneRel, OuterRef, QuerySet

from comments.models import Comment, Stream, Viewer, new_epoch
from comments.services.common import lock_viewers


def purge(stream_id: int, before: datetime, at_most: int) -> int:
    """Delete up to `at_most` comments of a stream that were posted before a moment; how many.

    A row that is gone has no state to be sent, so a page that shows it would keep it, and one that
    resumes would not learn of it. So the history gets a new epoch, in the same transaction: every
    page, open now or resuming later, is sent the latest window whole, without what was deleted
    (running servers notice within 2 s). The numbers go on where they were: no number that was ever
    given is given again.
    """
    with transaction.atomic():
        # Locked first, as a post does: no post's transaction is caught between the two.
        stream = Stream.objects.select_for_update(no_key=True).filter(pk=stream_id).first()
        if stream is None:
            return 0
        old = Comment.objects.filter(stream=stream, posted_at__lt=before).order_by("number")
        chosen = list(old.values_list("pk", flat=True)[:at_most])
        if not chosen:
            return 0
        gone, _by_model = Comment.objects.filter(pk__in=chosen).delete()
        Stream.objects.filter(pk=stream_id).update(epoch=new_epoch())
    return gone


def silent_viewers(before: datetime) -> QuerySet[Viewer]:
    """Viewers from before a moment, without account, to whom nothing at all points: no comment,
    and no row of whatever table names viewers one day."""
    found = Viewer.objects.filter(created_at__lt=before, user=None)
    for relation in Viewer._meta.get_fields(include_hidden=True):
        if isinstance(relation, ManyToOneRel):
            points = {relation.field.attname: OuterRef("pk")}
            found = found.filter(~Exists(relation.related_model._base_manager.filter(**points)))
    return found


def forget_viewers(before: datetime, after: int, at_most: int) -> tuple[int, int] | None:
    """Look at `at_most` viewers from before a moment, those whose ids follow `after`, and delete
    the silent ones; how many are gone, and the id to go on after. None when there are no more.

    Who acts as one of them in this very moment has its row locked, and is left alone; who comes a
    moment later waits, and finds that its session has ended.
    """
    with transaction.atomic():
        old = Viewer.objects.filter(created_at__lt=before, pk__gt=after).order_by("pk")
        piece = list(old.values_list("pk", flat=True)[:at_most])
        if not piece:
            return None
        silent = silent_viewers(before)
        chosen = set(silent.filter(pk__in=piece).values_list("pk", flat=True))
        locked = lock_viewers(chosen, wait=False)
        # Looked at again now that they are locked: one may have written since it was chosen.
        _rows, by_model = silent.filter(pk__in=list(locked)).delete()
    return by_model.get(Viewer._meta.label, 0), piece[-1]
