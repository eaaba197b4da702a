"""A comment's fragment, its publication, and what a page has missed.

The database is the stream; the channel layer is only the doorbell. `publish` may be lost, doubled
or reordered on its way: `catch_up` reads the same states from the database.
"""

import asyncio
import logging
import re
import time
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import connection, transaction
from django.template.loader import get_template
from django.utils.safestring import SafeString

from comments.layer import bounded
from comments.models import Comment, Stream
from comments.text import parts
from streamsite.observe.counts import counts

WINDOW_TRIES = 4  # to read the window between two changes; then it is locked, or a snapshot
WINDOW = 50  # comments that a page starts with, and that each older page adds
RESUME_AT_MOST = 400  # changes behind which a page is sent what it missed; further off, the window

# What the fragment's template shows of a comment, each a plain text.
WORDS = "number change handle colour name badge removed_by body posted_at clock".split()

publish_errors = 0  # publications that failed or timed out; the safety poll delivered instead


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page stands: all comments with change <= `change` of the history `epoch`."""

    epoch: str
    change: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.change}"

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """None for what is not a cursor; its page is then sent the window anew."""
        epoch, _, change = text.partition("-")
        if len(epoch) == 8 and change.isascii() and change.isdigit() and len(change) <= 18:
            return cls(epoch, int(change))
        return None


@dataclass(frozen=True, slots=True)
class Change:
    """One numbered state of one comment, rendered once for each audience.

    `given_at`: about when it got its number (seconds since 1970), 0 where that is not known.
    """

    change: int
    number: int
    public: str
    staff: str
    given_at: float = 0.0

    def message(self) -> list[int | str | None]:
        """As it is sent through the channel layer; a staff's rendering only where it differs."""
        staff = None if self.staff is self.public else self.staff
        return [self.change, self.number, self.public, staff]

    @classmethod
    def of_message(cls, message: list[Any]) -> "Change":
        """Raises ValueError or TypeError for what is none."""
        change, number, public, staff = message
        staff = public if staff is None else staff
        return cls(int(change), int(number), "" + public, "" + staff)


@dataclass(frozen=True, slots=True)
class Batch:
    """What `catch_up` and `window` answer: changes in order, up to and including `head`.

    `reset` tells that these are the latest window whole, which replaces what a page has.
    """

    epoch: str
    head: int
    changes: list[Change]
    reset: bool


def fragment(comment: Comment, *, staff: bool) -> str:
    """The comment's `<li>` for one audience. Nothing in it depends on who looks at it."""
    shown = staff or not comment.is_removed
    pieces = parts(comment.body) if shown else []
    words = {
        "number": str(comment.number),
        "change": str(comment.change),
        "handle": comment.author.handle,
        "colour": str(comment.author.colour),
        "name": comment.author_name,
        "badge": comment.badge,
        "removed_by": comment.removed_by,
        "body": comment.body,
        "posted_at": comment.posted_at.isoformat(),
        "clock": f"{comment.posted_at:%H:%M}",
    }
    if any(piece.url for piece in pieces):
        return _filled(words, removed=comment.is_removed, shown=shown, parts=pieces)
    form = _form(removed=comment.is_removed, shown=shown, badge=bool(comment.badge))
    # As format_html does it, which takes longer for each word.
    return SafeString(form % {word: escape(text) for word, text in words.items()})


@cache
def _form(*, removed: bool, shown: bool, badge: bool) -> str:
    """The template with its words left open, for `%`: every word of it is a plain text, so that
    only those have to be escaped and put in for each comment. A tenth of what rendering costs."""
    words = {word: f"\x00{word}\x00" for word in WORDS}
    if not badge:
        words["badge"] = ""
    html = _filled(words, removed=removed, shown=shown, parts=None)
    return re.sub("\x00([a-z_]+)\x00", r"%(\1)s", html.replace("%", "%%"))


def _filled(words: dict[str, str], **what: object) -> str:
    return get_template("comments/_comment.html").render(words | what)


def render(comment: Comment) -> Change:
    """The comment's present state for both audiences (one rendering where they see the same)."""
    public = fragment(comment, staff=False)
    staff = fragment(comment, staff=True) if comment.is_removed else public
    # Of later changes it is not kept when they happened.
    given_at = comment.posted_at.timestamp() if comment.change == comment.number else 0.0
    return Change(comment.change, comment.number, public, staff, given_at)


def catch_up(stream_id: int, cursor: Cursor | None) -> Batch:
    """The states of all comments that changed after `cursor`, in order of change.

    A page that is too far behind, without cursor, of another epoch or ahead of the database gets
    a reset. Raises Stream.DoesNotExist. Reads the head first: what commits between the two reads
    shows as changes beyond that head, never as a hole, since commit order is number order.
    """
    stream = Stream.objects.get(pk=stream_id)
    if (
        cursor is None
        or cursor.epoch != stream.epoch
        or not stream.head - RESUME_AT_MOST <= cursor.change <= stream.head
    ):
        return _window(stream)
    if cursor.change == stream.head:
        return Batch(stream.epoch, stream.head, [], reset=False)
    changed = stream.comments.for_fragments().changed_since(cursor.change)
    changes = [render(comment) for comment in changed]
    head = max(stream.head, changes[-1].change if changes else 0)
    return Batch(stream.epoch, head, changes, reset=False)


