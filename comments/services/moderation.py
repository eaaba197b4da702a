"""Removing and restoring comments."""

from django.utils.translation import gettext as _

from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Comment
from comments.services import common
from comments.services.common import require_viewer, verb


@verb
def remove(actor: Actor, stream_id: int, number: object) -> Comment:
    """Remove a comment: from every page at once; staff still see it, marked with who did it.

    Moderators remove any, viewers their own, and an account what all its viewers wrote. Removing it
    again changes nothing.
    Refused: not_found, not_allowed, malformed, sign_in_required.
    """
    comment = _comment(stream_id, number)
    viewer = require_viewer(actor)
    if not actor.wrote(comment) and not actor.can_moderate(comment.stream):
        raise Refused(Code.NOT_ALLOWED, _("Only moderators remove other people's comments."))
    return _change(
        comment,
        from_state=Comment.State.VISIBLE,
        state=Comment.State.REMOVED,
        removed_by=viewer.name_to_keep,
    )


@verb
def restore(actor: Actor, stream_id: int, number: object) -> Comment:
    """Show a removed comment again, in its old place. Restoring it again changes nothing.

    Refused: not_found, not_allowed, malformed, sign_in_required.
    """
    comment = _comment(stream_id, number)
    require_viewer(actor)
    if not actor.can_moderate(comment.stream):
        raise Refused(Code.NOT_ALLOWED, _("Only moderators restore comments."))
    return _change(
        comment, from_state=Comment.State.REMOVED, state=Comment.State.VISIBLE, removed_by=""
    )


def _comment(stream_id: int, number: object) -> Comment:
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= 18:
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise Refused(Code.MALFORMED, _("The comment's number must be a whole number."))
    comment = None
    if 0 < number < 2**63:
        comment = (
            Comment.objects.select_related("stream", "author")
            .filter(stream_id=stream_id, number=number)
            .first()
        )
    if comment is None:
        raise _not_found()
    return comment


def _not_found() -> Refused:
    return Refused(Code.NOT_FOUND, _("There is no such comment."))


def _change(comment: Comment, *, from_state: str, **fields: str) -> Comment:
    """Give the comment a new state and the next number, unless someone else just did."""
    # What stands once the row is locked decides, not what was read before.
    locked = Comment.objects.select_for_update(no_key=True).filter(pk=comment.pk).first()
    if locked is None:
        raise _not_found()  # deleted for good meanwhile, by housekeeping
    if locked.state != from_state:
        return locked
    comment.change = comment.stream.advance()
    for field, value in fields.items():
        setattr(comment, field, value)
    comment.save(update_fields=["change", *fields])
    common.publish([comment])
    return comment
