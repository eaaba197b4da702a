"""Django's admin behind a second factor, and the pages that ask for it and set it up."""

from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.contrib.auth.views import RedirectURLMixin, redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from streamsite import second_factor
from streamsite.forms import CodeForm
from streamsite.second_factor import Step, WrongCodeError

if TYPE_CHECKING:
    CodeFormView = FormView[CodeForm]
else:  # generic for the type checker only
    CodeFormView = FormView

PAGES = {Step.SET_UP: "admin:second_factor_setup", Step.VERIFY: "admin:second_factor"}


class StreamsiteAdmin(AdminSite):
    """Opens for staff who have done what ADMIN_SECOND_FACTOR asks of them."""

    def has_permission(self, request: HttpRequest) -> bool:
        if not super().has_permission(request):
            return False
        if not hasattr(request, "_second_factor_is_done"):  # asked several times for a page
            request._second_factor_is_done = (  # type: ignore[attr-defined]
                second_factor.next_step(request.user) is None
            )
        return bool(request._second_factor_is_done)  # type: ignore[attr-defined]

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who is signed in and lacks only the second factor is not asked for the password again."""
        if request.method == "GET" and super().has_permission(request):
            step = second_factor.next_step(request.user)
            if step is not None:
                return HttpResponseRedirect(_page(step, request.GET.get("next", "")))
        return super().login(request, extra_context)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        offered = settings.ADMIN_SECOND_FACTOR != "off"
        return super().each_context(request) | {"second_factor_is_offered": offered}

    def get_urls(self) -> list[URLPattern | URLResolver]:
        own: list[URLPattern | URLResolver] = [
            path("second-factor/", Verify.as_view(), name="second_factor"),
            path("second-factor/setup/", SetUp.as_view(), name="second_factor_setup"),
        ]
        return own + super().get_urls()


def _page(step: Step, next_: str = "") -> str:
    query = f"?{urlencode({'next': next_})}" if next_ else ""
    return reverse(PAGES[step]) + query


@method_decorator([sensitive_post_parameters("code"), csrf_protect, never_cache], name="dispatch")
class SecondFactorPage(RedirectURLMixin, CodeFormView):
    """One form for a code; only for staff who are signed in."""

    form_class = CodeForm

    @property
    def user(self) -> User:
        return cast("User", self.request.user)

    def redirected(self, step: Step | None) -> str:
        """Where else to go for somebody who has this to do; empty: nowhere."""
        raise NotImplementedError

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if settings.ADMIN_SECOND_FACTOR == "off":
            raise Http404
        if not (request.user.is_active and request.user.is_staff):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        if elsewhere := self.redirected(second_factor.next_step(request.user)):
            return HttpResponseRedirect(elsewhere)
        return super().dispatch(request, *args, **kwargs)

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        return super().get_context_data(next=self.get_redirect_url(), **kwargs)

    def is_taken(self, form: CodeForm) -> HttpResponse:
        """Act on a code. Raises WrongCodeError."""
        raise NotImplementedError

    def form_valid(self, form: CodeForm) -> HttpResponse:
        try:
            return self.is_taken(form)
        except WrongCodeError as error:
            form.add_error("code", str(error))
            return self.form_invalid(form)


class Verify(SecondFactorPage):
    """Ask for a code, once in a session."""

    template_name = "registration/second_factor.html"

    def get_form(self, form_class: type[CodeForm] | None = None) -> CodeForm:
        form = super().get_form(form_class)
        # Here alone: in the set-up it would lead past the QR code.
        form.fields["code"].widget.attrs["autofocus"] = True
        return form

    def redirected(self, step: Step | None) -> str:
        if step is Step.VERIFY:
            return ""
        return _page(step, self.get_redirect_url()) if step else self.get_success_url()

    def is_taken(self, form: CodeForm) -> HttpResponse:
        before = second_factor.backup_codes_left(self.user)
        second_factor.verify(self.request, self.user, form.cleaned_data["code"])
        left = second_factor.backup_codes_left(self.user)
        if left < before:
            told = ngettext(
                "That was a backup code; %(count)d is left.",
                "That was a backup code; %(count)d are left.",
                left,
            )
            messages.warning(self.request, told % {"count": left})
        return HttpResponseRedirect(self.get_success_url())


class SetUp(SecondFactorPage):
    """Show a new key as a QR code, and take the first code that the app makes of it."""

    template_name = "registration/second_factor_setup.html"

    def redirected(self, step: Step | None) -> str:
        # Who has one shows it first: a password alone must not replace it.
        return _page(step, self.request.get_full_path()) if step is Step.VERIFY else ""

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        device = second_factor.pending(self.user)
        size, dark = second_factor.qr_code(device.config_url)
        return super().get_context_data(
            size=size,
            dark=dark,
            key=second_factor.key_in_groups(device),
            replaces=second_factor.has_one(self.user),
            **kwargs,
        )

    def is_taken(self, form: CodeForm) -> HttpResponse:
        codes = second_factor.confirm(self.request, self.user, form.cleaned_data["code"])
        # Shown here and never again.
        context = {"codes": codes, "next": self.get_success_url()}
        return render(self.request, "registration/second_factor_codes.html", context)
