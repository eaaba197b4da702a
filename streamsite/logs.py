"""Log lines that hostile input cannot forge."""

import logging
import time

from redis.exceptions import RedisError

# Line breaks, escape codes and the rest of what a terminal acts on, shown as \\x0a and the like.
_ESCAPED = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)]}
_ESCAPED |= {0x2028: "\\u2028", 0x2029: "\\u2029"}


class OneLineFormatter(logging.Formatter):
    """Each record's message is one line, whatever a client put into a path or a header. Tracebacks
    of our own keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        return super().formatMessage(record).translate(_ESCAPED)


class RedisInOneLine(logging.Filter):
    """channels-redis shows each failure to come back to Redis with a traceback of all tries; that
    Redis is away is no mistake of ours, and the last error's text says why."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RedisError):
            record.msg, record.args = "Redis is away: %s", (error,)
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = None
        return True


class Seldom:
    """For a line about what meets many in the same moment: due once in `seconds`."""

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._quiet_until = 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + self._seconds
        return True
