from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from streamsite.env import check_bind, is_loopback, refuse
from streamsite.serving import CannotStartError, run


class Command(BaseCommand):
    help = (
        "Serve the site with Hypercorn on uvloop, as hypercorn.toml says, in this one process. "
        "For more processes start this command several times, with REDIS_URL set."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind", metavar="HOST:PORT", help="where to listen (default: BIND, 127.0.0.1:8000)"
        )
        parser.add_argument(
            "--demo",
            action="store_true",
            help="first what migrate and seed_demo do, for a checkout (DEBUG)",
        )

    def handle(self, *args: Any, bind: str | None, demo: bool, **options: Any) -> None:
        where = check_bind("--bind", bind) if bind else settings.BIND
        for address in filter(None, (where, settings.HTTP_BIND)):
            if settings.DEBUG and not is_loopback(address):
                refuse(
                    "DEBUG",
                    f"is on, and shows its error pages to whoever reaches {address}",
                    "DEBUG=off (and SECRET_KEY), or an address of this machine alone",
                )
        if demo:
            self._make_demo()
            scheme = "https" if settings.TLS else "http"
            self.stdout.write(f"Open {scheme}://{where}/ (Ctrl+C ends it)")
        try:
            run(where)
        except CannotStartError as error:
            raise CommandError(str(error)) from None

    def _make_demo(self) -> None:
        """In this process, since starting Django twice more costs longer than all that it does."""
        if not settings.DEBUG:
            refuse("DEBUG", "is off, and --demo is for trying the site alone", "DEBUG=on")
        call_command("migrate", verbosity=0, stdout=self.stdout)
        call_command("seed_demo", stdout=self.stdout)
        # Serving sets how it is connected before it connects (streamsite/lifespan.py).
        connection.close()
        if connection.vendor == "postgresql":
            connection.close_pool()  # type: ignore[attr-defined]
