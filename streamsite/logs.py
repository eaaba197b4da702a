"""Log lines that hostile input cannot forge, and that give nobody away.

Two forms, by LOG_FORMAT: for people, and JSON for programs. Each says what it is about (request,
video, viewer: streamsite/observe/context.py), and repeats neither what people wrote, nor a cookie,
nor a secret of the site. No code of ours logs an address of a viewer.
"""

import json
import logging
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from redis.exceptions import RedisError

from streamsite.observe.context import about, hidden

MESSAGE_AT_MOST = 4_000  # characters; a path alone may be 16,000
TRACEBACK_AT_MOST = 20_000
SECRET_AT_LEAST = 6  # characters; masking a shorter one would mask half of every line
MASK = "***"
_COOKIE = re.compile(r"((?:sessionid|csrftoken|csrfmiddlewaretoken)['\"]?\s*[=:]\s*)[^\s;,&]+")
# Line breaks, escape codes and the rest of what a terminal acts on, shown as \\x0a and the like;
# and what turns the direction of text around.
_ESCAPED = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)]}
_ESCAPED |= {
    code: f"\\u{code:04x}"
    for code in [*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
}
_ESCAPED |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}  # no UTF-8 holds these


class Safe(logging.Formatter):
    """What both forms share. `secrets` are the site's own, which no line shows."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        super().__init__()
        self.secrets = [secret for secret in secrets if secret and len(secret) >= SECRET_AT_LEAST]

    def masked(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        for words in hidden():
            # In a traceback it may stand as Python writes it.
            text = text.replace(words, MASK).replace(repr(words)[1:-1], MASK)
        return _COOKIE.sub(rf"\1{MASK}", text)

    def message(self, record: logging.LogRecord) -> str:
        text = self.masked(record.getMessage())
        return text if len(text) <= MESSAGE_AT_MOST else f"{text[:MESSAGE_AT_MOST]}…"

    def traceback(self, record: logging.LogRecord) -> str:
        """Empty without an error. Of a long one the end, which says what it was."""
        if not record.exc_info or not record.exc_info[1]:
            return ""
        return self.masked(self.formatException(record.exc_info))[-TRACEBACK_AT_MOST:]


class OneLineFormatter(Safe):
    """For people. Each record is one line, whatever a client put into a path or a header; the
    lines of a traceback are set in, so that none looks like a record."""

    def format(self, record: logging.LogRecord) -> str:
        known = " ".join(f"{name}={value}" for name, value in about().known.items())
        line = f"{self.formatTime(record)} {record.levelname} {record.name} "
        line += f"[{known}] " if known else ""
        lines = [line + self.message(record)]
        lines += [f"  | {of_error}" for of_error in self.traceback(record).split("\n") if of_error]
        return "\n".join(text.translate(_ESCAPED) for text in lines)


class JsonFormatter(Safe):
    """For programs: one JSON object a line, in ASCII, so that nothing in it can end it."""

    def format(self, record: logging.LogRecord) -> str:
        found = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message(record),
            "process": record.process,
            **about().known,
        }
        if traceback := self.traceback(record):
            assert record.exc_info, "there is a traceback"
            found["error"] = record.exc_info[0].__name__ if record.exc_info[0] else ""
            found["traceback"] = traceback
        return json.dumps(found)


class RedisInOneLine(logging.Filter):
    """channels-redis shows each failure to come back to Redis with a traceback of all tries; that
    Redis is away is no mistake of ours, and the last error's text says why.

    Who subscribes and who listens share a connection there. Where both connect it anew in the
    same moment, asyncio's streams refuse the second (RuntimeError), or one finds it cut again by
    the other (AttributeError): they try once more, as after an error of Redis.
    """

    EXPECTED = (RedisError, RuntimeError, AttributeError)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, self.EXPECTED):
            record.msg, record.args = "Redis is away: %s: %s", (type(error).__name__, error)
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = None
        return True


class TracesSeldom(logging.Filter):
    """OpenTelemetry tells of each try to reach its collector, and of each span without a place in
    its queue. A line a minute says as much, without a traceback: nothing of ours depends on it."""

    SAYS = "traces are not sent: %s"

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom(60.0)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == self.SAYS:
            return True  # Django was set up twice, as it is to serve, and added a second filter
        if not self._seldom.is_due():
            return False
        error = record.exc_info[1] if record.exc_info else None
        said = f"{record.getMessage()} {error or ''}".strip()
        record.msg, record.args = self.SAYS, (said,)
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
