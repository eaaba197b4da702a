"""What accounts are called, and whether a name is one of theirs."""

from django.contrib.auth.models import User
from django.db.models import Q

from comments import text
from comments.identity import people_of_standing
from comments.models import AccountName

# Joiners, which some scripts need: nobody sees them between Latin letters.
_JOINERS = str.maketrans("", "", "\u200c\u200d")
# Code points of the columns of AccountName. Of a longer form the beginning is kept, and compared.
SHORT, LONG = 300, 600


def forms_of(username: str, full_name: str) -> dict[str, str]:
    """The fields of AccountName: without case, and what is left of each for the eye."""
    forms = {
        "username": username.casefold(),
        "full_name": full_name.casefold(),
        "username_likeness": text.likeness(username),
        "full_name_likeness": text.likeness(full_name),
    }
    return {field: form[: SHORT if "user" in field else LONG] for field, form in forms.items()}


def remember(user: User) -> None:
    """After an account was saved: keep what it is called now."""
    forms = forms_of(user.get_username(), user.get_full_name())
    AccountName.objects.update_or_create(user=user, defaults=forms)


def is_account_name(name: str) -> bool:
    """Whether an account is called so, whatever the capitals and joiners; for the names of staff
    and moderators spaces and punctuation do not count either."""
    seen = name.translate(_JOINERS).casefold()
    if AccountName.objects.filter(Q(username=seen[:SHORT]) | Q(full_name=seen[:LONG])).exists():
        return True
    likeness = text.likeness(name)
    if not likeness:
        return False
    alike = AccountName.objects.filter(
        Q(username_likeness=likeness[:SHORT]) | Q(full_name_likeness=likeness[:LONG])
    )
    return people_of_standing().filter(pk__in=alike.values("pk")).exists()
