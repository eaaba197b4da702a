"""What happens when a process starts to serve and when it ends, whoever runs it."""

import fcntl
import resource
import sys
from pathlib import Path
from typing import Any, TextIO

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from streamsite import env, postgres, typed
from streamsite.database import connect_apart, require_answer
from streamsite.env import refuse
from streamsite.observe.sampling import sampler

STATEMENT_SECONDS = 30  # the longest that a serving process lets PostgreSQL work on one statement
# Any number that nobody else takes on this database.
ADVISORY_LOCK = 0x57_12_EA_35_17_E5
_lock: "TextIO | psycopg.Connection | None" = (
    None  # held open, and so locked, for as long as the process lives
)


class Lifespan:
    """The ASGI lifespan: refuse to start with a sentence. By its end there is no socket left to
    close: streamsite/peers.py has seen it coming."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await sync_to_async(require_ready)()
                except ImproperlyConfigured as error:
                    # As manage.py does. "lifespan.startup.failed" would have the sentence, too,
                    # but Hypercorn shows it below the traceback of an error of its own.
                    sys.exit(str(error))
                sampler.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                sampler.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def require_ready() -> None:
    """Raise ImproperlyConfigured, with a sentence, where this process could only serve badly."""
    _raise_open_files()
    _bound_statements()
    _require_database()
    _require_static_files()
    _require_company()


def _raise_open_files() -> None:
    """Each connection is an open file, and the limit that a shell gives is for programs of old."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (env.open_files(), hard))


def _bound_statements() -> None:
    """For a process that serves, before it connects; migrations and commands take their time."""
    if connection.vendor == "postgresql":
        options = connection.settings_dict["OPTIONS"]
        # What the URL says stands behind it, and counts.
        options["options"] = f"-c statement_timeout={STATEMENT_SECONDS}s {options['options']}"
        # Longer than that, so that PostgreSQL itself ends what it works on.
        postgres.Connection.seconds = STATEMENT_SECONDS + 2


def _require_database() -> None:
    try:
        require_answer()
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
    finally:
        connection.close()
    if behind:
        raise ImproperlyConfigured(
            "The database lacks this version's tables. Run, with the same settings: "
            + typed.manage("migrate")
        )


def _require_static_files() -> None:
    if not settings.DEBUG and not (settings.STATIC_ROOT / "staticfiles.json").exists():
        raise ImproperlyConfigured(
            "Static files are not gathered. Run, with the same settings: "
            + typed.manage("collectstatic --noinput")
        )


def _require_company() -> None:
    """Without Redis a second process would split the viewers: a lock refuses it.

    A process without Redis holds the lock alone; those with Redis share it.
    """
    global _lock
    if _lock is not None:
        return
    _lock = _lock_sqlite() if connection.vendor == "sqlite" else _lock_postgres()
    if _lock is not None:
        return
    instead = "REDIS_URL=redis://host:6379/0 for both, or end the other process"
    if settings.REDIS:
        refuse("REDIS_URL", "is set, but not for the process that serves already", instead)
    refuse(
        "REDIS_URL",
        "is not set, and another process serves this database already; without Redis the"
        " two would not see each other's viewers",
        instead,
    )


def _lock_sqlite() -> TextIO | None:
    """A lock on a file beside the database; None where another process has it."""
    path = Path(f"{Path(connection.settings_dict['NAME']).resolve()}.serving")
    lock = path.open("a")
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if settings.REDIS else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _lock_postgres() -> "psycopg.Connection | None":
    """An advisory lock of the database, on a connection of its own that lives as long as we do."""
    lock = connect_apart()
    kind = "_shared" if settings.REDIS else ""
    row = lock.execute(f"SELECT pg_try_advisory_lock{kind}(%s)", [ADVISORY_LOCK]).fetchone()
    if row != (True,):
        lock.close()
        return None
    return lock
