"""Reading the environment: every value is checked here, once, when the settings are loaded.

A value that cannot work raises `ImproperlyConfigured` with one sentence that says what to write
instead. Values that may hold a secret (keys, URLs with passwords) are never repeated in it.
"""

import ipaddress
import os
import re
import resource
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.exceptions import RedisError

from streamsite import postgres

_HOST = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
# When a machine counts as gone from which no packet comes (libpq): 5 s to connect, 8 s until sent
# data is acknowledged, 5 s and three probes of 2 s while nothing is sent.
POSTGRES_IS_GONE = {
    "connect_timeout": 5,
    "tcp_user_timeout": 8000,  # ms
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
FILES_AT_MOST = 1_048_576  # the most that Linux gives one process by default (fs.nr_open)
MAKE_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(60))'"  # wherever Python is
NEW_KEY = f"at least 50 random characters, kept secret, as made by {MAKE_KEY}"
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def refuse(name: str, problem: str, instead: str) -> NoReturn:
    """Raise the one kind of sentence that a bad setting is answered with."""
    raise ImproperlyConfigured(f"{name} {problem}. Write {instead}.")


read = {"DEMO_PASSWORD"}  # the names of all variables that are asked for


def _read(name: str) -> str | None:
    """The variable's value without surrounding space; an empty one counts as not set."""
    read.add(name)
    value = os.environ.get(name, "").strip()
    return value or None


@dataclass(frozen=True)
class Rate:
    """At most `count` comments in any `seconds` seconds."""

    count: int
    seconds: int


def flag(name: str, *, default: bool) -> bool:
    value = _read(name)
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    refuse(name, f"is {value!r}, neither on nor off", f"{name}=on or {name}=off")


def number(name: str, *, default: int, least: int, most: int, example: int) -> int:
    value = _read(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,12}", value) or not least <= int(value) <= most:
        refuse(
            name, f"is {value!r}", f"a whole number from {least} to {most}, as in {name}={example}"
        )
    return int(value)


def limit(name: str, *, default: int | None) -> int | None:
    """A count of at least 1, or None where the variable says `off`."""
    value = _read(name)
    if value is None:
        return default
    if value.lower() in _FALSE - {"0"}:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < 1:
        refuse(name, f"is {value!r}", f"a whole number from 1, as in {name}=100, or {name}=off")
    return int(value)


def open_files() -> int:
    """How many files and sockets this process may have open, once it has asked for it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_AT_MOST if hard == resource.RLIM_INFINITY else min(hard, FILES_AT_MOST)


def most_connections() -> int:
    """How many of them connections from outside may be: database, Redis and files are others."""
    return open_files() - max(64, min(128, open_files() // 8))


def sockets(name: str, *, default: int) -> int | None:
    """As `limit`; each socket needs an open file, and some are left for pages. Without a value as
    many as `default`, or as this process may have."""
    most = max(1, most_connections() - min(512, open_files() // 8))
    found = limit(name, default=min(default, most))
    if found is not None and found > most:
        refuse(
            name,
            f"is {found}, more than the open files of this process allow",
            f"a number up to {most}, or raise the limit (LimitNOFILE=, ulimit -Hn)",
        )
    return found


def rate(name: str, *, default: Rate | None, example: str) -> Rate | None:
    """`5/10` means 5 comments per 10 seconds; `off` means no limit (None)."""
    value = _read(name)
    if value is None:
        return default
    if value.lower() in _FALSE - {"0"}:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,5})", value)
    if not match or int(match[1]) < 1 or not 1 <= int(match[2]) <= 3600:
        refuse(
            name,
            f"is {value!r}",
            f"comments/seconds with 1 to 3600 seconds, as in {name}={example}, or {name}=off",
        )
    return Rate(int(match[1]), int(match[2]))


def choice(name: str, *, default: str, allowed: tuple[str, ...]) -> str:
    value = _read(name)
    if value is None:
        return default
    if value not in allowed:
        refuse(name, f"is {value!r}", " or ".join(f"{name}={word}" for word in allowed))
    return value


def url_path(name: str, *, default: str, taken: tuple[str, ...]) -> str:
    """Where a part of the site is: `control-room/`, without slash in front and with one behind.

    `taken` are the first parts of paths that the site has for something else.
    """
    path = (_read(name) or default).strip("/")
    if not re.fullmatch(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*", path):
        refuse(name, f"is {path!r}", f"letters, digits, - and _, as in {name}=control-room/")
    if path.partition("/")[0].lower() in taken:
        refuse(name, f"is {path!r}, where the site has other pages", f"{name}=control-room/")
    return f"{path}/"


def program(name: str, *, default: str) -> str | None:
    """The path of a program; None where the variable says `off`, or the default is not there."""
    value = _read(name)
    if value is not None and value.lower() in _FALSE:
        return None
    found = shutil.which(value or default)
    if value is not None and found is None:
        refuse(name, f"is {value!r}, which cannot be run", f"the path of {default}, or {name}=off")
    return found


def folder(name: str, *, default: Path) -> Path:
    """A folder this process can write to; made when it does not exist."""
    path = Path(_read(name) or default)
    instead = "a folder that can be made and written to"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(name, f"names {path}, which cannot be made ({error.strerror})", instead)
    if not os.access(path, os.W_OK):
        refuse(name, f"names {path}, which cannot be written to", instead)
    return path.resolve()


def hosts(name: str, *, default: list[str]) -> list[str]:
    """Host names as Django's ALLOWED_HOSTS takes them, separated by commas."""
    value = _read(name)
    if value is None:
        return default
    names = [part.strip() for part in value.split(",") if part.strip()]
    for host in names or [value]:
        if not re.fullmatch(r"\*|\.?[\w-]+(\.[\w-]+)*\.?|\[[0-9A-Fa-f:.]+\]", host):
            refuse(
                name,
                f"holds {host!r}",
                "host names without scheme and port, as in video.example, or .video.example for"
                " its subdomains too",
            )
    return names


