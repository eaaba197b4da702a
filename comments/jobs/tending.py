"""What a worker does beside its jobs: it shows that it lives, and takes care of lost ones."""

import logging
import threading

from django.db import close_old_connections

from comments.jobs import attempt, queue

logger = logging.getLogger(__name__)


class Tender(threading.Thread):
    """The worker's second thread, until it is stopped. A database that fails ends nothing."""

    def __init__(self) -> None:
        super().__init__(name="tender", daemon=True)
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(queue.BEAT_SECONDS):
            try:
                close_old_connections()
                attempt.beat()
                queue.reclaim()
            except Exception as error:
                logger.warning("jobs are not tended: %s: %s", type(error).__name__, error)
            finally:
                close_old_connections()

    def stop(self) -> None:
        self._ending.set()
        self.join(queue.BEAT_SECONDS)
