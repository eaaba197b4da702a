"""Numbers, cursors and what a page has missed, read from the database."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from comments import services
from comments import stream as comment_stream
from comments.errors import Refused
from comments.identity import Actor
from comments.models import Comment, Stream, Viewer
from comments.stream import (
    Batch,
    Change,
    Cursor,
    catch_up,
    comments_since,
    newer_than,
    older_than,
    window_comments,
)
from tests.page import PageModel

type Post = Callable[[int], list[Comment]]


@pytest.fixture
def post(stream: Stream, people: None) -> Post:
    """`post(3)` posts three comments, each by a viewer of its own."""

    def post_(count: int) -> list[Comment]:
        return [
            services.post(Actor(Viewer.objects.create()), stream.pk, f"line {n}", str(uuid.uuid4()))
            for n in range(count)
        ]

    return post_


def at(stream: Stream, change: int) -> Cursor:
    return Cursor(stream.epoch, change)


def changes_of(batch: Batch) -> list[tuple[int, int]]:
    return [(change.number, change.change) for change in batch.changes]


def head_of(stream: Stream) -> int:
    return Stream.objects.values_list("head", flat=True).get(pk=stream.pk)


def test_every_change_takes_the_next_number_and_a_refusal_takes_none(
    stream: Stream, post: Post, mona: Actor
) -> None:
    post(3)
    with pytest.raises(Refused):
        services.post(mona, stream.pk, "x" * 501, str(uuid.uuid4()))
    services.remove(mona, stream.pk, 2)
    services.remove(mona, stream.pk, 2)
    services.restore(mona, stream.pk, 2)
    post(1)
    found = Comment.objects.order_by("change").values_list("number", "change")
    assert list(found) == [(1, 1), (3, 3), (2, 5), (6, 6)]
    assert head_of(stream) == 6


def test_a_page_that_stands_at_the_head_missed_nothing(stream: Stream, post: Post) -> None:
    post(2)
    assert catch_up(stream.pk, at(stream, 2)) == Batch(stream.epoch, 2, [], reset=False)


def test_a_page_is_sent_what_changed_after_its_cursor_in_order(
    stream: Stream, post: Post, mona: Actor
) -> None:
    post(4)
    services.remove(mona, stream.pk, 1)
    services.remove(mona, stream.pk, 3)
    services.restore(mona, stream.pk, 1)
    batch = catch_up(stream.pk, at(stream, 2))
    assert changes_of(batch) == [(4, 4), (3, 6), (1, 7)]
    assert (batch.head, batch.reset) == (7, False)


@pytest.mark.parametrize("behind", range(8))
def test_from_every_cursor_a_page_becomes_the_same(
    stream: Stream, post: Post, mona: Actor, behind: int
) -> None:
    page = PageModel()
    verbs: list[Callable[[], object]] = [
        lambda: post(2), lambda: services.remove(mona, stream.pk, 1), lambda: post(1),
        lambda: services.restore(mona, stream.pk, 1), lambda: services.remove(mona, stream.pk, 4),
        lambda: post(1),
    ]  # fmt: skip
    page.apply(frame(catch_up(stream.pk, None)))
    for verb in verbs:
        verb()
        if head_of(stream) <= behind:
            page.apply(frame(catch_up(stream.pk, Cursor.parse(page.cursor))))
    page.apply(frame(catch_up(stream.pk, Cursor.parse(page.cursor))))
    assert [(row.number, row.change) for row in page.shown] == [(1, 5), (2, 2), (7, 7)]


def frame(batch: Batch) -> str:
    from comments.frames import cursor_element, reset_frame

    cursor = Cursor(batch.epoch, batch.head)
    states = "".join(change.public for change in batch.changes)
    return reset_frame(states, cursor) if batch.reset else states + cursor_element(cursor)


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        Cursor("00000000", 1),
        Cursor("00000000", 3),
    ],
)
def test_a_cursor_of_no_or_another_history_gets_the_window_anew(
    stream: Stream, post: Post, cursor: Cursor | None
) -> None:
    post(3)
    batch = catch_up(stream.pk, cursor)
    assert batch.reset
    assert changes_of(batch) == [(1, 1), (2, 2), (3, 3)]


def test_a_cursor_ahead_of_the_database_gets_the_window_anew(stream: Stream, post: Post) -> None:
    post(3)
    assert catch_up(stream.pk, at(stream, 4)).reset
    assert not catch_up(stream.pk, at(stream, 3)).reset


def test_a_page_too_far_behind_gets_the_window_anew(
    stream: Stream, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comment_stream, "RESUME_AT_MOST", 3)
    post(5)
    assert changes_of(catch_up(stream.pk, at(stream, 2))) == [(3, 3), (4, 4), (5, 5)]
    assert catch_up(stream.pk, at(stream, 1)).reset


def test_the_window_is_the_latest_fifty_that_the_public_sees(
    stream: Stream, post: Post, mona: Actor
) -> None:
    comments = post(60)
    for comment in comments[20:30]:
        services.remove(mona, stream.pk, comment.number)
    public = window_comments(stream, staff=False)
    staff = window_comments(stream, staff=True)
    assert [c.number for c in public] == [*range(1, 21), *range(31, 61)]
    assert [c.number for c in staff] == list(range(1, 61))
    batch = catch_up(stream.pk, None)
    page = PageModel()
    page.apply(frame(batch))
    assert [row.number for row in page.shown] == [c.number for c in public]


def test_a_window_is_as_of_one_moment(
    stream: Stream, post: Post, mona: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 49 comments of 60, a page would take them for all there are."""
    post(60)
    read, tries = comment_stream.window_comments, []

    def read_late(room: Stream, *, staff: bool, before: int | None = None) -> list[Comment]:
        tries.append(room.head)
        if len(tries) == 1:  # the head was read already
            services.remove(mona, room.pk, 60)
        return read(room, staff=staff, before=before)

    monkeypatch.setattr(comment_stream, "window_comments", read_late)
    batch = catch_up(stream.pk, None)
    assert tries == [60, 61]
    assert batch.head == 61
    assert len([change for change in batch.changes if change.public]) == 50
    assert all(change.change <= batch.head for change in batch.changes)


