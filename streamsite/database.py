"""Whether the database of DATABASE_URL answers, and where it does not, why not in a sentence."""

from pathlib import Path
from typing import Any

import psycopg
from django.db import DatabaseError, connection

from streamsite.env import refuse

LONGEST_REASON = 300  # characters


def require_answer() -> None:
    """Raise ImproperlyConfigured, with the driver's own reason, where the database fails."""
    try:
        if connection.vendor == "postgresql":
            # Past the pool, which would try for 5 s, and then not say why it had no success.
            connect_apart().close()
        connection.ensure_connection()
    except (DatabaseError, psycopg.Error) as error:
        refuse(
            "DATABASE_URL",
            f"names a database that fails: {_reason(error)}",
            "the URL of a database that answers",
        )


def connect_apart() -> "psycopg.Connection[Any]":
    """A connection to PostgreSQL outside of Django and of the pool. Raises psycopg.Error."""
    parameters = dict(connection.get_connection_params())
    for key in ("pool", "context", "cursor_factory"):  # Django's, for its own connections
        parameters.pop(key, None)
    return psycopg.connect(**parameters, autocommit=True)


def _reason(error: Exception) -> str:
    """What the driver says, in one line and without the passwords of the URL."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite" and not Path(settings["NAME"]).parent.is_dir():
        return "its folder does not exist, make it first"
    # libpq's hints are indented, and questions.
    lines = [line for line in str(error).splitlines() if not line.startswith("\t")]
    reason = " ".join(" ".join(lines).split()).rstrip(".") or type(error).__name__
    for secret in (
        settings["PASSWORD"],
        *map(settings["OPTIONS"].get, ("password", "sslpassword")),
    ):
        if secret:
            reason = reason.replace(secret, "…")
    return reason[:LONGEST_REASON]
