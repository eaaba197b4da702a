"""Commit order is number order: a reader who polls misses no change, and nothing leaves a hole.

Each scenario runs in a process beside a site, on its real database, in threads.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import User
from django.db import close_old_connections, connection, transaction
from django.test import override_settings
from django.utils import timezone

from comments import services
from comments.identity import Actor, actor_of_account
from comments.models import Comment, Stream, Viewer
from comments.stream import Cursor, catch_up
from tests.servers import Site, wait_for

SECONDS = 20.0


class Threads:
    """Threads that all end, and whose first error is raised at the end."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, function: Callable[..., object], *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                function(*arguments)
            except BaseException as error:
                self.errors.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a thread hangs"
        if self.errors:
            raise self.errors[0]


@contextmanager
def threads() -> Iterator[Threads]:
    found = Threads()
    with override_settings(RATE_VIEWER=None, RATE_ADDRESS=None):
        yield found
        found.join()


class Reader:
    """Polls `catch_up`, as a page does whose doorbell never rings."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.cursor = Cursor(Stream.objects.get(pk=stream_id).epoch, 0)
        self.seen: list[int] = []
        self.page: dict[int, int] = {}

    def poll(self) -> None:
        batch = catch_up(self.stream_id, self.cursor)
        assert not batch.reset, "the reader lost its place"
        for change in batch.changes:
            self.seen.append(change.change)
            self.page[change.number] = change.change
        assert self.cursor.change <= batch.head
        self.cursor = Cursor(batch.epoch, batch.head)

    def poll_until(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self.poll()
        self.poll()


def say(stream_id: int, body: str = "hello") -> Comment:
    viewer = Viewer.objects.create()
    return services.post(Actor(viewer), stream_id, body, str(uuid.uuid4()))


def held_open(
    stream_id: int, taken: threading.Event, go_on: threading.Event, *, fail: bool = False
) -> None:
    """Take a number and stay in the transaction until told to go on; then commit, or fail."""
    try:
        with transaction.atomic():
            stream = Stream.objects.get(pk=stream_id)
            number = stream.advance()
            Comment.objects.create(
                stream=stream,
                number=number,
                change=number,
                author=Viewer.objects.create(),
                key=uuid.uuid4(),
                author_name="slow",
                body="slow",
                posted_at=timezone.now(),
            )
            taken.set()
            assert go_on.wait(SECONDS)
            if fail:
                raise InterruptedError
    except InterruptedError:
        pass


def waiting_for_locks() -> int:
    """How many of this database's connections wait for another one's transaction (PostgreSQL)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        (count,) = cursor.fetchone()
        return int(count)


def slow_and_fast(slug: str, others: int, fail: bool) -> list[int]:
    """One poster holds its transaction open while others try; a reader polls all the time."""
    stream_id = Stream.objects.get(video__slug=slug).pk
    taken, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    reader = Reader(stream_id)
    with threads() as running:
        slow = running.start(lambda: held_open(stream_id, taken, go_on, fail=fail))
        assert taken.wait(SECONDS)
        fast = [running.start(say, stream_id, f"fast {n}") for n in range(others)]
        polling = running.start(reader.poll_until, ended)
        if connection.vendor == "postgresql":
            wait_for(lambda: waiting_for_locks() == others, "everybody waits for the slow one")
        else:  # SQLite lets one write at a time: who waits cannot be counted, only who is done
            before = time.monotonic()
            wait_for(lambda: time.monotonic() - before > 0.3, "a while")
        assert all(thread.is_alive() for thread in fast), "nobody overtakes"
        assert reader.seen == [], "nothing is seen before its commit"
        go_on.set()
        for thread in (slow, *fast):
            thread.join(SECONDS)
        ended.set()
        polling.join(SECONDS)
    return reader.seen


def overtaken(slug: str) -> list[int]:
    """Two posters on PostgreSQL, the first slow to commit; what a reader sees who polls between."""
    stream_id = Stream.objects.get(video__slug=slug).pk
    taken, go_on = threading.Event(), threading.Event()
    reader = Reader(stream_id)
    with threads() as running:
        running.start(lambda: held_open(stream_id, taken, go_on))
        assert taken.wait(SECONDS)
        fast = running.start(say, stream_id)
        wait_for(lambda: waiting_for_locks() == 1 or not fast.is_alive(), "the fast one")
        reader.poll()
        go_on.set()
    reader.poll()
    return reader.seen


