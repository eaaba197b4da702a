from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from streamsite import together
from streamsite.env import check_bind


class Command(BaseCommand):
    help = (
        "Serve the site, and do its background work, in the foreground of a checkout. In "
        "production run `serve` and `db_worker` as services of their own."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind", metavar="HOST:PORT", help="where to listen (default: BIND, 127.0.0.1:8000)"
        )

    def handle(self, *args: Any, bind: str | None, **options: Any) -> None:
        raise SystemExit(together.run(check_bind("--bind", bind) if bind else settings.BIND))
