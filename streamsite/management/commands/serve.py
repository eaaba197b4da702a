from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from streamsite.env import check_bind
from streamsite.serving import CannotStartError, keep_debug_here, run


class Command(BaseCommand):
    help = (
        "Serve the site with Hypercorn on uvloop, as hypercorn.toml says, in this one process. "
        "For more processes start this command several times, with REDIS_URL set."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind", metavar="HOST:PORT", help="where to listen (default: BIND, 127.0.0.1:8000)"
        )

    def handle(self, *args: Any, bind: str | None, **options: Any) -> None:
        where = check_bind("--bind", bind) if bind else settings.BIND
        keep_debug_here(where)
        try:
            run(where)
        except CannotStartError as error:
            raise CommandError(str(error)) from None
