"""What the database says, and what is done to it behind the servers' backs (`site.call(…)`)."""

import time
from typing import Any

import psycopg
from django.contrib.auth.models import User
from django.db import connection, transaction

from comments.models import Comment, Stream, Viewer
from tests.test_commit_order import crowd


def waits_for_a_lock(url: str) -> bool:
    """Whether a session of this database (PostgreSQL) waits for what another one holds."""
    with psycopg.connect(url) as beside:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return beside.execute(query).fetchone() != (0,)


def head_of(slug: str) -> list[Any]:
    stream = Stream.objects.get(video__slug=slug)
    return [stream.epoch, stream.head]


def everything(slug: str) -> dict[str, Any]:
    """Epoch, head, and of every comment: number, change, key, text, whether it is removed."""
    epoch, head = head_of(slug)
    comments = Comment.objects.filter(stream__video__slug=slug).order_by("number")
    rows = [
        [number, change, str(key), body, state == Comment.State.REMOVED]
        for number, change, key, body, state in comments.values_list(
            "number", "change", "key", "body", "state"
        )
    ]
    return {"epoch": epoch, "head": head, "rows": rows}


def hold_the_write_lock(seconds: float) -> None:
    """Keep every other writer of an SQLite database out."""
    with transaction.atomic():
        Viewer.objects.create()
        time.sleep(seconds)


def restore_backup(slug: str, kept: int) -> list[Any]:
    """As a backup would leave it: only the first `kept` numbers ever were. Epoch and head."""
    comments = Comment.objects.filter(stream__video__slug=slug)
    comments.filter(number__gt=kept).delete()
    for comment in comments.filter(change__gt=kept):
        comment.change, comment.state = comment.number, Comment.State.VISIBLE
        comment.save(update_fields=["change", "state"])
    Stream.objects.filter(video__slug=slug).update(head=kept)
    return head_of(slug)


def drop_the_keys_constraint() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE comments_comment DROP CONSTRAINT comment_key")


def demote(slug: str, username: str) -> None:
    Stream.objects.get(video__slug=slug).moderators.remove(User.objects.get(username=username))


def promote(slug: str, username: str) -> None:
    Stream.objects.get(video__slug=slug).moderators.add(User.objects.get(username=username))


def set_password(username: str, password: str) -> None:
    user = User.objects.get(username=username)
    user.set_password(password)
    user.save(update_fields=["password"])


def interleavings(slug: str, rounds: int, posters: int, each: int) -> list[int]:
    """Commits, rollbacks and removals side by side with two polling readers.

    How many changes were made, how many rows a reader missed, how often one saw disorder.
    """
    changes = missed = disorder = 0
    for _ in range(rounds):
        before = head_of(slug)[1]
        found = crowd(slug, posters, each)
        truth = {tuple(row) for row in found["truth"]}
        changes += found["head"] - before
        for page in found["pages"]:
            missed += len(truth.symmetric_difference(tuple(row) for row in page))
        disorder += sum(not orderly for orderly in found["orderly"])
        Comment.objects.filter(stream__video__slug=slug).delete()
        Stream.objects.filter(video__slug=slug).update(head=0)
    return [changes, missed, disorder]
