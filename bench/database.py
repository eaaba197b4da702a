"""`python -m bench.database`: what the database is asked for, and how it holds as it grows.

Accepted comments a second against a bare ORM loop; then the same doors at 1,000,000 comments as at
1,000. Both on SQLite and on PostgreSQL.
"""

import json
import sys
from typing import Any

from bench import db_posting, db_size
from bench.db_site import BACKENDS, TITLES, say

ROUNDS, SECONDS = 7, 4.0
QUICK_ROUNDS, QUICK_SECONDS = 3, 2.0
TIMES, QUICK_TIMES = 300, 60


def run(quick: bool) -> dict[str, Any]:
    """The results for docs/performance.md."""
    rows: list[dict[str, Any]] = []
    note = (
        "Both durable: SQLite with synchronous=FULL, PostgreSQL with fsync and synchronous_commit"
        " on. The bare loop is one thread that create()s a row with the columns of a comment, in a"
        " table without other indexes, each committed by itself. The posters wait for each"
        f" acknowledgement; the flood limits are on at {db_posting.LIMITS['RATE_VIEWER']} per"
        " viewer and per address, which count each post and refuse none. All that was acknowledged"
        " is in the database at the end."
    )
    notes = [note]
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    for backend in BACKENDS:
        say(f"Comments a second on {TITLES[backend]}")
        rows.append(db_posting.row(backend, db_posting.measure(backend, rounds, seconds)))
    for backend in BACKENDS:
        say(f"{db_size.LARGE:,} comments on {TITLES[backend]}")
        found = db_size.measure(backend, QUICK_TIMES if quick else TIMES)
        rows += db_size.rows(backend, found)
        notes.append(db_size.notes(backend, found))
    return {"title": "Database", "rows": rows, "notes": notes}


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv), indent=2))
