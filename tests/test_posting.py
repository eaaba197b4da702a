"""Posting, through the service: what is stored, numbered and refused."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.models import F
from django.utils import timezone
from pytest_django.fixtures import Settings

from comments import services
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Comment, Stream, Viewer
from streamsite.env import Rate
from tests import world
from tests.client import Person
from tests.servers import Site
from videos.models import Video


def post(actor: Actor, stream: Stream, body: object = "hello", key: object = None) -> Comment:
    return services.post(actor, stream.pk, body, key or str(uuid.uuid4()))


def refusal_of(actor: Actor, stream: Stream, body: object = "hello", key: object = None) -> Refused:
    before = list(Comment.objects.order_by("pk").values_list()), head_of(stream)
    with pytest.raises(Refused) as refused:
        post(actor, stream, body, key)
    assert (list(Comment.objects.order_by("pk").values_list()), head_of(stream)) == before
    return refused.value


def head_of(stream: Stream) -> int:
    return Stream.objects.values_list("head", flat=True).get(pk=stream.pk)


def test_a_comment_takes_the_next_number_as_its_place_and_its_change(
    stream: Stream, anon: Actor
) -> None:
    first, second = post(anon, stream), post(anon, stream)
    assert [(c.number, c.change) for c in (first, second)] == [(1, 1), (2, 2)]
    assert head_of(stream) == 2


def test_a_comment_keeps_the_name_that_its_author_had(stream: Stream, anon: Actor) -> None:
    first = post(anon, stream)
    services.rename(anon, "New Name")
    second = post(anon, stream)
    first.refresh_from_db()
    assert (first.author_name, second.author_name) == ("Anon", "New Name")
    assert first.author == second.author


def test_an_account_comments_under_its_own_name(stream: Stream, alice: Actor) -> None:
    assert post(alice, stream).author_name == "alice"
    User.objects.filter(username="alice").update(first_name="Alice", last_name="Liddell")
    assert post(alice, stream).author_name == "Alice Liddell"


def test_badges_are_for_staff_and_the_moderators_of_this_video(
    stream: Stream, anon: Actor, alice: Actor, mona: Actor, max: Actor, root: Actor
) -> None:
    badges = [post(actor, stream).badge for actor in (anon, alice, max, mona, root)]
    assert badges == ["", "", "", "mod", "staff"]


def test_a_key_counts_in_every_way_to_write_it(stream: Stream, anon: Actor) -> None:
    key = uuid.uuid4()
    first = post(anon, stream, key=str(key))
    assert post(anon, stream, "other", key=str(key).upper()).pk == first.pk
    assert post(anon, stream, "other", key=key.hex).pk == first.pk


@pytest.mark.parametrize("key", ["", None, 7, ["a"], {}, "x" * 36, "1" * 37, "\ud800" * 36])
def test_what_is_no_key_is_malformed(stream: Stream, anon: Actor, key: object) -> None:
    with pytest.raises(Refused) as refused:
        services.post(anon, stream.pk, "hello", key)
    assert refused.value.code == Code.MALFORMED


@pytest.mark.parametrize("body", [None, 7, ["a"], {"a": 1}, True, b"bytes"])
def test_what_is_no_text_is_malformed(stream: Stream, anon: Actor, body: object) -> None:
    assert refusal_of(anon, stream, body).code == Code.MALFORMED


def test_the_same_key_on_another_video_is_another_comment(stream: Stream, anon: Actor) -> None:
    other = Stream.objects.get(video=Video.objects.create(slug="b", title="B", state="live"))
    key = str(uuid.uuid4())
    assert post(anon, stream, key=key).pk != post(anon, other, key=key).pk


def test_a_viewer_may_go_on_as_soon_as_the_refusal_says(stream: Stream, anon: Actor) -> None:
    for _ in range(5):
        post(anon, stream)
    refusal = refusal_of(anon, stream)
    assert refusal.code == Code.TOO_FAST
    assert refusal.retry_after in range(1, 11)
    assert refusal.retry_after is not None
    wait = timedelta(seconds=refusal.retry_after)
    for comment in Comment.objects.all():  # as if it were that much later
        Comment.objects.filter(pk=comment.pk).update(posted_at=comment.posted_at - wait)
    post(anon, stream)


def test_the_limit_slides_with_time_and_has_no_edges(stream: Stream, anon: Actor) -> None:
    for seconds in (9, 9, 9, 1, 1):
        comment = post(anon, stream)
        moment = timezone.now() - timedelta(seconds=seconds)
        Comment.objects.filter(pk=comment.pk).update(posted_at=moment)
    assert refusal_of(anon, stream).retry_after == 1
    Comment.objects.filter(number=1).update(posted_at=timezone.now() - timedelta(seconds=10.1))
    post(anon, stream)
    assert refusal_of(anon, stream).code == Code.TOO_FAST


def test_a_refused_comment_does_not_count(stream: Stream, anon: Actor) -> None:
    for _ in range(9):
        refusal_of(anon, stream, "x" * 501)
    post(anon, stream)


def test_removed_comments_still_count(stream: Stream, anon: Actor, mona: Actor) -> None:
    for _ in range(5):
        services.remove(mona, stream.pk, post(anon, stream).number)
    with pytest.raises(Refused) as refused:
        post(anon, stream)
    assert refused.value.code == Code.TOO_FAST


def test_limits_can_be_off(stream: Stream, anon: Actor, settings: Settings) -> None:
    settings.RATE_VIEWER = settings.RATE_ADDRESS = None
    for _ in range(40):
        post(anon, stream)
    assert head_of(stream) == 40


def test_an_address_is_counted_over_all_its_viewers(
    stream: Stream, people: None, settings: Settings
) -> None:
    settings.RATE_ADDRESS = Rate(3, 60)
    for _ in range(3):
        post(Actor(Viewer.objects.create(), address="here"), stream)
    assert refusal_of(Actor(Viewer.objects.create(), address="here"), stream).retry_after == 60
    post(Actor(Viewer.objects.create(), address="there"), stream)
    post(Actor(Viewer.objects.create(), address=""), stream)  # none is known: none is counted


def test_an_upcoming_video_takes_comments_and_an_ended_one_does_not(
    stream: Stream, anon: Actor
) -> None:
    stream.video.state = Video.State.UPCOMING
    stream.video.save()
    post(anon, stream)
    stream.video.state = Video.State.ENDED
    stream.video.save()
    assert refusal_of(anon, stream).code == Code.CLOSED


def test_a_video_that_is_gone_is_not_found(stream: Stream, anon: Actor) -> None:
    stream.video.delete()
    with pytest.raises(Refused) as refused:
        post(anon, stream)
    assert refused.value.code == Code.NOT_FOUND


def test_nobody_posts_without_a_viewer(stream: Stream) -> None:
    assert refusal_of(Actor(None), stream).code == Code.SIGN_IN_REQUIRED


def test_a_busy_database_is_a_refusal_to_try_again(
    stream: Stream, anon: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(self: Stream, by: int = 1) -> int:
        raise OperationalError("canceling statement due to lock timeout")

    monkeypatch.setattr(Stream, "advance", busy)
    refusal = refusal_of(anon, stream)
    assert refusal.code == Code.TRY_AGAIN
    assert refusal.retry_after == 2


def test_no_address_is_stored_in_the_clear(stream: Stream, anon: Actor) -> None:
    from comments.limits import address_of

    address = address_of({}, "192.0.2.7")
    assert "192" not in address
    assert address == address_of({}, "::ffff:192.0.2.7")
    assert address_of({}, "2001:db8::1") == address_of({}, "2001:db8::ffff:1")
    assert address_of({}, "2001:db8::1") != address_of({}, "2001:db8:0:1::1")
    assert address_of({}, "not an address") == ""


@pytest.mark.parametrize(
    ("hops", "forwarded", "address"),
    [
        (0, "1.1.1.1", "9.9.9.9"),
        (1, "", "9.9.9.9"),
        (1, "1.1.1.1", "1.1.1.1"),
        (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        (2, "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
        (2, "1.1.1.1", "9.9.9.9"),
        (1, "203.0.113.9:51234", "203.0.113.9"),
        (1, "[2001:db8::1]:443", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, "unknown", "9.9.9.9"),
        (1, "1.1.1.1, _hidden:80", "9.9.9.9"),
    ],
)
def test_addresses_are_taken_from_behind_the_trusted_proxies_only(
    settings: Settings, hops: int, forwarded: str, address: str
) -> None:
    from comments.limits import client_address

    settings.TRUSTED_PROXIES = hops
    assert str(client_address("9.9.9.9", forwarded)) == address


def test_behind_a_proxy_an_address_that_cannot_be_read_is_no_way_around_the_limits(
    settings: Settings,
) -> None:
    from comments.limits import address_of

    settings.TRUSTED_PROXIES = 1
    assert address_of({"x-forwarded-for": "unknown"}, "") != ""


def test_going_back_and_sending_another_text_posts_it_and_sending_it_again_does_not_double(
    sqlite_site: Site,
) -> None:
    """The browser's "back" brings the form with its old key: the text decides what it is."""
    person = Person(sqlite_site).open(slug := sqlite_site.video())
    key = str(uuid.uuid4())
    for body in ("first", "first", "typed after back", "typed after back", "first"):
        assert person.say(slug, body, key).status == 303
    bodies = [comment["body"] for comment in sqlite_site.call(world.comments_of, slug)]
    assert bodies == ["first", "typed after back"]


