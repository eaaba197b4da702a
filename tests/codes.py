"""The app for codes on somebody's phone."""

import time
from base64 import b32decode

from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice


class App:
    """Set up with a key, as a page shows it. A code counts once, so each is a step later."""

    def __init__(self, key: str) -> None:
        self.totp = TOTP(b32decode(key.replace(" ", "")))
        self.began = time.time()
        self.steps = 0

    def code(self) -> str:
        self.totp.time = self.began + 30 * self.steps
        self.steps += 1
        return f"{self.totp.token():06}"


def fail_often() -> None:
    """As after many wrong codes: the next one has to wait for half a minute."""
    TOTPDevice.objects.update(
        throttling_failure_timestamp=timezone.now(), throttling_failure_count=6
    )


def forget_wrong_codes() -> None:
    """A wrong code costs a wait, which not every test is about."""
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
