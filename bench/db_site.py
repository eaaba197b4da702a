"""A running site for the measurements of the database and of the browser, and where it runs.

The server has core 0 to itself; who loads it runs on core 1. PostgreSQL is where the kernel puts
it, and durable as it comes: fsync, full_page_writes and synchronous_commit are on.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.apps import apps

if not apps.ready:
    # For the models that the tests' helpers import; sites have settings of their own.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()

from bench.measure import SERVER_CORE
from tests.servers import Databases, Postgres, Site, environment, manage

BACKENDS = ("sqlite", "postgres")
TITLES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


class DurablePostgres(Postgres):
    """PostgreSQL as a site would run it: what it has committed survives a power cut."""

    SETTINGS = Postgres.SETTINGS | {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",
    }


class DurableDatabases(Databases):
    postgres_type = DurablePostgres


@contextmanager
def running(backend: str, **variables: str) -> Iterator[Site]:
    """Our product on a database of its own, with DEBUG off; its server pinned to SERVER_CORE."""
    folder = Path(tempfile.mkdtemp(prefix="streamsite-bench-"))
    databases = DurableDatabases(folder)
    given = {
        "DEBUG": "off",
        "HTTPS": "off",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "127.0.0.1",
        "SOCKETS_PER_ADDRESS": "off",
    }
    settings: dict[str, Any] = given | variables
    site = None
    try:
        done = manage(environment(folder, **given), "collectstatic", "--noinput")
        if done.returncode:
            raise RuntimeError(done.stdout)
        site = Site(databases, folder, backend=backend, **settings)
        pin(site.servers[0].process.pid, SERVER_CORE)
        yield site
        if site.tracebacks:
            raise RuntimeError(site.tracebacks)
    finally:
        if site:
            site.kill()
        databases.stop()
        shutil.rmtree(folder, ignore_errors=True)


def pin(pid: int, core: int) -> None:
    """Keep a process that runs already, with all its threads, on one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def say(line: str) -> None:
    """Progress, for who waits."""
    print(line, flush=True)
