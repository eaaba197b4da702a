"""The product's settings with what the fault tests need inside a server: DJANGO_SETTINGS_MODULE.

The channel layer rings badly when told to, and tests.faults.inside takes its place in the process.
"""

import os
from typing import Any

from streamsite.settings import *  # noqa: F403
from streamsite.settings import CHANNEL_LAYERS as _LAYERS
from streamsite.settings import INSTALLED_APPS as _APPS

_CONTROL = os.environ["FAULT_CONTROL"]  # a folder; see tests.faults.inside

INSTALLED_APPS = [*_APPS, "tests.faults.inside.InsideConfig"]
_inner: dict[str, Any] = _LAYERS["default"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.faults.doorbell.Doorbell",
        "CONFIG": {
            "backend": _inner["BACKEND"],
            "config": _inner.get("CONFIG", {}),
            "control": f"{_CONTROL}/doorbell.json",
        },
    }
}