def _window(stream: Stream) -> Batch:
    """The latest comments whole, oldest first; removed ones are among them for staff alone.

    As the database was at one moment: what is changed between the reads would come again with an
    older state first, and of 50 comments that are shown one would be missing, so that the page
    would take them for all there are.
    """
    for _ in range(WINDOW_TRIES):
        batch = _window_beside(stream)
        if all(change.change <= batch.head for change in batch.changes):
            return batch
        stream.refresh_from_db()
    with transaction.atomic():  # on SQLite nobody writes meanwhile
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        stream.refresh_from_db()
        return _window_beside(stream)


def _window_beside(stream: Stream) -> Batch:
    """The window as it is now, with the head as it was read."""
    changes = [render(comment) for comment in window_comments(stream, staff=True)]
    shown = [replace(c, public="") if c.public != c.staff else c for c in changes]
    return Batch(stream.epoch, stream.head, shown, reset=True)


def window_comments(stream: Stream, *, staff: bool, before: int | None = None) -> list[Comment]:
    """The latest WINDOW comments (before a number), oldest first: the page, and its older pages.

    Both see the same stretch of the stream: the latest 50 *visible* ones, and for staff also the
    removed ones between and behind them (at most 450, the latest).
    """
    comments = Comment.objects.for_fragments().filter(stream=stream)
    if before is not None:
        comments = comments.before(before)
    visible = list(comments.visible().order_by("-number")[:WINDOW])
    if not staff:
        return visible[::-1]
    removed = comments.filter(state=Comment.State.REMOVED)
    if len(visible) == WINDOW:
        removed = removed.filter(number__gt=visible[-1].number)
    latest_removed = removed.order_by("-number")[: 9 * WINDOW]
    # Read one after the other: what was removed in between is in both, and the later read is right.
    # What was restored in between is in neither; its change lies beyond the head, and comes.
    found = {comment.number: comment for comment in [*visible, *latest_removed]}
    return [found[number] for number in sorted(found)]


def comments_since(stream: Stream, number: int, *, staff: bool) -> list[Comment]:
    """WINDOW comments from a number on, by the same rule the other way: staff get the removed ones
    between and behind them (at most 450, the first)."""
    comments = Comment.objects.for_fragments().filter(stream=stream).since(number)
    visible = list(comments.visible().order_by("number")[:WINDOW])
    if not staff:
        return visible
    removed = comments.filter(state=Comment.State.REMOVED)
    if len(visible) == WINDOW:
        removed = removed.before(visible[-1].number)
    found = {comment.number: comment for comment in visible}
    found |= {comment.number: comment for comment in removed.order_by("number")[: 9 * WINDOW]}
    return [found[number] for number in sorted(found)]


def newer_than(stream: Stream, comments: list[Comment], *, staff: bool) -> int | None:
    """The number from which a page that ends with `comments` goes on; None at the end."""
    if not comments:
        return None
    newer = Comment.objects.filter(stream=stream).since(comments[-1].number + 1)
    found = (
        (newer if staff else newer.visible()).order_by("number").values_list("number", flat=True)
    )
    return found.first()


def older_than(stream: Stream, comments: list[Comment], *, staff: bool) -> int | None:
    """The number before which a page that begins with `comments` goes on; None at the beginning."""
    if not comments:
        return None
    first = comments[0].number
    older = Comment.objects.filter(stream=stream).before(first)
    # Along the index: for exists() PostgreSQL may read the table until it meets one, which is quick
    # by its statistics, but leads through all other videos' comments where these are the latest.
    found = (older if staff else older.visible()).order_by("-number").values("pk")[:1]
    return first if found else None


def group_name(stream_id: int) -> str:
    return f"comments.{stream_id}"


_loop: asyncio.AbstractEventLoop | None = None
_publications: set[asyncio.Task[None]] = set()


def attach(loop: asyncio.AbstractEventLoop) -> None:
    """Tell `publish` which event loop serves this process, so that it need not wait for it."""
    global _loop
    _loop = loop


def publish(comments: list[Comment]) -> None:
    """Tell every process about new states of one stream's comments, in order of change. Called
    after the commit, never raises.

    Does not block the poster: in a serving process the message is sent from its event loop. A
    publication that fails is counted; the hubs find the changes by their safety poll.
    """
    changes = [render(comment) for comment in comments]
    posted = sum(change.change == change.number for change in changes)
    counts.changes.add("posted", times=posted)
    counts.changes.add("moderated", times=len(changes) - posted)
    _ring(
        comments[0].stream_id,
        {
            "type": "changes",
            "epoch": comments[0].stream.epoch,
            "given_at": comments[0].stream.given_at,
            "changes": [change.message() for change in changes],
        },
    )


def announce_room(stream_id: int) -> None:
    """Tell every process to read again whether the room is open and what its video does."""
    _ring(stream_id, {"type": "room"})


def _ring(stream_id: int, message: dict[str, object]) -> None:
    if _loop is not None and _loop.is_running():
        _loop.call_soon_threadsafe(_start_sending, stream_id, message)
    else:
        async_to_sync(send)(stream_id, message)


def _start_sending(stream_id: int, message: dict[str, object]) -> None:
    task = asyncio.ensure_future(send(stream_id, message))
    _publications.add(task)
    task.add_done_callback(_publications.discard)


async def send(stream_id: int, message: dict[str, object]) -> None:
    """`group_send` to the stream's hubs in all processes; bounded in time, errors are counted."""
    global publish_errors
    layer = get_channel_layer()
    assert layer is not None, "settings.CHANNEL_LAYERS has a default"
    sending = layer.group_send(group_name(stream_id), message | {"sent_at": time.time()})
    if not await bounded(sending, f"stream {stream_id}: publish failed", logging.WARNING):
        publish_errors += 1
