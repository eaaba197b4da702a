"""Posts of one moment share a transaction; each is acknowledged after it, and refused alone."""

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django.fixtures import Settings

from comments import services
from comments import stream as comment_stream
from comments.actions import Outcome, Sent
from comments.batches import InBatches
from comments.errors import Code, Refused
from comments.identity import Actor, actor_of_account
from comments.models import Comment, Stream, Viewer
from comments.services import Draft
from comments.threads import ACTING
from streamsite.env import Rate
from tests import world
from tests.client import Person
from tests.conftest import MakeSite
from tests.servers import Site

POSTERS = 40


def draft(actor: Actor, body: object = "hello", key: object = None, **fields: Any) -> Draft:
    return Draft(actor, body, key or str(uuid.uuid4()), **fields)


def codes(outcomes: list[Comment | Refused]) -> list[int | Code]:
    """Numbers of what stands, codes of what was refused."""
    return [o.code if isinstance(o, Refused) else o.number for o in outcomes]


@pytest.fixture
def others(people: None) -> list[Actor]:
    return [Actor(Viewer.objects.create(), address="elsewhere") for _ in range(6)]


def test_each_has_its_own_outcome_and_refusals_take_no_number(
    stream: Stream, anon: Actor, alice: Actor, others: list[Actor]
) -> None:
    drafts = [
        draft(anon, "one"),
        draft(others[0], " "),
        draft(alice, "two"),
        draft(others[1], "x" * 501),
        draft(Actor(None), "nobody"),
        draft(others[2], "three", "no uuid"),
        draft(others[3], "three", shown="somebody-else"),
        draft(others[3], "three", shown=others[3].shown),
    ]
    outcomes = services.post_many(stream.pk, drafts)
    assert codes(outcomes) == [
        1, Code.EMPTY, 2, Code.TOO_LONG, Code.SIGN_IN_REQUIRED, Code.MALFORMED,
        Code.SIGN_IN_REQUIRED, 3,
    ]  # fmt: skip
    written = Comment.objects.order_by("number").values_list("body", "change")
    assert list(written) == [("one", 1), ("two", 2), ("three", 3)]
    stream.refresh_from_db()
    assert stream.head == 3


def test_a_key_that_comes_twice_in_a_moment_is_one_comment(stream: Stream, anon: Actor) -> None:
    key = str(uuid.uuid4())
    outcomes = services.post_many(stream.pk, [draft(anon, "once", key), draft(anon, "once", key)])
    assert codes(outcomes) == [1, 1]
    assert Comment.objects.count() == 1


def test_the_limits_count_what_is_in_the_same_transaction(
    stream: Stream, anon: Actor, others: list[Actor], settings: Settings
) -> None:
    """5 per viewer and 30 per address; six viewers share one address."""
    settings.RATE_ADDRESS = Rate(30, 10)
    services.post(anon, stream.pk, "before", str(uuid.uuid4()))
    flood = services.post_many(stream.pk, [draft(anon) for _ in range(6)])
    assert codes(flood) == [2, 3, 4, 5, Code.TOO_FAST, Code.TOO_FAST]
    refusal = flood[-1]
    assert isinstance(refusal, Refused)
    assert refusal.retry_after in range(1, 11)
    together = services.post_many(
        stream.pk, [draft(other) for other in others[:-1] for _ in range(5)]
    )
    assert codes(together) == list(range(6, 31))
    services.post_many(stream.pk, [draft(others[-1]) for _ in range(5)])
    another = Actor(Viewer.objects.create(), address="elsewhere")
    assert codes(services.post_many(stream.pk, [draft(another)])) == [Code.TOO_FAST]


