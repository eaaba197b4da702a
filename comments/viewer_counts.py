"""How many watch, as the fan-out sees it every 2 s, gathered into one write per minute."""

import logging

from comments.services.viewer_counts import record
from comments.threads import WAITING, in_database

logger = logging.getLogger(__name__)

type Minute = tuple[int, dict[int, int]]  # which since 1970; stream -> the most viewers at once


class ViewerCounts:
    """What this process has seen in the present minute: of each video the most viewers at once,
    those of the other processes among them."""

    def __init__(self) -> None:
        self._minute = 0
        self._most: dict[int, int] = {}

    def see(self, stream_id: int, viewers: int) -> None:
        self._most[stream_id] = max(viewers, self._most.get(stream_id, 0))

    def turn(self, now: float) -> Minute | None:
        """Begin the minute that `now` (seconds since 1970) is in; what is to be written of the one
        before, once that is over. From then on `see` is about the new one."""
        minute = int(now // 60)
        if minute == self._minute:
            return None
        seen = self.take()
        self._minute = minute
        return seen

    def take(self) -> Minute | None:
        """What was seen so far in this minute, to be written now; None where nobody watched."""
        most, self._most = self._most, {}
        return (self._minute, most) if most else None


async def keep(seen: Minute) -> None:
    """Write a minute. Where the database fails it is lost, and nothing else is.

    It may wait for other processes that write the same minute, or for SQLite's one writer: neither
    what pages are sent nor what people do stands behind it.
    """
    minute, most = seen
    try:
        await in_database(record, WAITING, for_nobody=True)(minute, most)
    except Exception as error:
        logger.warning("viewers of %d videos not kept: %s", len(most), type(error).__name__)