def crowd(slug: str, posters: int, each: int) -> dict[str, Any]:
    """Posters, a moderator and failing transactions, all at once, and two readers."""
    stream_id = Stream.objects.get(video__slug=slug).pk
    mona = actor_of_account(User.objects.get(username="mona"))
    ended = threading.Event()
    readers = [Reader(stream_id), Reader(stream_id)]

    def pour(poster: int) -> None:
        for n in range(each):
            if (n + poster) % 4 == 0:
                taken, go_on = threading.Event(), threading.Event()
                go_on.set()
                held_open(stream_id, taken, go_on, fail=True)
            say(stream_id, f"{poster}: {n}")

    def moderate() -> None:
        for n in range(each):
            for comment in Comment.objects.filter(stream_id=stream_id).order_by("?")[:2]:
                verb = services.restore if n % 3 == 0 else services.remove
                verb(mona, stream_id, comment.number)

    with threads() as running:
        working = [running.start(pour, poster) for poster in range(posters)]
        working.append(running.start(moderate))
        polling = [running.start(reader.poll_until, ended) for reader in readers]
        for thread in working:
            thread.join(SECONDS)
        ended.set()
        for thread in polling:
            thread.join(SECONDS)
    close_old_connections()
    found = Comment.objects.filter(stream_id=stream_id)
    return {
        "head": Stream.objects.get(pk=stream_id).head,
        "truth": sorted(found.values_list("number", "change")),
        "pages": [sorted(reader.page.items()) for reader in readers],
        "orderly": [reader.seen == sorted(set(reader.seen)) for reader in readers],
    }


def test_nobody_overtakes_a_poster_who_took_a_number(site: Site) -> None:
    seen = site.call(slow_and_fast, site.video(), 5, fail=False)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_rollback_leaves_no_hole(site: Site) -> None:
    seen = site.call(slow_and_fast, site.video(), 5, fail=True)
    assert seen == [1, 2, 3, 4, 5]


def test_readers_who_poll_during_a_storm_end_with_what_the_database_has(site: Site) -> None:
    slug = site.video()
    found = site.call(crowd, slug, 5, 20)
    assert len(found["truth"]) == 100
    assert found["head"] >= 100
    assert max(change for _number, change in found["truth"]) == found["head"]
    assert found["pages"] == [found["truth"]] * 2
    assert found["orderly"] == [True, True]


def removing_while_its_author_writes(slug: str) -> list[int]:
    """A removal about to commit, and a comment by the same author; the changes they made."""
    stream_id = Stream.objects.get(video__slug=slug).pk
    mona = actor_of_account(User.objects.get(username="mona"))
    author = Actor(Viewer.objects.create())
    services.post(author, stream_id, "first", str(uuid.uuid4()))
    taken, go_on = threading.Event(), threading.Event()

    def remove() -> None:
        with transaction.atomic():
            services.remove(mona, stream_id, 1)
            taken.set()
            assert go_on.wait(SECONDS)

    with threads() as running:
        running.start(remove)
        assert taken.wait(SECONDS)
        running.start(services.post, author, stream_id, "second", str(uuid.uuid4()))
        wait_for(lambda: waiting_for_locks() == 1, "the author waits for the removal")
        go_on.set()
    found = Comment.objects.filter(stream_id=stream_id).order_by("number")
    return list(found.values_list("change", flat=True))


def test_a_moderator_removes_what_somebody_wrote_while_they_write_on(postgres_site: Site) -> None:
    # PostgreSQL checks foreign keys again at the commit of a row that was changed twice: a lock on
    # the author's row that is stronger than needed was a deadlock here.
    site = postgres_site
    assert site.call(removing_while_its_author_writes, site.video()) == [2, 3]


def test_one_videos_slow_poster_holds_up_no_other_video(postgres_site: Site) -> None:
    slugs = postgres_site.video(), postgres_site.video()
    assert postgres_site.call(meanwhile, *slugs) == 1


def meanwhile(slow: str, other: str) -> int:
    """Post to one video while another one's transaction is held open; the number it got."""
    taken, go_on = threading.Event(), threading.Event()
    with threads() as running:
        slow_id = Stream.objects.get(video__slug=slow).pk
        running.start(lambda: held_open(slow_id, taken, go_on))
        assert taken.wait(SECONDS)
        number = say(Stream.objects.get(video__slug=other).pk).number
        go_on.set()
    return number


def test_a_poster_who_freezes_is_cut_off_and_the_stream_goes_on(postgres_site: Site) -> None:
    code = postgres_site.call(frozen, postgres_site.video())
    assert code == "try_again"


def test_postgresql_is_told_how_long_a_frozen_writer_may_hold_a_stream(postgres_site: Site) -> None:
    # What happens then: tests/faults/test_database.py.
    assert postgres_site.call(waits) == ["5s", "10s"]


def waits() -> list[str]:
    found = []
    with connection.cursor() as cursor:
        for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute(f"SHOW {name}")
            found += cursor.fetchone()
    return found


def frozen(slug: str) -> str:
    """Post behind a transaction that stays open longer than `lock_timeout` allows."""
    from comments.errors import Refused

    stream_id = Stream.objects.get(video__slug=slug).pk
    taken, go_on = threading.Event(), threading.Event()
    code = ""
    with threads() as running:
        running.start(lambda: held_open(stream_id, taken, go_on))
        assert taken.wait(SECONDS)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")  # 5 s by default (streamsite/env.py)
        try:
            say(stream_id)
        except Refused as refusal:
            code = str(refusal.code)
        finally:
            go_on.set()
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")  # the pool hands this session on
            connection.close()
    return code
