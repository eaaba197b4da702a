"""What every verb stands on: its transaction, who acts, and the publication after the commit."""

import logging
from collections.abc import Callable
from functools import partial, wraps

from django.db import InterfaceError, InternalError, OperationalError, connection, transaction
from django.db.models import prefetch_related_objects
from django.utils.translation import gettext as _

from comments import stream
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Comment, Viewer
from streamsite.observe import tracing

logger = logging.getLogger(__name__)

# The database is locked, restarts or is gone. InternalError: PostgreSQL has ended the session of a
# process that was frozen in its transaction.
DATABASE_FAILED = (OperationalError, InterfaceError, InternalError)


def verb[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """One transaction; a database that is busy or gone is a refusal to try again, not a crash."""

    @tracing.spanned(f"commit {function.__name__}")
    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with transaction.atomic():
                return function(*args, **kwargs)
        except DATABASE_FAILED as error:
            logger.warning("%s: the database failed: %s", function.__name__, error)
            raise busy() from error

    return run


class Held(Refused):
    """`busy` of one who would have had to wait where the others can go on."""


def busy(kind: type[Refused] = Refused) -> Refused:
    """The refusal when the database is locked for too long, restarts, or is gone."""
    sentence = _("The site is very busy. Nothing was lost; please try again.")
    return kind(Code.TRY_AGAIN, sentence, retry_after=2)


def require_viewer(actor: Actor) -> Viewer:
    if actor.viewer is None:
        raise nobody()
    return actor.viewer


def nobody() -> Refused:
    """The refusal when there is no viewer behind an action (any more)."""
    sentence = _("This page has no session, or one that has ended. Reload it to go on.")
    return Refused(Code.SIGN_IN_REQUIRED, sentence)


def require_shown(actor: Actor, shown: object) -> None:
    """Refuse (`sign_in_required`) what was meant to be done as somebody else.

    `shown` is whom the page shows, if it says so. Its browser may have signed in or out in another
    tab since: then nothing is done, let alone published, under the other name.
    """
    if shown not in (None, "", actor.shown):
        sentence = _("You are somebody else in this browser by now. Reload the page to go on.")
        raise Refused(Code.SIGN_IN_REQUIRED, sentence)


def lock_viewers(viewers: set[int], *, wait: bool = True) -> dict[int, Viewer]:
    """The viewers' rows by id, locked: one viewer's verbs run one after another, in every tab.

    In the order of their ids, so that two batches never wait for each other. Without `wait` rows
    that are locked elsewhere are left out (SQLite, which has one writer at a time, knows none).
    """
    lock = ""
    if connection.features.has_select_for_no_key_update:
        lock = "FOR NO KEY UPDATE" if wait else "FOR NO KEY UPDATE SKIP LOCKED"
    found = Viewer.objects.with_ids(viewers, lock=lock)
    prefetch_related_objects([viewer for viewer in found.values() if viewer.user_id], "user")
    return found


def publish(comments: list[Comment]) -> None:
    """Tell every page about new states of one stream's comments, once they are committed."""
    transaction.on_commit(partial(stream.publish, comments), robust=True)
