"""A video's comments as a file: CSV, JSON Lines, or WebVTT on the media's clock.

Rows are read in pieces and written as they come. What is posted after the export began is not in
it; what is removed or restored meanwhile is as it was when its piece was read.
"""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TextIO

from comments.jobs.attempt import Attempt
from comments.jobs.pieces import comments_of
from comments.models import Comment

CUE_SECONDS = 5  # that a comment stands in WebVTT, which knows no end of it
COLUMNS = (
    "number", "posted_at", "seconds", "author", "name", "badge", "state", "removed_by", "body",
)  # fmt: skip
# What a spreadsheet takes for a formula (OWASP, "CSV injection"), the full-width forms too.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")

type Row = dict[str, Any]


def rows(attempt: Attempt) -> Iterator[Row]:
    """All comments of the job's stream, in order. `seconds` is the time on the media's clock:
    None before the video's start, and where it has none."""
    started_at = attempt.job.stream.video.started_at
    read = comments_of(
        attempt,
        "posted_at",
        "author__handle",
        "author_name",
        "badge",
        "state",
        "removed_by",
        "body",
    )
    for number, posted_at, *words in read:
        values = number, posted_at.isoformat(), seconds(posted_at, started_at), *words
        yield dict(zip(COLUMNS, values, strict=True))


def seconds(posted_at: datetime, started_at: datetime | None) -> float | None:
    """Where a comment stands on the media's clock, to the millisecond."""
    if started_at is None or posted_at < started_at:
        return None
    return round((posted_at - started_at).total_seconds(), 3)


def csv_file(attempt: Attempt) -> tuple[None, str]:
    # With a byte order mark: without it Excel reads Bengali as Latin.
    def write(file: TextIO) -> None:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for row in rows(attempt):
            writer.writerow([defused(value) for value in row.values()])

    return _written(attempt, write, "csv", encoding="utf-8-sig")


def defused(value: object) -> object:
    """A cell that no spreadsheet runs: what begins like a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def json_lines(attempt: Attempt) -> tuple[None, str]:
    def write(file: TextIO) -> None:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(attempt))

    return _written(attempt, write, "jsonl")


def web_vtt(attempt: Attempt) -> tuple[None, str]:
    """What everybody could read at its moment: no removed comment, none from before the start.
    None begins before the one in front of it."""

    def write(file: TextIO) -> None:
        file.write("WEBVTT\n")
        last = 0.0
        for row in rows(attempt):
            if row["state"] == Comment.State.VISIBLE and row["seconds"] is not None:
                # Cues stand in the order of their begin. Comments have the clock of the process
                # that took them, which may be behind another's, or set back.
                last = max(last, row["seconds"])
                file.write(cue(row | {"seconds": last}))

    return _written(attempt, write, "vtt")


def cue(row: Row) -> str:
    begin = row["seconds"]
    # An empty line would end the cue, and `-->` begin another; ">" is escaped.
    text = re.sub(r"\n+", "\n", _escaped(row["body"]))
    name = _escaped(row["name"]).replace("\n", " ")
    return (
        f"\n{row['number']}\n{timestamp(begin)} --> {timestamp(begin + CUE_SECONDS)}\n"
        f"<v {name}>{text}\n"
    )


def timestamp(at: float) -> str:
    """Seconds as WebVTT writes them, `hh:mm:ss.mmm`."""
    whole = round(at * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds / 1000:06.3f}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _written(
    attempt: Attempt, write: Callable[[TextIO], None], extension: str, *, encoding: str = "utf-8"
) -> tuple[None, str]:
    with attempt.part.open("w", encoding=encoding, newline="") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())  # a link never leads to half of it
    return None, extension
