"""What viewers without account are called."""

from django.utils import timezone
from django.utils.translation import gettext as _

from comments import limits, text
from comments.accounts import is_account_name
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Comment, Viewer
from comments.services.common import lock_viewers, nobody, require_shown, require_viewer, verb
from comments.services.posting import Draft, post_many, require_takes


def rename(actor: Actor, name: object) -> Viewer:
    """Change the name that a viewer without account writes under from now on.

    Every attempt counts against the limit, also one that is refused because the name is an
    account's: nobody tries names one after another. Looked up between two transactions, so that
    nothing is locked meanwhile.
    Refused: malformed, empty, too_long, too_fast, not_allowed, sign_in_required.
    """
    viewer, name = _free_name(actor, name)
    return viewer if name == viewer.name else _give_name(viewer.pk, name)


def post_as(
    actor: Actor, stream_id: int, name: object, body: object, key: object, *, shown: object = None
) -> Comment:
    """Rename and post, by the plain form, which has one button for both: both are done, or neither.

    Whether the comment would be taken is asked first: a try of a name counts, and who then has to
    mend the comment would have to wait for the name.
    Refused: as by `post` and `rename`.
    """
    draft = Draft(actor, body, key, by_form=True, shown=shown)
    require_takes(stream_id, draft)
    require_shown(actor, shown)  # also where the comment stands already
    viewer, name = _free_name(actor, name)
    return _rename_and_post(viewer.pk, name, stream_id, draft)


def _free_name(actor: Actor, name: object) -> tuple[Viewer, str]:
    """Who wants a name, and the name as it would be kept. Raises Refused."""
    viewer = require_viewer(actor)
    if actor.user is not None:
        raise Refused(Code.NOT_ALLOWED, _("You comment under your account's name."))
    wanted = text.clean_name(name)
    if wanted != viewer.name:
        _attempt(viewer.pk, actor.address)
        if is_account_name(wanted):
            raise Refused(Code.NOT_ALLOWED, _("This name belongs to an account. Choose another."))
    return viewer, wanted


@verb
def _attempt(pk: int, address: str) -> None:
    viewer = _locked(pk)
    limits.renames(viewer)
    limits.renames_of_address(address)
    viewer.renamed_at = timezone.now()
    viewer.save(update_fields=["renamed_at"])


@verb
def _give_name(pk: int, name: str) -> Viewer:
    viewer = _locked(pk)
    viewer.name = name
    viewer.save(update_fields=["name"])
    return viewer


@verb
def _rename_and_post(pk: int, name: str, stream_id: int, draft: Draft) -> Comment:
    _give_name(pk, name)
    (outcome,) = post_many(stream_id, [draft])
    if isinstance(outcome, Refused):
        raise outcome  # and the name stays as it was
    return outcome


def _locked(pk: int) -> Viewer:
    viewer = lock_viewers({pk}).get(pk)
    if viewer is None or viewer.user_id is not None:
        raise nobody()  # gone, or an account's since
    return viewer
