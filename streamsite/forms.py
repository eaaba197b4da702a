"""Forms of accounts."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import (
    AuthenticationForm,
    PasswordChangeForm,
    UserCreationForm,
    UsernameField,
)
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from comments import text
from comments.accounts import is_account_name
from comments.errors import Refused

if TYPE_CHECKING:
    UserForm = UserCreationForm[User]
else:  # generic for the type checker only
    UserForm = UserCreationForm

# What AUTH_PASSWORD_VALIDATORS ask, in one line instead of Django's list of four; a password that
# is refused is told which of them it was.
PASSWORD_HELP = _("At least 8 characters. Not only digits, not your name, not a common one.")


class SignInForm(AuthenticationForm):
    error_messages = AuthenticationForm.error_messages | {
        # As the form calls it.
        "invalid_login": _(
            "This name and password do not belong together. Capitals count in both."
        ),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = _("Name")  # as signing up calls it


class SignUpForm(UserForm):
    """A name and a password; the name is what stands beside one's comments."""

    class Meta:
        model = User
        fields = ("username",)
        field_classes = {"username": UsernameField}
        labels = {"username": _("Name")}
        help_texts = {"username": _("It stands beside your comments: letters, digits, @.+-_")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = PASSWORD_HELP
        self.fields["password2"].label = _("Password, once more")
        self.fields["password2"].help_text = ""

    def clean_username(self) -> str:
        """Not what is refused as a chosen name, nor another account's, nor what people would take
        for that."""
        username: str = super().clean_username() or ""
        try:
            text.require_fit_name(username)
        except Refused as refusal:
            raise ValidationError(refusal.sentence) from None
        if username and is_account_name(username):
            raise ValidationError(_("This name belongs to an account. Choose another."))
        return username


class ChangePasswordForm(PasswordChangeForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].help_text = PASSWORD_HELP
        self.fields["new_password2"].label = _("New password, once more")
        self.fields["new_password2"].help_text = ""


class CodeForm(forms.Form):
    """A code of the second factor, however it is grouped."""

    code = forms.CharField(
        label=_("Code"),
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )
