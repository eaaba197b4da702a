"""Fan-out: whatever the doorbell does, and however long a page was away, it ends up exact."""

import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from comments import services
from comments import stream as comment_stream
from comments.identity import Actor, actor_of_account
from comments.models import Comment, Stream, Viewer, new_epoch
from comments.stream import Change
from tests import world
from tests.client import Person, Socket
from tests.conftest import MakeSite
from tests.page import PageModel
from tests.servers import Site
from videos.models import Video

# --- What happens in a process beside the site --------------------------------------------------


def say(slug: str, count: int, *, quietly: bool = True) -> int:
    """Post comments; quietly: without ringing the doorbell. The stream's head after them."""
    stream = Stream.objects.get(video__slug=slug)
    ring = comment_stream._ring
    if quietly:
        comment_stream._ring = lambda *_: None
    try:
        with override_settings(RATE_VIEWER=None, RATE_ADDRESS=None):
            author = Actor(Viewer.objects.create())
            for n in range(count):
                services.post(author, stream.pk, f"line {n}", str(uuid.uuid4()))
    finally:
        comment_stream._ring = ring
    stream.refresh_from_db()
    return stream.head


def ring_badly(slug: str) -> None:
    """Post, remove and restore; then ring for it late, doubled, out of order and with losses."""
    stream = Stream.objects.get(video__slug=slug)
    mona = actor_of_account(User.objects.get(username="mona"))
    ring, rung = comment_stream._ring, []
    comment_stream._ring = lambda *call: rung.append(call)
    try:
        author = Actor(Viewer.objects.create())
        for n in range(4):
            services.post(author, stream.pk, f"badly {n}", str(uuid.uuid4()))
        services.remove(mona, stream.pk, rung_for(rung[1]).number)
        services.remove(mona, stream.pk, rung_for(rung[2]).number)
        services.restore(mona, stream.pk, rung_for(rung[2]).number)
    finally:
        comment_stream._ring = ring
    first = rung_for(rung[0]).change
    for change in (2, 2, 0, 6, 4, 0, 1, 6, 5, 2, 0):  # never 3
        assert rung_for(rung[change]).change == first + change
        ring(*rung[change])


def rung_for(call: Any) -> Change:
    """The change that one message tells of."""
    _stream_id, message = call
    (change,) = message["changes"]
    return Change.of_message(change)


def new_history(slug: str) -> None:
    """As after a restored backup: the last comment is gone, and the history has another name."""
    stream = Stream.objects.get(video__slug=slug)
    last = stream.comments.order_by("-number").first()
    assert last is not None
    last.delete()
    Stream.objects.filter(pk=stream.pk).update(head=stream.head - 1, epoch=new_epoch())


def delete_video(slug: str) -> None:
    Comment.objects.filter(stream__video__slug=slug).delete()
    Video.objects.get(slug=slug).delete()


# --- Resuming -----------------------------------------------------------------------------------


def same_as_database(page: PageModel, site: Site, slug: str) -> bool:
    truth = [(c["number"], c["change"], c["body"]) for c in site.call(world.comments_of, slug)]
    return [(row.number, row.change, row.body) for row in page.shown] == truth


async def test_a_page_that_missed_much_learns_first_what_was_removed(make_site: MakeSite) -> None:
    """More than goes into one frame: the removal, which came last, is in the first all the same."""
    site = make_site(RATE_VIEWER="off")
    slug = site.video()
    away, mona = Person(site), Person(site).sign_in("mona").open(slug)
    async with mona.socket(slug) as writing:
        assert (await writing.say("regretted")).is_ack
        away.open(slug)
        for number in range(100):
            assert (await writing.say(f"{number} " + "long " * 90)).is_ack
        assert (await writing.ask("remove", number=1)).is_ack
        await writing.reaches(102)
        async with away.socket(slug) as socket:
            await socket.reaches(102)
            frames = [frame for frame in socket.frames if "<li" in frame]
    assert len(frames) > 2
    assert 'id="c-1"' in frames[0]
    assert "long" not in frames[0]
    assert same_as_database(away.page, site, slug)


async def test_a_page_that_was_away_gets_what_it_missed_and_nothing_twice(site: Site) -> None:
    slug = site.video()
    away, stays, author = Person(site).open(slug), Person(site).open(slug), Person(site).open(slug)
    async with stays.socket(slug) as staying, author.socket(slug) as writing:
        async with away.socket(slug) as socket:
            await writing.say("before")
            await socket.sees("before")
        for n in range(3):
            await writing.say(f"missed {n}")
        await staying.sees("missed 2")
        async with away.socket(slug) as socket:
            await socket.reaches(4)
            sent = "".join(socket.frames)
        assert "before" not in sent
        assert all(sent.count(f"missed {n}") == 1 for n in range(3))
        assert away.page.resets == 0
    assert away.page.bodies == ["before", "missed 0", "missed 1", "missed 2"]


async def test_a_page_that_comes_back_to_an_empty_room_resumes_from_the_database(
    site: Site,
) -> None:
    slug = site.video()
    away = Person(site).open(slug)
    site.call(say, slug, 60)
    async with away.socket(slug) as socket:
        await socket.reaches(60)
    assert away.page.resets == 0
    assert same_as_database(away.page, site, slug)


async def test_a_page_up_to_four_hundred_changes_behind_resumes_and_further_gets_the_window(
    site: Site,
) -> None:
    slug = site.video()
    away, stays = Person(site).open(slug), Person(site).open(slug)
    async with stays.socket(slug) as staying:
        site.call(say, slug, 390, quietly=False)
        await staying.reaches(390)
        async with away.socket(slug) as socket:
            await socket.reaches(390)
        assert away.page.resets == 0
        assert same_as_database(away.page, site, slug)
        site.call(say, slug, 60, quietly=False)
        await staying.reaches(450)
        assert same_as_database(stays.page, site, slug)
        late = PageModel()
        async with away.socket(slug, f"{stays.page.epoch}-0", page=late) as socket:
            await socket.reaches(450)
        assert late.resets == 1
        assert [row.number for row in late.shown] == list(range(401, 451))


@pytest.mark.parametrize("cursor", ["", "x", "00000000-1", "00000000-99999", "{epoch}-99999"])
async def test_a_cursor_that_is_of_no_use_gets_the_latest_window(site: Site, cursor: str) -> None:
    slug = site.video()
    site.call(say, slug, 3)
    person = Person(site).open(slug)
    wrong = cursor.format(epoch=person.page.epoch)
    page = PageModel()
    async with person.socket(slug, wrong, page=page) as socket:
        await socket.until(lambda: len(page.shown) == 3, "the window")
    assert page.resets == 1
    assert page.cursor == person.page.cursor


async def test_another_history_replaces_every_open_page(site: Site) -> None:
    slug = site.video()
    site.call(say, slug, 5)
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        await socket.until(lambda: person.page.room, "the room")
        epoch = person.page.epoch
        site.call(new_history, slug)
        await socket.until(lambda: person.page.epoch != epoch, "the new history")
        assert same_as_database(person.page, site, slug)
        await socket.say("life goes on")
        await socket.sees("life goes on")
        assert same_as_database(person.page, site, slug)


# --- The doorbell -------------------------------------------------------------------------------


async def test_what_the_doorbell_never_announced_is_found_by_the_safety_poll(site: Site) -> None:
    slug = site.video()
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        await socket.until(lambda: person.page.room, "the room")
        site.call(say, slug, 2)
        started = time.monotonic()
        await socket.sees("line 1")
        assert time.monotonic() - started < 4, "the poll comes every 2 s"
        assert same_as_database(person.page, site, slug)


async def test_a_doorbell_that_doubles_loses_and_shuffles_changes_nothing(
    postgres_site: Site,
) -> None:
    site = postgres_site
    slug = site.video()
    pages = [Person(site, server=n % 2).open(slug) for n in range(4)]
    async with pages[0].socket(slug) as one, pages[1].socket(slug) as two:
        for _ in range(2):
            site.call(ring_badly, slug)
            head = site.call(world.stream_of, slug)["head"]
            for socket in (one, two):
                await socket.reaches(head)
        assert same_as_database(pages[0].page, site, slug)
        assert same_as_database(pages[1].page, site, slug)
        assert pages[0].page.resets == 0


async def test_other_processes_pages_follow_at_once(postgres_site: Site) -> None:
    site = postgres_site
    slug = site.video()
    here, there = Person(site, server=0).open(slug), Person(site, server=1).open(slug)
    async with here.socket(slug) as one, there.socket(slug) as two:
        for socket in (one, two):
            await socket.until(lambda page=socket.page: page.room, "the room")  # type: ignore[misc]
        times = []
        for n in range(5):
            started = time.monotonic()
            await one.say(f"hello {n}")
            await two.sees(f"hello {n}")
            times.append(time.monotonic() - started)
        assert min(times) < 1, "not by the poll, which would take 1 s on average"


