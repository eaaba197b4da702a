"""Mistakes of ours, sent to Sentry (or what speaks its protocol) where SENTRY_DSN is set.

Only what is logged as an error, and of that only what is listed here: no request, no variables of
the code, no breadcrumbs. The same is left out as in the log.
"""

from typing import TYPE_CHECKING, Any

from django.conf import settings

from streamsite.logs import MESSAGE_AT_MOST, Safe
from streamsite.observe.context import about

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

FLUSH_SECONDS = 1.0
KEPT = ("event_id", "timestamp", "platform", "level", "logger", "sdk", "environment", "release")
OF_FRAMES = ("filename", "function", "module", "lineno", "context_line", "in_app")


def start() -> None:
    """Send errors from here on. `streamsite.env` has seen that the package is there."""
    import sentry_sdk
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        # Nothing but what is logged: its other parts would look into requests.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None)],
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        send_client_reports=False,
        auto_session_tracking=False,
        before_send=scrubbed,
    )


def flush() -> None:
    """Send what waits, before the process ends; FLUSH_SECONDS at most."""
    if settings.SENTRY_DSN:
        import sentry_sdk

        sentry_sdk.flush(FLUSH_SECONDS)


def scrubbed(event: "Event", hint: "Hint") -> "Event":
    """The event with what is listed above, and the people's own words masked."""
    safe = Safe(settings.LOG_SECRETS)

    def masked(text: object) -> str:
        return safe.masked(str(text))[:MESSAGE_AT_MOST]

    whole: dict[str, Any] = dict(event)
    found: dict[str, Any] = {name: whole[name] for name in KEPT if name in whole}
    record = hint.get("log_record")
    if record is not None:
        found["logentry"] = {"message": masked(record.getMessage())}
    found["tags"] = dict(about().known)
    found["exception"] = {
        "values": [
            {
                "type": error.get("type"),
                "value": masked(error.get("value")),
                "stacktrace": {
                    "frames": [
                        {name: frame[name] for name in OF_FRAMES if name in frame}
                        for frame in (error.get("stacktrace") or {}).get("frames", [])
                    ]
                },
            }
            for error in whole.get("exception", {}).get("values", [])
        ]
    }
    return found  # type: ignore[return-value]
