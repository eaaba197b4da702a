"""The verbs. Nobody else writes streams' numbers, comments, or viewers' names.

Each verb takes who acts, checks every rule, writes in one transaction and publishes after the
commit. Each raises `Refused` with its code where a rule forbids it, and then has changed nothing.
The doors (socket, form, admin, command) parse, call one of these, and show the outcome.
"""

import logging
import uuid
from collections.abc import Callable
from functools import partial, wraps

from django.contrib.auth.models import User
from django.db import InterfaceError, InternalError, OperationalError, transaction
from django.db.models import Q, Value
from django.db.models.functions import Concat, Trim
from django.utils import timezone
from django.utils.translation import gettext as _

from comments import limits, stream, text
from comments.errors import Code, Refused
from comments.identity import Actor, people_of_standing
from comments.models import Comment, Stream, Viewer

logger = logging.getLogger(__name__)


def verb[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """One transaction; a database that is busy or gone is a refusal to try again, not a crash."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with transaction.atomic():
                return function(*args, **kwargs)
        except (OperationalError, InterfaceError, InternalError) as error:
            # InternalError: PostgreSQL ended the session of a process that was frozen in it.
            logger.warning("%s: the database failed: %s", function.__name__, error)
            raise busy() from error

    return run


def busy() -> Refused:
    """The refusal when the database is locked for too long, restarts, or is gone."""
    sentence = _("The site is very busy. Nothing was lost; please try again.")
    return Refused(Code.TRY_AGAIN, sentence, retry_after=2)


@verb
def post(
    actor: Actor,
    stream_id: int,
    body: object,
    key: object,
    *,
    name: object = None,
    by_form: bool = False,
) -> Comment:
    """Post a comment. `key` is the client's UUID for it; the same key again returns what stands.

    `name`, where given and new, renames the viewer first (the plain form's name field). `by_form`:
    the key is the page's, which "back" brings again: with another text it is another comment.
    Refused: malformed, empty, too_long, too_fast, closed, sign_in_required, not_allowed,
    not_found.
    """
    comment_key = parse_key(key)
    body = text.clean(body)
    author = _lock_viewer(actor)
    standing = _standing(stream_id, author, comment_key)
    if standing and by_form and standing.body != body:
        comment_key = uuid.uuid5(comment_key, body)
        standing = _standing(stream_id, author, comment_key)
    if standing:
        return standing
    room = _stream(stream_id)
    if not room.is_open:
        raise Refused(Code.CLOSED, _("Comments are closed here."))
    text.require_length(body, room.max_length)
    limits.flood_per_viewer(author)
    limits.flood_per_address(actor.address)
    if name not in (None, "", author.display_name):
        _rename(author, actor, name)
    number = room.advance()
    comment = Comment.objects.create(
        stream=room,
        number=number,
        change=number,
        author=author,
        key=comment_key,
        author_name=author.display_name,
        badge=actor.badge(room),
        body=body,
        address=actor.address,
        posted_at=timezone.now(),
    )
    _publish(comment)
    return comment


@verb
def remove(actor: Actor, stream_id: int, number: object) -> Comment:
    """Remove a comment: from every page at once; staff still see it, marked with who did it.

    Moderators remove any, viewers their own. Removing it again changes nothing.
    Refused: not_found, not_allowed, malformed, sign_in_required.
    """
    comment = _comment(stream_id, number)
    viewer = _require_viewer(actor)
    if not actor.can_moderate(comment.stream) and comment.author_id != viewer.pk:
        raise Refused(Code.NOT_ALLOWED, _("Only moderators remove other people's comments."))
    return _change(
        comment,
        from_state=Comment.State.VISIBLE,
        state=Comment.State.REMOVED,
        removed_by=viewer.display_name,
    )


@verb
def restore(actor: Actor, stream_id: int, number: object) -> Comment:
    """Show a removed comment again, in its old place. Restoring it again changes nothing.

    Refused: not_found, not_allowed, malformed, sign_in_required.
    """
    comment = _comment(stream_id, number)
    _require_viewer(actor)
    if not actor.can_moderate(comment.stream):
        raise Refused(Code.NOT_ALLOWED, _("Only moderators restore comments."))
    return _change(
        comment, from_state=Comment.State.REMOVED, state=Comment.State.VISIBLE, removed_by=""
    )


@verb
def rename(actor: Actor, name: object) -> Viewer:
    """Change the name that a viewer without account writes under from now on.

    Refused: malformed, empty, too_long, too_fast, not_allowed, sign_in_required.
    """
    viewer = _lock_viewer(actor)
    _rename(viewer, actor, name)
    return viewer


def parse_key(key: object) -> uuid.UUID:
    """Refuse (`malformed`) a key that is not a UUID in its usual form."""
    try:
        if isinstance(key, str) and len(key) <= 36:
            return uuid.UUID(key)
    except ValueError:
        pass
    raise Refused(Code.MALFORMED, _("The comment's key must be a UUID."))


def _standing(stream_id: int, author: Viewer, key: uuid.UUID) -> Comment | None:
    """The comment of this key, by the viewer or by another of the same account: who signs in
    between a post and its retry goes on as the account's first viewer."""
    whose = Q(author=author) | Q(author__user=author.user) if author.user else Q(author=author)
    return Comment.objects.filter(whose, stream_id=stream_id, key=key).first()


def _rename(viewer: Viewer, actor: Actor, name: object) -> None:
    if actor.user is not None:
        raise Refused(Code.NOT_ALLOWED, _("You comment under your account's name."))
    name = text.clean_name(name)
    if name == viewer.name:
        return
    if _is_account_name(name):
        raise Refused(Code.NOT_ALLOWED, _("This name belongs to an account. Choose another."))
    limits.renames(viewer)
    viewer.name = name
    viewer.renamed_at = timezone.now()
    viewer.save(update_fields=["name", "renamed_at"])


def _is_account_name(name: str) -> bool:
    """Whether an account is called so, whatever the capitals and joiners; for the names of staff
    and moderators spaces and punctuation do not count either."""
    seen = name.replace("\u200c", "").replace("\u200d", "")
    accounts = User.objects.alias(full_name=Trim(Concat("first_name", Value(" "), "last_name")))
    if accounts.filter(Q(username__iexact=seen) | Q(full_name__iexact=seen)).exists():
        return True
    likeness = text.likeness(name)
    return any(
        likeness in (text.likeness(user.get_username()), text.likeness(user.get_full_name()))
        for user in people_of_standing()
    )


def _require_viewer(actor: Actor) -> Viewer:
    if actor.viewer is None:
        raise Refused(Code.SIGN_IN_REQUIRED, _("Your session has ended. Reload the page to go on."))
    return actor.viewer


def _lock_viewer(actor: Actor) -> Viewer:
    """The acting viewer's row, locked: one viewer's verbs run one after another, in every tab."""
    locked = (
        Viewer.objects.select_for_update(of=("self",), no_key=True)
        .select_related("user")
        .filter(pk=_require_viewer(actor).pk)
        .first()
    )
    return locked or _require_viewer(Actor(None))


def _stream(stream_id: int) -> Stream:
    room = Stream.objects.select_related("video").filter(pk=stream_id).first()
    if room is None:
        raise Refused(Code.NOT_FOUND, _("This video is gone."))
    return room


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
        raise Refused(Code.NOT_FOUND, _("There is no such comment."))
    return comment


def _change(comment: Comment, *, from_state: str, **fields: str) -> Comment:
    """Give the comment a new state and the next number, unless someone else just did."""
    # What stands once the row is locked decides, not what was read before.
    locked = Comment.objects.select_for_update(no_key=True).get(pk=comment.pk)
    if locked.state != from_state:
        return locked
    comment.change = comment.stream.advance()
    for field, value in fields.items():
        setattr(comment, field, value)
    comment.save(update_fields=["change", *fields])
    _publish(comment)
    return comment


def _publish(comment: Comment) -> None:
    transaction.on_commit(partial(stream.publish, comment), robust=True)
