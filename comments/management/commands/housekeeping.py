import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from comments.jobs.upkeep import Part, parts

TELL_SECONDS = 2.0  # between two lines about a part that takes long


class Command(BaseCommand):
    help = (
        "Clear away what is old: sessions that have ended, viewers who never wrote, comments and "
        "counts of viewers past their video's retention, files of exports that have expired, jobs "
        "and tasks that ended long ago, uploads that no video names. Run it once a day; it can "
        "be ended at any moment, and goes on the next time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="only say what there is; delete nothing"
        )

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        for part in parts():
            if dry_run:
                self.stdout.write(f"{part.count} {part.name}: would be deleted")
            else:
                self._clear(part)

    def _clear(self, part: Part) -> None:
        gone, told = 0, time.monotonic()
        for piece in part.clear():
            gone += piece
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                self.stdout.write(f"{gone} of {part.count} {part.name} …")
                self.stdout.flush()
        self.stdout.write(f"{gone} {part.name}: deleted")
