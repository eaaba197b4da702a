"""The second factor of admin: a code of an app (TOTP, RFC 6238), or one of ten backup codes.

ADMIN_SECOND_FACTOR says who needs it: nobody (`off`), who has set it up (`optional`), all staff
(`required`). It guards admin alone; to comment and to moderate in the page, a password does.
"""

import logging
import math
from base64 import b32encode
from datetime import timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

import django_otp
import qrcode
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from streamsite.signin import in_words

logger = logging.getLogger(__name__)

BACKUP_CODES = 10
PENDING_AT_MOST = timedelta(hours=1)  # that a key which was shown may wait for its first code


class Step(StrEnum):
    """What somebody still has to do before admin opens."""

    SET_UP = "set up"
    VERIFY = "verify"


class WrongCodeError(Exception):
    """The code does not count; the text is the sentence to show."""


def has_one(user: User) -> bool:
    return bool(TOTPDevice.objects.devices_for_user(user, confirmed=True).exists())


def next_step(user: Any) -> Step | None:
    """What a member of the staff (with OTPMiddleware's additions) has to do; None: nothing."""
    if settings.ADMIN_SECOND_FACTOR == "off" or user.is_verified():
        return None
    if has_one(user):
        return Step.VERIFY
    return Step.SET_UP if settings.ADMIN_SECOND_FACTOR == "required" else None


def verify(request: HttpRequest, user: User, code: str) -> None:
    """Take a code of the app, or a backup code, for the rest of the session.

    Raises WrongCodeError. A code counts once. Each wrong one doubles the wait for the next try of
    its kind: 1 s, 2 s, 4 s, ….
    """
    code = _plain(code)
    # The shape tells which is meant: a wrong code must count against one kind only.
    model = TOTPDevice if code.isdigit() and len(code) == 6 else StaticDevice
    device = model.objects.devices_for_user(user, confirmed=True).first()
    _require_right(device, code)
    django_otp.login(request, device)


def backup_codes_left(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def pending(user: User) -> TOTPDevice:
    """The key that is being set up; it counts for nothing until `confirm`."""
    waiting = TOTPDevice.objects.devices_for_user(user, confirmed=False)
    waiting.filter(created_at__lt=timezone.now() - PENDING_AT_MOST).delete()
    device = waiting.order_by("pk").first()
    return device or TOTPDevice.objects.create(user=user, name="app", confirmed=False)


def confirm(request: HttpRequest, user: User, code: str) -> list[str]:
    """The app shows a right code: its key replaces what there was. The new backup codes.

    Raises WrongCodeError. Sessions that were verified before have to be again, but this one.
    """
    device = pending(user)
    _require_right(device, _plain(code))
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
        StaticDevice.objects.filter(user=user).delete()
        TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
        backup = StaticDevice.objects.create(user=user, name="backup codes")
        codes = [StaticToken.random_token() for _number in range(BACKUP_CODES)]
        StaticToken.objects.bulk_create(StaticToken(device=backup, token=code) for code in codes)
    device.confirmed = True
    django_otp.login(request, device)
    logger.info("second factor: set up by account %d", user.pk)
    return codes


def remove(user: User) -> bool:
    """Forget the person's second factor, backup codes too; whether there was one.

    Their sessions are verified no more. For who has lost the phone and the codes.
    """
    with transaction.atomic():
        removed, _by_model = TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
    if removed:
        logger.info("second factor: removed of account %d", user.pk)
    return bool(removed)


def key_in_groups(device: TOTPDevice) -> str:
    """The key as people type it, where no camera is at hand."""
    key = b32encode(device.bin_key).decode()
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))


def qr_code(text: str) -> tuple[int, str]:
    """The side of the QR code, in modules with the margin of 4, and the path of the dark ones."""
    code = qrcode.QRCode(border=4)
    code.add_data(text)
    rows = code.get_matrix()
    path = []
    for y, row in enumerate(rows):
        x = 0
        for is_dark, run in groupby(row):
            width = len(list(run))
            if is_dark:
                path.append(f"M{x} {y}h{width}v1h-{width}z")
            x += width
    return len(rows), "".join(path)


def _plain(code: str) -> str:
    """As apps and people write it: in groups, in capitals."""
    return "".join(code.split()).replace("-", "").lower()


def _require_right(device: TOTPDevice | StaticDevice | None, code: str) -> None:
    wrong = WrongCodeError(_("This code is not right. Take the one that the app shows now."))
    if device is None:
        raise wrong
    with transaction.atomic():  # the device's row is locked: one try after the other
        locked = type(device).from_persistent_id(device.persistent_id, for_verify=True)
        if locked is None:
            raise wrong
        is_allowed, why = locked.verify_is_allowed()
        if not is_allowed:
            left = (why["locked_until"] - timezone.now()).total_seconds()
            wait = in_words(max(1, math.ceil(left)))
            raise WrongCodeError(
                _("There were wrong codes. You can try again in %(wait)s.") % {"wait": wait}
            )
        is_right = locked.verify_token(code)  # counts the wrong ones
    if not is_right:
        raise wrong