@pytest.mark.parametrize("staff", [False, True])
def test_pages_lead_back_and_on_over_every_comment_once(
    stream: Stream, post: Post, mona: Actor, staff: bool
) -> None:
    comments = post(173)
    removed = {comment.number for comment in comments[::3]}
    for number in removed:
        services.remove(mona, stream.pk, number)
    seen: list[int] = []
    before = None
    for _ in range(50):
        found = window_comments(stream, staff=staff, before=before)
        seen = [comment.number for comment in found] + seen
        before = older_than(stream, found, staff=staff)
        if before is None:
            break
    expected = [n for n in range(1, 174) if staff or n not in removed]
    assert seen == expected
    seen = []
    since: int | None = 1
    while since is not None:
        found = comments_since(stream, since, staff=staff)
        seen += [comment.number for comment in found]
        since = newer_than(stream, found, staff=staff)
    assert seen == expected, "and on again"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "abc-1",
        "0123abcd",
        "0123abcd-",
        "0123abcd--1",
        "0123abcd-x",
        "0123abcd-1 ",
        "0123abcd-1.0",
        "0123abcd-١",
        "0123abcd-" + "1" * 19,
        "0123abcd-+1",
        "0123abcd\0-1",
        "x" * 5000,
    ],
)
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert Cursor.parse(text) is None


def test_a_cursor_reads_back_as_it_is_written() -> None:
    cursor = Cursor("0123abcd", 12)
    assert Cursor.parse(str(cursor)) == cursor


def test_catching_up_asks_the_database_no_more_the_more_was_missed(
    stream: Stream, post: Post, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    post(30)
    with django_assert_num_queries(2):
        assert len(catch_up(stream.pk, at(stream, 0)).changes) == 30
    with django_assert_num_queries(3):
        assert len(catch_up(stream.pk, None).changes) == 30
    with django_assert_num_queries(1):
        catch_up(stream.pk, at(stream, 30))


def test_a_stream_that_is_gone_says_so(stream: Stream) -> None:
    stream.video.delete()
    with pytest.raises(Stream.DoesNotExist):
        catch_up(stream.pk, None)


# --- Publishing ---------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, Any]]]:
    rung: list[tuple[int, dict[str, Any]]] = []
    monkeypatch.setattr(comment_stream, "_ring", lambda *call: rung.append(call))
    return rung


def changes_in(published: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, int]]:
    return [
        (change.change, change.number)
        for _stream_id, message in published
        for change in map(Change.of_message, message["changes"])
    ]


def test_a_change_is_published_once_and_only_after_its_commit(
    stream: Stream, post: Post, published: list[tuple[int, dict[str, Any]]]
) -> None:
    with transaction.atomic():
        post(1)
        assert published == []
    ((stream_id, message),) = published
    assert stream_id == stream.pk
    assert message["epoch"] == stream.epoch
    assert changes_in([(stream_id, message)]) == [(1, 1)]


def test_what_is_rolled_back_is_never_published_and_leaves_no_hole(
    stream: Stream, post: Post, published: list[tuple[int, dict[str, Any]]]
) -> None:
    post(1)

    def fail() -> None:
        with transaction.atomic():
            post(1)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    post(1)
    assert changes_in(published) == [(1, 1), (2, 2)]
    assert changes_of(catch_up(stream.pk, at(stream, 0))) == [(1, 1), (2, 2)]


def test_doing_nothing_publishes_nothing(
    stream: Stream, post: Post, mona: Actor, published: list[tuple[int, dict[str, Any]]]
) -> None:
    post(1)
    services.restore(mona, stream.pk, 1)
    services.remove(mona, stream.pk, 1)
    services.remove(mona, stream.pk, 1)
    assert changes_in(published) == [(1, 1), (2, 1)]


def test_a_channel_layer_that_fails_costs_nobody_their_comment(
    stream: Stream, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        async def group_send(self, group: str, message: dict[str, object]) -> None:
            raise ConnectionError

    monkeypatch.setattr(comment_stream, "get_channel_layer", Broken)
    errors = comment_stream.publish_errors
    post(2)
    assert Comment.objects.count() == 2
    assert comment_stream.publish_errors == errors + 2


def test_the_latest_visible_ones_are_found_by_an_index_of_their_own(stream: Stream) -> None:
    """Else everything that was removed since would be read first."""
    latest = Comment.objects.filter(stream=stream).visible().order_by("-number")[:50]
    assert "comment_visible" in latest.explain()
    assert "comment_time" in Comment.objects.order_by("-posted_at", "-pk")[:100].explain()
    assert "viewer_time" in Viewer.objects.order_by("-created_at", "-pk")[:100].explain()