async def test_without_redis_the_stream_goes_on_and_with_it_again_it_is_fast_again(
    make_site: MakeSite,
) -> None:
    site = make_site(backend="postgres", processes=2, RATE_VIEWER="off")
    slug = site.video()
    here, there = Person(site, server=0).open(slug), Person(site, server=1).open(slug)
    assert site.valkey is not None
    port = site.valkey.port
    async with here.socket(slug) as one, there.socket(slug) as two:
        await one.say("with")
        await two.sees("with")
        site.valkey.terminate()
        assert (await one.say("without")).is_ack
        await one.sees("without")
        await two.sees("without")
        site.start_valkey(port)

        async def fast() -> bool:
            """Whether a comment crosses in less time than the poll would take."""
            body = f"again {uuid.uuid4()}"
            assert (await one.say(body)).is_ack
            started = time.monotonic()
            await two.sees(body)
            return time.monotonic() - started < 0.25

        deadline = time.monotonic() + 30
        while not await fast():
            assert time.monotonic() < deadline, "the doorbell stays silent"
        head = site.call(world.stream_of, slug)["head"]
        await one.reaches(head)
        await two.reaches(head)
    assert same_as_database(here.page, site, slug)
    assert same_as_database(there.page, site, slug)


# --- The room -----------------------------------------------------------------------------------


async def until(socket: Socket, condition: Callable[[], object], what: str) -> None:
    await socket.until(condition, what)


async def test_open_pages_follow_the_room_and_its_video(site: Site) -> None:
    slug = site.video()
    person = Person(site).open(slug)
    page = person.page
    async with person.socket(slug) as socket:
        await until(socket, lambda: page.room == "open", "an open room")
        site.call(world.set_stream, slug, accepting=False)
        await until(socket, lambda: page.room == "closed", "a closed room")
        site.call(world.set_stream, slug, accepting=True)
        await until(socket, lambda: page.room == "open", "an open room again")
        site.call(world.set_state, slug, "ended")
        await until(socket, lambda: page.room == "ended", "an ended video")


async def test_pages_are_told_how_many_watch_over_all_processes(site: Site) -> None:
    slug = site.video()
    people = [Person(site, server=n % len(site.servers)).open(slug) for n in range(3)]
    page = people[0].page
    async with people[0].socket(slug) as socket:
        async with people[1].socket(slug), people[2].socket(slug):
            await until(socket, lambda: page.watching == 3, "three viewers")
        await until(socket, lambda: page.watching == 1, "one viewer")


async def test_a_deleted_video_closes_its_pages_for_good(site: Site) -> None:
    slug = site.video()
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        await until(socket, lambda: person.page.room, "the room")
        site.call(delete_video, slug)
        assert await socket.closed() == 4404


async def test_a_video_that_is_made_again_under_its_slug_is_watched_at_once(site: Site) -> None:
    slug = site.video()
    before = Person(site).open(slug)
    async with before.socket(slug) as socket:
        await until(socket, lambda: before.page.room, "the room")
        site.call(make_again, slug)
        code = await socket.closed()
    after = Person(site).open(slug)
    async with after.socket(slug) as socket, before.socket(slug) as back:
        assert (await socket.say("the new one")).is_ack
        await socket.sees("the new one")
        await back.sees("the new one")
    assert code == 1013, "the page comes back by itself, to the new one"


def make_again(slug: str) -> None:
    delete_video(slug)
    world.make_video(slug)


# --- Ending -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_costs_no_page_a_comment(make_site: MakeSite, by: int) -> None:
    site = make_site(RATE_VIEWER="off")
    slug = site.video()
    person, other = Person(site).open(slug), Person(site).open(slug)
    key = str(uuid.uuid4())
    async with person.socket(slug) as socket, other.socket(slug) as reading:
        assert (await socket.say("before", key=key)).is_ack
        await socket.sees("before")
        await reading.sees("before")
        site.servers[0].process.send_signal(by)
        for ending in (socket, reading):
            assert await ending.closed() == (1012 if by == signal.SIGTERM else 1006)
    code = site.servers[0].process.wait(15)
    assert code == (0 if by == signal.SIGTERM else -signal.SIGKILL)
    site.call(say, slug, 2)
    site.restart(0)
    async with person.socket(slug) as socket, other.socket(slug) as reading:
        again = await socket.say("before", key=key)  # sent again: the answer might have been lost
        assert (again.is_ack, again.number) == (True, 1)
        await socket.reaches(3)
        await reading.reaches(3)
    for page in (person.page, other.page):
        assert page.resets == 0
        assert same_as_database(page, site, slug)
    assert not site.tracebacks