def origins(name: str) -> list[str]:
    """Exact origins (`https://video.example`, with a port where it has one), comma-separated."""
    found = []
    for part in (_read(name) or "").split(","):
        origin = part.strip()
        if not origin:
            continue
        if not re.fullmatch(rf"https?://(?:{_HOST})(?::{_PORT})?", origin):
            refuse(name, f"holds {origin!r}", "exact origins, as in https://video.example")
        found.append(origin)
    return found


def bind(name: str, *, default: str) -> str:
    return check_bind(name, _read(name) or default)


def optional_bind(name: str) -> str | None:
    """As `bind`; None where it is not set."""
    value = _read(name)
    return check_bind(name, value) if value else None


def text(name: str) -> str | None:
    """A value that is checked elsewhere; None where it is not set."""
    return _read(name)


def check_bind(name: str, value: str) -> str:
    """Check HOST:PORT (or `unix:PATH`, `fd://N`), as Hypercorn takes them, and return it."""
    if not re.fullmatch(rf"unix:/.+|fd://[0-9]+|(?:{_HOST}):(?:{_PORT}|0)", value):
        refuse(name, f"is {value!r}", f"HOST:PORT, as in {name}=127.0.0.1:8000")
    return value


def is_loopback(bind: str) -> bool:
    """Whether what `bind` names can only be reached from this machine."""
    if bind.startswith(("unix:/", "fd://")):
        return True
    host = bind.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secret_key(name: str, *, debug: bool, kept_in: Path) -> str:
    """The signing key. In DEBUG one is made and kept in a file of the data folder (mode 0600)."""
    value = _read(name)
    if value is None:
        if not debug:
            refuse(name, "is not set while DEBUG is off", NEW_KEY)
        return _kept_secret(kept_in)
    if not debug and (len(value) < 50 or len(set(value)) < 5):
        refuse(name, "is too short or too regular", NEW_KEY)
    return value


def token(name: str) -> str:
    """A password for programs, of at least 24 characters without space; empty without any."""
    value = _read(name)
    if value is None:
        return ""
    if not re.fullmatch(r"[!-~]{24,200}", value) or len(set(value)) < 5:
        refuse(name, "is too short or too regular", "at least 24 random letters and digits")
    return value


def sentry(name: str) -> str:
    """Where mistakes are reported (Sentry's DSN); empty for nowhere."""
    value = _read(name)
    if value is None:
        return ""
    if not re.fullmatch(
        rf"https?://[0-9A-Za-z]+@(?:{_HOST})(?::{_PORT})?(?:/[\w-]+)*/[0-9]+", value
    ):
        refuse(name, "is no DSN of Sentry", "it as Sentry shows it, https://key@host/number")
    if find_spec("sentry_sdk") is None:
        raise ImproperlyConfigured(
            f"{name} is set, but the package sentry-sdk is not installed. Install it beside the"
            " others (uv pip install --python .venv/bin/python 'sentry-sdk>=2.40,<3'), or leave"
            f" {name} out."
        )
    return value


def _kept_secret(path: Path) -> str:
    from django.core.management.utils import get_random_secret_key

    # Written whole under another name, then linked: two processes that start at once agree.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(get_random_secret_key())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text()


