"""The first day's checklist: what `manage.py check --deploy` asks of a site of real people.

Each warning says in its hint what to write; docs/first-day.md has them all. Values that cannot
work at all are refused before, when the settings are loaded (streamsite/env.py).
"""

import os
import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError, connection

from streamsite import env, typed
from streamsite.env import MAKE_KEY, is_loopback

FROM_EXAMPLES = re.compile(r"(?i)change.?(me|this|it)|example|insecure|password|secret|replace")
OF_THIS_MACHINE = {"localhost", "127.0.0.1", "[::1]"}
DEMO_ACCOUNTS = ("admin", "moderator", "viewer")  # made by seed_demo
KNOWN_PASSWORDS = ("demo", "password")  # beside the account's name and DEMO_PASSWORD
AS_GOOD_AS_SAME = 0.85  # of two names' letters
# Each with a value that it can have, as docs/settings.md writes it.
LIMITS = {
    "LOGIN_ATTEMPTS": "5",
    "RATE_VIEWER": "5/10",
    "RATE_ADDRESS": "30/10",
    "SOCKETS_PER_SESSION": "20",
    "SOCKETS_PER_ADDRESS": "200",
    "SOCKETS_PER_PROCESS": "20000",
}

type Apps = Sequence[AppConfig] | None


def _warnings(fails: bool, id_: str, problem: str, hint: str) -> list[CheckMessage]:
    return [Warning(problem, hint=hint, id=f"streamsite.{id_}")] if fails else []


