from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

from streamsite import together
from streamsite.env import check_bind, refuse
from streamsite.serving import keep_debug_here


class Command(BaseCommand):
    help = (
        "Serve the site, and do its background work, in the foreground of a checkout. In "
        "production run `serve` and `db_worker` as services of their own."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind", metavar="HOST:PORT", help="where to listen (default: BIND, 127.0.0.1:8000)"
        )
        parser.add_argument(
            "--demo", action="store_true", help="first what migrate and seed_demo do (DEBUG)"
        )

    def handle(self, *args: Any, bind: str | None, demo: bool, **options: Any) -> None:
        where = check_bind("--bind", bind) if bind else settings.BIND
        if demo:
            keep_debug_here(where)  # `serve` would say it below the demo's words
            self._make_demo()
            scheme = "https" if settings.TLS else "http"
            self.stdout.write(f"In a moment at {scheme}://{where}/ (Ctrl+C ends it)")
            self.stdout.flush()
        raise SystemExit(together.run(where))

    def _make_demo(self) -> None:
        """In this process, since starting Django twice more costs longer than all that it does."""
        if not settings.DEBUG:
            refuse("DEBUG", "is off, and --demo is for trying the site alone", "DEBUG=on")
        call_command("migrate", verbosity=0, stdout=self.stdout)
        call_command("seed_demo", stdout=self.stdout)
        # Server and worker have connections of their own.
        connection.close()
        if connection.vendor == "postgresql":
            connection.close_pool()  # type: ignore[attr-defined]
