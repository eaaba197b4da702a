"""Statements that every post asks, written by hand: the ORM takes five to ten times as long to
write each of them as the database to answer. What is asked is still a matter of the models, whose
names of tables and columns stand in the statements; all values are passed beside them.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import connection


def fetch(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All rows that a statement answers. Raises the database's errors."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def places(values: Collection[Any]) -> str:
    """A place for each value, for `IN (…)`, which takes none but some."""
    return ", ".join(["%s"] * len(values))


def moment(value: datetime) -> Any:
    """A time as the database compares it."""
    return connection.ops.adapt_datetimefield_value(value)