def test_a_whole_transaction_is_one_message(
    stream: Stream, others: list[Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[Any] = []
    monkeypatch.setattr(comment_stream, "_ring", lambda *call: rung.append(call))
    services.post_many(stream.pk, [draft(other) for other in others])
    services.post_many(stream.pk, [draft(others[0], "")])  # nothing to tell
    ((_stream_id, message),) = rung
    assert [change[0] for change in message["changes"]] == [1, 2, 3, 4, 5, 6]


def test_the_number_of_queries_does_not_grow_with_the_posts(
    stream: Stream, others: list[Actor], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(9):  # begin, rules 5, number, comments, their ids
        services.post_many(stream.pk, [draft(others[0])])
    with django_assert_num_queries(9):
        services.post_many(stream.pk, [draft(other) for other in others])


def posted_and_kept() -> list[list[Any]]:
    """Comments as `post_many` returns them, and as the database has them under their ids."""
    stream = Stream.objects.get(pk=world.make_video(f"kept-{uuid.uuid4()}"[:50]))
    account = actor_of_account(User.objects.get(username="root"))
    drafts = [draft(account), draft(Actor(Viewer.objects.create(), None, "x" * 32), "100% \\ é")]
    posted = services.post_many(stream.pk, [*drafts, draft(account, "second")])
    assert all(isinstance(comment, Comment) for comment in posted)
    kept = Comment.objects.in_bulk([comment.pk for comment in posted])  # type: ignore[union-attr]
    fields = [field.attname for field in Comment._meta.concrete_fields]
    return [
        [[str(getattr(comment, name)) for name in fields] for comment in found]
        for found in (posted, [kept[comment.pk] for comment in posted])  # type: ignore[union-attr]
    ]


def test_a_comment_is_returned_as_it_stands_with_its_id(site: Site) -> None:
    posted, kept = site.call(posted_and_kept)
    assert posted == kept
    assert len(posted) == 3


async def test_a_mistake_that_one_post_meets_costs_the_others_nothing() -> None:
    def perform(stream_id: int, posts: list[Sent]) -> list[Outcome | Refused]:
        if any(sent.fields["body"] == "poison" for sent in posts):
            raise ZeroDivisionError
        return [Outcome(number=sent.fields["n"]) for sent in posts]

    post = InBatches(perform, ACTING)
    bodies = ["a", "b", "poison", "c"]
    outcomes = await asyncio.gather(
        *(post(1, Sent(None, "", {"body": b, "n": n})) for n, b in enumerate(bodies)),
        return_exceptions=True,
    )
    numbers = [o.number if isinstance(o, Outcome) else type(o) for o in outcomes]
    assert numbers == [0, 1, ZeroDivisionError, 3]


def transactions_of(slug: str) -> int:
    """How many transactions wrote the video's comments: PostgreSQL keeps each row's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT c.xmin::text) FROM comments_comment c"
            " JOIN comments_stream s ON s.id = c.stream_id JOIN videos_video v ON v.id = s.video_id"
            " WHERE v.slug = %s",
            [slug],
        )
        return int(cursor.fetchone()[0])


async def test_a_burst_through_many_sockets_shares_transactions(make_site: MakeSite) -> None:
    site = make_site(backend="postgres", RATE_ADDRESS="off", SOCKETS_PER_ADDRESS="off")
    slug = site.video()
    people = [Person(site).open(slug) for _ in range(POSTERS)]
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(person.socket(slug)) for person in people]
        said = (
            socket.say(" " if n % 10 == 9 else f"comment {n}") for n, socket in enumerate(sockets)
        )
        answers = await asyncio.gather(*said)
        good = POSTERS - POSTERS // 10
        for n, answer in enumerate(answers):
            assert answer.is_ack == (n % 10 != 9), answer
        assert sorted(a.number for a in answers if a.number) == list(range(1, good + 1))
        for socket in sockets:
            await socket.reaches(good)
            assert len(socket.page.shown) == good
    assert site.call(transactions_of, slug) <= good / 2
    assert not site.tracebacks


async def test_who_is_locked_elsewhere_holds_up_no_stranger(make_site: MakeSite) -> None:
    """A frozen process may have a viewer's row for seconds: only that viewer waits for it."""
    site = make_site(backend="postgres", RATE_VIEWER="off")
    slug = site.video()
    people = [Person(site).open(slug) for _ in range(8)]
    held = people[0]
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(person.socket(slug)) for person in people]
        with psycopg.connect(site.variables["DATABASE_URL"]) as holder:
            query = "SELECT FROM comments_viewer WHERE handle = %s FOR UPDATE"
            assert holder.execute(query, [held.me]).rowcount == 1
            waiting = asyncio.create_task(sockets[0].say("held"))
            for round_ in range(3):
                async with asyncio.timeout(4):
                    said = (socket.say(f"round {round_}") for socket in sockets[1:])
                    answers = await asyncio.gather(*said)
                assert all(answer.is_ack for answer in answers), answers
            assert not waiting.done()
        assert (await waiting).is_ack, "served when the row is free"
        await sockets[1].sees("held")
    assert not site.tracebacks


async def test_a_mistake_in_a_batch_is_told_to_its_own_and_the_next_are_served() -> None:
    def many(_key: int, arguments: list[int]) -> list[int]:
        return arguments[1:] if 0 in arguments else arguments  # one result too few

    ask = InBatches(many, ACTING)
    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="shorter"):
            await ask(1, 0)
        assert await ask(1, 7) == 7
