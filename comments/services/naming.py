"""What viewers without account are called."""

from django.contrib.auth.models import User
from django.db.models import Q, Value
from django.db.models.functions import Concat, Trim
from django.utils import timezone
from django.utils.translation import gettext as _

from comments import limits, text
from comments.errors import Code, Refused
from comments.identity import Actor, people_of_standing
from comments.models import Viewer
from comments.services.common import lock_viewers, nobody, require_viewer, verb


@verb
def rename(actor: Actor, name: object) -> Viewer:
    """Change the name that a viewer without account writes under from now on.

    Refused: malformed, empty, too_long, too_fast, not_allowed, sign_in_required.
    """
    pk = require_viewer(actor).pk
    viewer = lock_viewers({pk}).get(pk)
    if viewer is None:
        raise nobody()
    give_name(viewer, actor, name)
    return viewer


def give_name(viewer: Viewer, actor: Actor, name: object) -> None:
    """The rules of `rename`, for a viewer whose row is locked."""
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
