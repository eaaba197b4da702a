"""How often a wrong password may be given: django-axes, told what it may know and what it says.

Attempts are counted in the database, so all processes share them: by the account's name together
with the address. The name alone would let a stranger lock anybody out; the address alone would
lock out whoever shares it.
"""

import ipaddress
import logging
import math
from datetime import datetime, timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from axes.signals import user_locked_out
from django.conf import settings
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import ngettext

from comments.limits import address_of

logger = logging.getLogger(__name__)


def client_address(request: HttpRequest) -> str | None:
    """`settings.AXES_CLIENT_IP_CALLABLE`: where a request comes from, as far as can be trusted.

    Addresses themselves are not kept here either. The keyed hash that comments have is 128 bits
    long, and is written as an IPv6 address, since the column takes nothing else. None where there
    is no address (a unix socket).
    """
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    address = address_of({"x-forwarded-for": forwarded}, request.META.get("REMOTE_ADDR") or "")
    return str(ipaddress.IPv6Address(int(address, 16))) if address else None


def nobody(*args: object) -> str:
    """`settings.AXES_CLIENT_STR_CALLABLE`: who it was, in lines of the log: nothing of it."""
    return "a client"


class Attempts(AxesDatabaseHandler):
    """One row for a name and an address, whatever browsers the requests claim to be of."""

    def user_login_failed(
        self,
        sender: object,
        credentials: dict[str, Any],
        request: HttpRequest | None = None,
        **kwargs: Any,
    ) -> None:
        if request is not None:
            request.axes_user_agent = request.axes_http_accept = ""  # type: ignore[attr-defined]
        super().user_login_failed(sender, credentials, request, **kwargs)


@receiver(pre_save, sender=AccessAttempt)
def forget_the_form(sender: object, instance: AccessAttempt, **kwargs: Any) -> None:
    """What else was posted is not kept: tokens, and whatever was typed into a wrong box."""
    instance.get_data = instance.post_data = ""


@receiver(user_locked_out)
def tell(sender: object, request: HttpRequest, **kwargs: Any) -> None:
    """One line for each lock, not for each try that it turns away."""
    if failures := getattr(request, "axes_failures_since_start", None):
        logger.warning("sign-in: a name is locked for an address, %d wrong passwords", failures)


def locked(request: HttpRequest, *args: object) -> HttpResponse:
    """`settings.AXES_LOCKOUT_CALLABLE`: the page that says how long to wait (429)."""
    # Not from the arguments: axes 8.3 gives them in another order under ASGI.
    credentials = getattr(request, "axes_credentials", None) or {}
    seconds = seconds_left(credentials.get("username", ""), client_address(request))
    response = render(request, "registration/locked.html", {"wait": in_words(seconds)}, status=429)
    response["Retry-After"] = str(seconds)
    add_never_cache_headers(response)
    return response


def seconds_left(username: str, address: str | None) -> int:
    """Until this name can be tried again from there; at least 1."""
    attempt = AccessAttempt.objects.filter(username=username, ip_address=address).first()
    if attempt is None:  # it has just run out
        return 1
    until: datetime = attempt.attempt_time + timedelta(seconds=settings.LOGIN_COOLOFF)
    return max(1, math.ceil((until - timezone.now()).total_seconds()))


def in_words(seconds: int) -> str:
    """`40 seconds`, `15 minutes`; from a minute on rounded up to whole ones."""
    if seconds <= 60:
        return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    minutes = math.ceil(seconds / 60)
    return ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}
