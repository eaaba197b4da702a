"""What a worker does beside its jobs: it shows that it lives, and takes care of lost ones."""

import itertools
import logging
import threading
from collections.abc import Callable

from django.db import close_old_connections

from comments.jobs import attempt, posters, queue

logger = logging.getLogger(__name__)


BEATS_TO_POSTERS = 15  # half a minute between two looks for posters that nobody asked for


class Tender(threading.Thread):
    """The worker's second thread, until it is stopped. A database that fails ends nothing."""

    def __init__(self) -> None:
        super().__init__(name="tender", daemon=True)
        self._ending = threading.Event()

    def run(self) -> None:
        for beat in itertools.count():
            if self._ending.is_set():
                return
            self._tend(attempt.beat, queue.reclaim)
            if beat % BEATS_TO_POSTERS == 0:
                self._tend(posters.request_missing)
            self._ending.wait(queue.BEAT_SECONDS)

    def _tend(self, *cares: Callable[[], object]) -> None:
        for care in cares:
            try:
                close_old_connections()
                care()
            except Exception as error:
                logger.warning("%s: %s: %s", care.__name__, type(error).__name__, error)
            finally:
                close_old_connections()

    def stop(self) -> None:
        self._ending.set()
        self.join(queue.BEAT_SECONDS)
