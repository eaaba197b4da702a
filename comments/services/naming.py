"""What viewers without account are called."""

from django.utils import timezone
from django.utils.translation import gettext as _

from comments import limits, text
from comments.accounts import is_account_name
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Viewer
from comments.services.common import lock_viewers, nobody, require_viewer, verb


def rename(actor: Actor, name: object) -> Viewer:
    """Change the name that a viewer without account writes under from now on.

    Every attempt counts against the limit, also one that is refused because the name is an
    account's: nobody tries names one after another. Looked up between two transactions, so that
    nothing is locked meanwhile.
    Refused: malformed, empty, too_long, too_fast, not_allowed, sign_in_required.
    """
    viewer = require_viewer(actor)
    if actor.user is not None:
        raise Refused(Code.NOT_ALLOWED, _("You comment under your account's name."))
    name = text.clean_name(name)
    if name == viewer.name:
        return viewer
    _attempt(viewer.pk)
    if is_account_name(name):
        raise Refused(Code.NOT_ALLOWED, _("This name belongs to an account. Choose another."))
    return _give_name(viewer.pk, name)


@verb
def _attempt(pk: int) -> None:
    viewer = _locked(pk)
    limits.renames(viewer)
    viewer.renamed_at = timezone.now()
    viewer.save(update_fields=["renamed_at"])


@verb
def _give_name(pk: int, name: str) -> Viewer:
    viewer = _locked(pk)
    viewer.name = name
    viewer.save(update_fields=["name"])
    return viewer


def _locked(pk: int) -> Viewer:
    viewer = lock_viewers({pk}).get(pk)
    if viewer is None or viewer.user_id is not None:
        raise nobody()  # gone, or an account's since
    return viewer
