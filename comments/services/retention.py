"""Deleting old comments for good. The one verb without an actor: a setting of the stream asks."""

from datetime import datetime

from django.db import transaction

from comments.models import Comment, Stream, new_epoch


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
