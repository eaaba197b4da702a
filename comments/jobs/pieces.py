"""A stream's comments for a job: read in pieces by their number, so that memory is the same for a
hundred comments and a million, and no transaction stands open meanwhile."""

from collections.abc import Iterator
from typing import Any

from comments.jobs.attempt import Attempt
from comments.models import Comment

PIECE = 2000  # comments in one query


def comments_of(attempt: Attempt, *columns: str) -> Iterator[tuple[Any, ...]]:
    """The number and these columns of all comments of the job's stream up to its present end, in
    order. Tells how far the job is; raises what `Attempt.step` does when it is to stop."""
    stream = attempt.job.stream
    stream.refresh_from_db(fields=["head"])
    comments = Comment.objects.filter(stream=stream, number__lte=stream.head)
    total, done, last = comments.count(), 0, 0
    attempt.step(0, total)
    while True:
        beyond = comments.filter(number__gt=last).order_by("number")
        piece = list(beyond.values_list("number", *columns)[:PIECE])
        yield from piece
        if len(piece) < PIECE:
            break
        last = piece[-1][0]
        done += len(piece)
        attempt.step(done, total)
    attempt.job.total = total
