"""`manage.py db_worker` of django-tasks-db, with a worker that takes care of our jobs."""

import logging
import time
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import connection
from django_tasks_db.management.commands import db_worker

from comments.jobs import attempt
from comments.jobs.tending import Tender
from comments.services.common import DATABASE_FAILED

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0  # before a database that failed is asked again


class Worker(db_worker.Worker):
    """The library's worker. Asked to end, it gives the job at hand back to the queue; a database
    that is locked or away does not end it, as it would the library's own."""

    is_asked = False  # to end

    def run(self) -> None:
        tender = Tender()
        tender.start()
        try:
            while self._goes_on():
                try:
                    super().run()
                    return
                except DATABASE_FAILED as error:
                    logger.warning("the worker's database failed: %s", type(error).__name__)
                    connection.close()
                    time.sleep(PAUSE_SECONDS)
        finally:
            tender.stop()

    def _goes_on(self) -> bool:
        return self.running

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        # A second signal may come in the midst of this, and an Event that is being set has a lock
        # that its own thread would then wait for, for ever.
        if not self.is_asked:
            self.is_asked = True
            attempt.stopping.set()
        super().shutdown(signum, frame)


class Command(db_worker.Command):
    help = "Do background work: exports, reports, posters. For more at once start several."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        # The library's reloader starts a process that outlives this one when it is killed.
        parser.set_defaults(reload=False)

    def handle(self, *args: Any, **options: Any) -> None:
        settings.EXPORT_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The library's command makes its worker by this name.
        db_worker.Worker = Worker  # type: ignore[misc]
        super().handle(*args, **options)
