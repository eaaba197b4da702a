"""The main safeguards, switched off one by one: the check that guards each must then fail."""

import itertools
import uuid
from contextlib import suppress

import pytest
from django.db import IntegrityError
from django.db.models import F
from django.db.models.functions import Greatest
from pytest_django.fixtures import Settings

from comments import services
from comments import stream as comment_stream
from comments.errors import Refused
from comments.identity import Actor
from comments.models import Comment, Stream
from comments.services import posting
from tests import test_commit_order, test_hub, test_text
from tests.client import Person
from tests.conftest import MakeSite
from tests.hostile import TEXTS
from tests.servers import Site
from tests.test_origin import handshake


def test_without_the_key_a_retry_posts_twice(
    stream: Stream, anon: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(uuid.uuid4())

    def retry() -> int:
        services.post(anon, stream.pk, "once", key)
        services.post(anon, stream.pk, "once", key)
        return Comment.objects.count()

    assert retry() == 1
    monkeypatch.setattr(posting, "parse_key", lambda key: uuid.uuid4())
    assert retry() == 3


def test_the_database_itself_holds_the_key_unique(stream: Stream, anon: Actor) -> None:
    comment = services.post(anon, stream.pk, "once", str(uuid.uuid4()))
    comment.pk, comment.number, comment.change = None, 2, 2
    with pytest.raises(IntegrityError):
        comment.save(force_insert=True)


def test_without_the_limit_a_flood_comes_through(
    stream: Stream, anon: Actor, settings: Settings
) -> None:
    def flood() -> int:
        posted = 0
        for _ in range(8):
            try:
                services.post(anon, stream.pk, "again", str(uuid.uuid4()))
                posted += 1
            except Refused:
                pass
        return posted

    assert flood() == 5
    settings.RATE_VIEWER = None
    assert flood() == 8


def test_without_escaping_hostile_texts_become_elements(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the template, for texts with links; and of the words put into its form, for all others."""

    def broken() -> int:
        found = 0
        for text in TEXTS:
            try:
                test_text.must_show(test_text.shown(text), text, "Somebody")
            except (AssertionError, KeyError, ValueError):
                found += 1
        return found

    assert broken() == 0
    (engine,) = settings.TEMPLATES
    options = engine["OPTIONS"] | {"autoescape": False}
    with monkeypatch.context() as off:
        settings.TEMPLATES = [engine | {"OPTIONS": options}]
        assert broken() > 0
        settings.TEMPLATES = [engine]
        off.setattr(comment_stream, "escape", str)
        assert broken() > 100
    assert broken() == 0


def test_without_the_row_lock_a_reader_misses_who_commits_late(postgres_site: Site) -> None:
    site = postgres_site
    assert site.call(test_commit_order.overtaken, site.video()) == [1, 2]
    assert site.call(without_the_lock, site.video()) == [2]


def without_the_lock(slug: str) -> list[int]:
    """The scenario of test_commit_order with numbers that are taken before the row is locked."""
    numbers = itertools.count(1)

    def advance(self: Stream, by: int = 1) -> int:
        assert by == 1
        number = next(numbers)
        if number > 1:  # the first one is late with it, as a sequence would allow
            Stream.objects.filter(pk=self.pk).update(head=Greatest(F("head"), number))
        return number

    real = Stream.advance
    Stream.advance = advance  # type: ignore[method-assign]
    try:
        return test_commit_order.overtaken(slug)
    finally:
        Stream.advance = real  # type: ignore[method-assign]


# --- On a running site --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare_site(make_site_for_module: MakeSite) -> Site:
    """A site without origin check, safety poll and supersession in its ring."""
    command = ("-m", "tests.without", "origin,poll,superseded", "--bind", "{bind}")
    return make_site_for_module(command=command)


def test_without_the_origin_check_a_foreign_page_gets_a_socket(
    bare_site: Site, sqlite_site: Site
) -> None:
    for site, status in ((sqlite_site, 403), (bare_site, 101)):
        assert handshake(site, site.video(), ("Origin", "http://example.com")) == status


async def test_without_the_safety_poll_what_was_not_announced_never_comes(
    bare_site: Site, sqlite_site: Site
) -> None:
    for site, comes in ((sqlite_site, True), (bare_site, False)):
        slug = site.video()
        person = Person(site).open(slug)
        async with person.socket(slug) as socket:
            await socket.until(lambda page=person.page: page.room, "the room")  # type: ignore[misc]
            site.call(test_hub.say, slug, 1)
            try:
                await socket.sees("line 0", seconds=4.5)
                came = True
            except AssertionError:
                came = False
        assert came is comes


async def test_without_supersession_a_removed_text_is_sent_to_who_comes_back(
    bare_site: Site, sqlite_site: Site
) -> None:
    for site, leaks in ((sqlite_site, False), (bare_site, True)):
        slug = site.video()
        away, author = Person(site).open(slug), Person(site).open(slug)
        async with author.socket(slug) as socket:
            number = (await socket.say("regrettable")).number
            await socket.sees("regrettable")
            assert (await socket.ask("remove", number=number)).is_ack
            await socket.reaches(2)
            frames: list[str] = []
            # Where it leaks, the model of the page notices: one comment is twice in one frame.
            with suppress(AssertionError):
                async with away.socket(slug) as coming_back:
                    frames = coming_back.frames
                    await coming_back.reaches(2)
            assert frames
            assert ("regrettable" in "".join(frames)) is leaks