def database(name: str, *, default: str) -> dict[str, Any]:
    """`DATABASES["default"]` from a URL: `sqlite:///PATH` or `postgres://USER:PASSWORD@HOST/NAME`."""
    url = _read(name) or default
    instead = "sqlite:////folder/db.sqlite3 or postgres://user:password@host:5432/name"
    # First of all: of what it does not know, environ warns with all its parts, the password too.
    match = re.fullmatch(r"(sqlite|postgres(?:ql)?)://([^/?#]*)(.*)", url, re.IGNORECASE)
    if not match:
        refuse(name, "begins neither with sqlite:// nor with postgres://", instead)
    scheme, machine, rest = match[1].lower(), match[2], match[3]
    if scheme == "sqlite" and machine not in ("", ":memory:"):
        refuse(name, "has no third slash before the path", instead)
    if scheme != "sqlite" and "@" in rest:
        # Else a part of the password is taken for the name of the database, and shown as that.
        refuse(
            name,
            "has one of / ? # in its user or password, or an @ in its name",
            f"{instead}, with %2F for /, %3F for ?, %23 for # and %40 for @",
        )
    try:
        urlsplit(url)  # environ would take brackets that make no sense for a part of the path
        config: dict[str, Any] = environ.Env.db_url_config(url)
    except (ValueError, ImproperlyConfigured):
        refuse(name, "cannot be read as a database URL", instead)
    if scheme == "sqlite":
        if config["NAME"] == ":memory:":
            refuse(name, "names a database in memory, which no two threads share", instead)
        return config | {
            # Writers queue at BEGIN instead of failing at their first write (IMMEDIATE);
            # WAL lets readers go on meanwhile; waits are bounded at 5 s. FULL: what is acknowledged
            # is on the disk; the posts of one moment share the wait for it.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 5,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                " PRAGMA busy_timeout=5000;",
            },
        }
    if not config["NAME"]:
        refuse(name, "names no database", instead)
    # A frozen writer holds its video's row at most this long (docs/decisions.md).
    # Options of the URL come behind it, and count.
    waits = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=10s"
    options = config.get("OPTIONS", {})
    return config | {
        "CONN_MAX_AGE": 0,  # the pool keeps connections; Django must not as well
        "OPTIONS": POSTGRES_IS_GONE
        | options
        | {
            "pool": {
                "min_size": 1,
                # The stream's eleven threads, the pages' eight places, and /readyz: nobody waits
                # for another kind (streamsite/pages.py).
                "max_size": 20,
                "timeout": 5,
                "connection_class": postgres.Connection,
                "check": postgres.check,  # after a restart of PostgreSQL: starts afresh
            },
            "options": f"{waits} {options.get('options', '')}".strip(),
        },
    }


@dataclass(frozen=True)
class Redis:
    """Where the channel layer is: `hosts` as channels-redis takes them; and the cache: the first
    URL, or under Sentinel the one host."""

    hosts: list[dict[str, Any]]
    url: str
    has_sentinels: bool = False


def redis(name: str) -> Redis | None:
    """The Redis (or Valkey) servers that several processes share; None without any.

    `redis://…` or `rediss://…` (TLS); several of them, by commas, share the videos between them;
    their queries hold redis-py's own options, as in `?ssl_ca_certs=/folder/ca.pem`.
    `sentinel://[:password@]host:26379,host:26379/master[/0]` asks sentinels for the master.
    """
    value = _read(name)
    if value is None:
        return None
    instead = (
        "redis://host:6379/0, rediss:// for TLS, several by commas, or"
        " sentinel://host:26379,host:26379/master"
    )
    try:
        if value.startswith("sentinel://"):
            return Redis([_sentinels(value)], "sentinel://", has_sentinels=True)
        urls = [url.strip() for url in re.split(r",(?=\s*rediss?://)", value)]
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.port == 0:
                raise ValueError
            if not re.fullmatch(r"(/[0-9]{0,4})?", parts.path):
                raise ValueError
        hosts: list[dict[str, Any]] = [{**parse_url(url)} for url in urls]
        pools = [ConnectionPool(**host) for host in hosts]
        connections = [pool.make_connection() for pool in pools]  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):  # TypeError: an option that there is not
        refuse(name, "cannot be read as the URL of Redis", instead)
    try:
        for connection in connections:
            if isinstance(connection, SSLConnection):
                connection.ssl_context.get()
    except OSError as error:
        refuse(
            name,
            f"names certificates that cannot be used ({error.strerror})",
            "paths of PEM files, as in rediss://host:6379/0?ssl_ca_certs=/folder/ca.pem",
        )
    return Redis(hosts, urls[0])


def _sentinels(value: str) -> dict[str, Any]:
    """A host of channels-redis from `sentinel://[:password@]host:port,…/master[/db]`."""
    match = re.fullmatch(r"sentinel://(?::([^@/]*)@)?([^@/]+)/([^/]+)(?:/([0-9]{1,4}))?", value)
    if not match:
        raise ValueError
    password, hosts, master, db = match.groups()
    sentinels = []
    for part in hosts.split(","):
        host, _, port = part.strip().rpartition(":")
        sentinels.append((host.strip("[]") or part, int(port) if host else 26379))
    found: dict[str, Any] = {"sentinels": sentinels, "master_name": master, "db": int(db or 0)}
    return found | ({"password": unquote(password)} if password else {})