@register(Tags.security, deploy=True)
def debug_is_off(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    problem = "DEBUG is on: whoever meets an error sees the site's code and settings."
    return _warnings(settings.DEBUG, "W001", problem, "Write DEBUG=off.")


@register(Tags.security, deploy=True)
def key_is_secret(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Whoever has the key can sign in as anybody."""
    made = settings.DATA_DIR / "secret_key"
    if os.access(made, os.R_OK) and made.read_text().strip() == settings.SECRET_KEY:
        problem = f"SECRET_KEY is the one of development, which lies in {made}."
    elif FROM_EXAMPLES.search(settings.SECRET_KEY) or len(set(settings.SECRET_KEY)) < 16:
        problem = "SECRET_KEY looks like one out of an example, which others know."
    else:
        return []
    hint = f"Write SECRET_KEY= with what {MAKE_KEY} prints, once, into a file of the service."
    return _warnings(True, "W002", problem, hint)


@register(Tags.security, deploy=True)
def hosts_are_named(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    hosts = set(settings.ALLOWED_HOSTS)
    hint = "Write the site's own names, as in ALLOWED_HOSTS=video.example."
    if "*" in hosts:
        problem = "ALLOWED_HOSTS takes every name, so a stranger's page can pass for the site."
        return _warnings(True, "W003", problem, hint)
    problem = "ALLOWED_HOSTS names this machine only, so nobody else's browser is answered."
    return _warnings(hosts <= OF_THIS_MACHINE, "W003", problem, hint)


@register(Tags.security, deploy=True)
def proxies_are_counted(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    alone = settings.TLS or not is_loopback(settings.BIND)
    behind_one = not alone and not settings.TRUSTED_PROXIES
    return _warnings(
        behind_one,
        "W004",
        f"Only a proxy on this machine reaches {settings.BIND}, and TRUSTED_PROXIES is 0: limits"
        " take everybody for the proxy, and with HTTPS every page redirects to itself for ever.",
        "Write TRUSTED_PROXIES=1, or the number of proxies in a row.",
    )


@register(Tags.security, deploy=True)
def processes_hear_of_each_other(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    config = tomllib.loads((settings.BASE_DIR / "hypercorn.toml").read_text())
    processes = max(settings.PROCESSES, config.get("workers", 1))
    return _warnings(
        processes > 1 and not settings.REDIS,
        "W005",
        f"There are {processes} processes and no REDIS_URL: only one of them would start.",
        "Write REDIS_URL=redis://host:6379/0 for all of them, or PROCESSES=1.",
    )


@register(Tags.security, deploy=True)
def cookies_are_safe(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    flags = {
        "SESSION_COOKIE_SECURE": settings.SESSION_COOKIE_SECURE,
        "CSRF_COOKIE_SECURE": settings.CSRF_COOKIE_SECURE,
        "SESSION_COOKIE_HTTPONLY": settings.SESSION_COOKIE_HTTPONLY,
        "CSRF_COOKIE_HTTPONLY": settings.CSRF_COOKIE_HTTPONLY,
        "SESSION_COOKIE_SAMESITE": settings.SESSION_COOKIE_SAMESITE in ("Lax", "Strict"),
        "SESSION_COOKIE_NAME": settings.SESSION_COOKIE_NAME.startswith("__Host-"),
        "CSRF_COOKIE_NAME": settings.CSRF_COOKIE_NAME.startswith("__Host-"),
    }
    missing = ", ".join(name for name, is_set in flags.items() if not is_set)
    problem = f"Cookies can be read or set by others on the way ({missing})."
    return _warnings(bool(missing), "W006", problem, "Write HTTPS=on, and reach the site by https.")


@register(Tags.security, deploy=True)
def admin_is_not_where_everybody_looks(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    return _warnings(
        settings.ADMIN_PATH == "admin/",
        "W007",
        "Admin is at /admin/, where every machine that guesses passwords looks first.",
        "Write a path of your own, as in ADMIN_PATH=control-room/.",
    )


@register(Tags.security, deploy=True)
def no_demo_account_is_open(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """An account of the demo with a password that can be known. Each try takes a third of a second,
    so only few are made; without tables, nobody is there yet."""
    known = {*KNOWN_PASSWORDS, os.environ.get("DEMO_PASSWORD", "")} - {""}
    try:
        if User._meta.db_table not in connection.introspection.table_names():
            return []
        people = list(User.objects.filter(username__in=DEMO_ACCOUNTS, is_active=True))
        names = [
            person.username
            for person in people
            if any(person.check_password(guess) for guess in sorted({*known, person.username}))
        ]
    except DatabaseError as error:
        return _warnings(
            True,
            "W009",
            f"The database cannot be asked for accounts of the demo: {type(error).__name__}.",
            "Write DATABASE_URL=… as the processes that serve have it, and look that it answers.",
        )
    return _warnings(
        bool(names),
        "W008",
        f"Accounts of the demo can be entered with a known password: {', '.join(names)}.",
        f"Run {' and '.join(typed.manage(f'changepassword {name}') for name in names)},"
        " or delete them in admin.",
    )


@register(Tags.security, deploy=True)
def limits_are_on(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    off = [name for name in LIMITS if getattr(settings, name) is None]
    return _warnings(
        bool(off) and not settings.DEBUG,  # in which some are off by default
        "W010",
        f"Limits are off, as only a load test wants them: {', '.join(off)}.",
        f"Leave {', '.join(off)} out for the default, or write a limit, as in "
        f"{' '.join(f'{name}={LIMITS[name]}' for name in off)}.",
    )


@register(Tags.security, deploy=True)
def no_name_is_misspelt(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """A variable that nothing reads, and that is called almost as one of ours."""
    found = {
        name: alike[0]
        for name in sorted(os.environ.keys() - env.read)
        if (alike := get_close_matches(name, env.read, n=1, cutoff=AS_GOOD_AS_SAME))
    }
    return _warnings(
        bool(found),
        "W012",
        f"Nothing reads {', '.join(found)}: whatever it says, the default counts.",
        f"Write {', '.join(found.values())} if that is meant.",
    )


@register(Tags.security, deploy=True)
def second_factor_is_not_off(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    return _warnings(
        settings.ADMIN_SECOND_FACTOR == "off",
        "W011",
        "ADMIN_SECOND_FACTOR is off: a guessed or stolen password opens admin.",
        "Write ADMIN_SECOND_FACTOR=required, or optional.",
    )