def test_a_refused_form_comes_back_with_its_key(sqlite_site: Site) -> None:
    """It may have been stored after all, where the database went away in the commit."""
    person = Person(sqlite_site).open(slug := sqlite_site.video(max_length=5))
    key = str(uuid.uuid4())
    response = person.say(slug, "too long for this", key)
    field = response.html.having("name", "key")
    assert response.status == 400
    assert field is not None
    assert field.attributes["value"] == key


def test_a_name_given_with_the_form_renames_first(site: Site) -> None:
    person = Person(site).open(slug := site.video())
    assert person.say(slug, "hello", name="Given").status == 303
    assert [(row.name, row.body) for row in person.open(slug).page.shown] == [("Given", "hello")]


def test_a_bad_name_given_with_the_form_posts_nothing(site: Site) -> None:
    person = Person(site).open(slug := site.video())
    assert person.say(slug, "hello", name="alice").status == 403
    assert not person.open(slug).page.shown


async def test_a_clock_that_was_set_back_silences_nobody(site: Site) -> None:
    """What was written before lies in the future then, and would count until it is reached."""
    person = Person(site).open(slug := site.video())
    async with person.socket(slug) as socket:
        assert (await socket.ask("rename", name="Somebody")).is_ack
        for _ in range(5):
            assert (await socket.say("before")).is_ack
        assert (await socket.say("too many")).code == "too_fast"
        site.call(set_clock_back, slug, person.me, 300)
        assert (await socket.ask("rename", name="Somebody Else")).is_ack
        for _ in range(5):
            assert (await socket.say("after")).is_ack
        assert (await socket.say("too many")).code == "too_fast"


def set_clock_back(slug: str, handle: str, seconds: int) -> None:
    """As a clock that is set back leaves what is dated: ahead of it."""
    ahead = timedelta(seconds=seconds)
    Comment.objects.filter(stream__video__slug=slug).update(posted_at=F("posted_at") + ahead)
    Viewer.objects.filter(handle=handle).update(renamed_at=F("renamed_at") + ahead)
