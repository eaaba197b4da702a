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
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import ngettext

from comments.limits import address_of_request

logger = logging.getLogger(__name__)


NO_ADDRESS = "::"  # of a unix socket, say; NULL would be no part of what is unique


def client_address(request: HttpRequest) -> str:
    """`settings.AXES_CLIENT_IP_CALLABLE`: where a request comes from, as far as can be trusted.

    Addresses themselves are not kept here either. The keyed hash that comments have is 128 bits
    long, and is written as an IPv6 address, since the column takes nothing else.
    """
    address = address_of_request(request)
    return str(ipaddress.IPv6Address(int(address, 16))) if address else NO_ADDRESS


def nobody(*args: object) -> str:
    """`settings.AXES_CLIENT_STR_CALLABLE`: who it was, in lines of the log: nothing of it."""
    return "a client"


class Attempts(AxesDatabaseHandler):
    """One row for a name and an address, which counts a try before its password is looked at.

    Axes itself counts the wrong ones afterwards: a thousand that are sent in one moment would all
    be looked at. It also keeps what browser it was, and the form.
    """

    def is_locked(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        """Asked once for each try, which counts as a wrong one until it turns out right."""
        with transaction.atomic():
            attempt, is_first = AccessAttempt.objects.select_for_update().get_or_create(
                username=get_client_username(request, credentials),
                ip_address=request.axes_ip_address,
                user_agent="",
                defaults={"failures_since_start": 1, "path_info": request.axes_path_info},
            )
            if is_first:
                return False
            now = timezone.now()
            # Long ago; or ahead, from before the clock was set back.
            if abs(now - attempt.attempt_time) > settings.AXES_COOLOFF_TIME:
                attempt.failures_since_start = 0
            if attempt.failures_since_start >= settings.AXES_FAILURE_LIMIT:
                return True
            attempt.failures_since_start += 1
            attempt.attempt_time = now
            attempt.path_info = request.axes_path_info
            attempt.save()
        return False

    def user_login_failed(
        self, sender: object, credentials: dict[str, Any], request: Any = None, **kwargs: Any
    ) -> None:
        self.clean_expired_user_attempts(request, credentials)
        if not request.axes_locked_out:
            failures = self.get_failures(request, credentials)
            if failures < settings.AXES_FAILURE_LIMIT:
                return
            # For each lock one line, and none for the tries that it turns away.
            logger.warning("sign-in: a name is locked for an address, %d wrong passwords", failures)
            request.axes_locked_out = True
        request.axes_credentials = credentials  # AxesMiddleware then asks for the page


def locked(request: HttpRequest, *args: object) -> HttpResponse:
    """`settings.AXES_LOCKOUT_CALLABLE`: the page that says how long to wait (429)."""
    # Not from the arguments: axes 8.3 gives them in another order under ASGI.
    credentials = getattr(request, "axes_credentials", None) or {}
    seconds = seconds_left(credentials.get("username", ""), client_address(request))
    response = render(request, "registration/locked.html", {"wait": in_words(seconds)}, status=429)
    response["Retry-After"] = str(seconds)
    add_never_cache_headers(response)
    return response


def seconds_left(username: str, address: str) -> int:
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
