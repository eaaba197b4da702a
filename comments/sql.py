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


def asked(rows: Sequence[Sequence[Any]]) -> str:
    """Rows to look something up for, one by one: their values are `column1`, `column2`.

    Each is then a look at an index of its own, whatever the database's statistics say. For lists of
    values PostgreSQL read all comments of a video that it took for a small one.
    """
    return f"(VALUES {', '.join([f'({places(row)})' for row in rows])}) AS asked"


def moment(value: datetime) -> Any:
    """A time as the database compares it."""
    return connection.ops.adapt_datetimefield_value(value)
