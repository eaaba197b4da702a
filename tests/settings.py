"""The settings of tests that run in their own process: the product's, with data in a new folder.

pytest-django loads the settings before any conftest, so what the environment must say is said
here. Servers that tests start use `streamsite.settings` as everybody does.
"""

import atexit
import os
import shutil
import tempfile

_folder = tempfile.mkdtemp(prefix="streamsite-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_ours = {
    *("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "BIND", "HTTP_BIND", "HTTPS", "ORIGINS"),
    *("PROCESSES", "METRICS_TOKEN", "SENTRY_DSN", "LOG_FORMAT", "EXPORT_HOURS", "FFMPEG"),
}
_ours_begin = (
    *("RATE_", "SOCKETS_PER_", "TLS_", "TRUSTED_", "ALLOWED_", "LOGIN_", "ADMIN_", "DEMO_"),
    "OTEL_",
)
for _name in list(os.environ):
    # Nothing of the developer's own environment decides how a test ends.
    if _name in _ours or _name.startswith(_ours_begin):
        del os.environ[_name]
os.environ["DATA_DIR"] = _folder
os.environ["DEBUG"] = "on"

from streamsite.settings import *  # noqa: E402, F403
from streamsite.settings import DATABASES  # noqa: E402

DATABASES["default"]["TEST"] = {"NAME": f"{_folder}/test.sqlite3"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
