"""Failed sign-ins and second factors in admin: to see what goes on, and to let people in again."""

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import Exists, Field, OuterRef, QuerySet
from django.forms import Field as FormField
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_otp.plugins.otp_static import admin as _static_admin  # noqa: F401  registers itself
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp import admin as _totp_admin  # noqa: F401  registers itself
from django_otp.plugins.otp_totp.models import TOTPDevice

from streamsite import second_factor

# Keys and backup codes are nothing to show or to type in; what there is to do is among the users.
admin.site.unregister([TOTPDevice, StaticDevice, User])


@admin.register(AccessAttempt)
class AccessAttemptAdmin(admin.ModelAdmin[AccessAttempt]):
    """Deleting one lifts its lock. The address stays a hash, which shows what belongs together."""

    list_display = ("username", "failures_since_start", "attempt_time", "path_info", "ip_address")
    list_filter = ("attempt_time", "path_info")
    search_fields = ("username",)
    fields = ("username", "failures_since_start", "attempt_time", "path_info", "ip_address")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(User)
class OurUserAdmin(UserAdmin[User]):
    list_display = ("username", "first_name", "is_staff", "is_superuser", "has_second_factor")
    actions = ("remove_second_factor",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        users: QuerySet[User] = super().get_queryset(request)
        return users.annotate(second_factor=Exists(devices))

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> FormField | None:
        found = super().formfield_for_dbfield(db_field, request, **kwargs)
        if found and db_field.name in ("first_name", "last_name"):
            found.help_text = _("Public: stands beside this account's comments, not the username.")
        return found

    @admin.display(description=_("second factor"), boolean=True)
    def has_second_factor(self, user: Any) -> bool:
        return bool(user.second_factor)

    @admin.action(description=_("Remove the second factor"), permissions=["remove_second_factor"])
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        removed = 0
        for user in queryset:
            if second_factor.remove(user):
                removed += 1
                self.log_change(request, user, "Removed the second factor.")
        told = ngettext("%(count)d was removed.", "%(count)d were removed.", removed)
        self.message_user(request, told % {"count": removed}, messages.SUCCESS)

    def has_remove_second_factor_permission(self, request: HttpRequest) -> bool:
        """Superusers only: who may change users could otherwise become any of them."""
        return bool(request.user.is_superuser)
