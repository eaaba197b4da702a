"""Who is who: a viewer per session, claimed by an account, and a session key that nobody sees."""

import re
import uuid
from copy import deepcopy
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from comments import limits
from comments.identity import Actor, actors_of_sessions, entries
from comments.models import MODERATE, Comment, Stream, Viewer
from streamsite.env import Rate
from tests import world
from tests.client import ClosedError, Person, Socket
from tests.servers import Site


@pytest.fixture
def slug(site: Site) -> str:
    return site.video()


@pytest.fixture
def account(site: Site) -> str:
    """A new account, so that what it claims is this test's own."""
    name = f"user-{site.video()}"
    site.call(world.make_account, name)
    return name


def test_a_session_has_one_viewer_on_every_page(site: Site, slug: str) -> None:
    person = Person(site).open(slug)
    me = person.me
    assert person.open(slug).me == me
    assert person.open(site.video()).me == me
    assert Person(site).open(slug).me != me


async def test_every_tab_and_door_of_a_session_is_the_same_viewer(site: Site, slug: str) -> None:
    person = Person(site).open(slug)
    person.say(slug, "by form")
    page = deepcopy(person.page)
    async with person.socket(slug) as one, person.socket(slug, page=page) as two:
        await one.say("by socket")
        await two.say("by another socket")
        await one.reaches(3)
    assert {row.author for row in person.page.shown} == {person.me}


def test_an_unknown_session_cookie_becomes_a_session_of_our_own_making(
    site: Site, slug: str
) -> None:
    person = Person(site)
    person.cookies["sessionid"] = "chosen-by-an-attacker-0000000000"
    person.open(slug)
    assert person.session_key != "chosen-by-an-attacker-0000000000"


async def test_a_new_name_is_answered_and_stands_under_what_comes_next(
    site: Site, slug: str
) -> None:
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        await socket.say("before")
        answer = await socket.ask("rename", name="  Ada   Lovelace ")
        assert (answer.is_ack, answer.name) == (True, "Ada Lovelace")
        await socket.say("after")
        await socket.reaches(2)
    first, second = person.page.shown
    assert first.name != "Ada Lovelace"
    assert (second.name, second.author) == ("Ada Lovelace", first.author)


async def test_no_name_of_an_account_can_be_taken(site: Site, slug: str) -> None:
    site.call(
        world.make_account,
        f"mary-{slug}",
        password=False,
        first_name="Mary Ann",
        last_name="de la Cruz",
    )
    site.call(world.make_account, f"Zoë-{slug}", password=False)
    for name in (
        "root", "Root", " ROOT ", f"mary-{slug}", f"MARY-{slug}", f"Zoë-{slug}",
        f"Zoe\u0308-{slug}", "Mary Ann de la Cruz", "mary ann DE LA cruz", "ro\u200bot",
        "ｒｏｏｔ", "r.o.o.t",
    ):  # fmt: skip
        async with Person(site).open(slug).socket(slug) as socket:  # one try each: they count
            answer = await socket.ask("rename", name=name)
            assert answer.code == "not_allowed", name


async def test_who_tries_names_one_after_another_is_held_up_at_the_second(
    site: Site, slug: str
) -> None:
    async with Person(site).open(slug).socket(slug) as socket:
        assert (await socket.ask("rename", name="root")).code == "not_allowed"
        assert (await socket.ask("rename", name="mona")).code == "too_fast"


def test_one_address_tries_so_many_names_however_many_viewers_it_is(
    stream: Stream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_renames", limits.Tally())
    settings.RATE_ADDRESS = Rate(3, 60)

    def answer_to(name: str, address: str) -> int:
        url = f"/videos/{stream.video.slug}/comments/"
        person = Client(REMOTE_ADDR=address)  # somebody new, without a cookie
        return person.post(url, {"action": "rename", "name": name}).status_code

    names = ["alice", "Nobody", "mona", "Somebody"]
    assert [answer_to(name, "192.0.2.7") for name in names] == [403, 303, 403, 429]
    assert answer_to("Somebody", "192.0.2.8") == 303, "another address goes on"


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"  # of seven code points
GROWS = "\u0390"  # without case it is three


async def test_a_name_has_room_where_it_is_kept_or_is_refused_with_a_sentence(
    site: Site, slug: str
) -> None:
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        refused = await socket.ask("rename", name=FAMILY * 20)
        assert (refused.code, "too long" in refused.sentence) == ("too_long", True)
        assert (await socket.ask("rename", name=FAMILY * 17)).is_ack
    assert "too long" in Person(site).sign_up(GROWS * 121).text
    assert Person(site).sign_up(GROWS * 110).status == 302
    site.call(
        world.make_account,
        f"long-{slug}",
        password=False,
        first_name="A" * 150,
        last_name=GROWS * 150,
    )
    person.signed_in(f"long-{slug}").open(slug)
    async with person.socket(slug) as socket:
        assert (await socket.say("under a long name")).is_ack
        assert (await socket.ask("remove", number=1)).is_ack
    (row,) = site.call(world.comments_of, slug, staff=True)
    assert row["name"] == row["removed_by"] == f"{'A' * 150} {GROWS * 49}"


def test_what_would_be_refused_as_a_name_is_no_accounts_either(site: Site, slug: str) -> None:
    person = Person(site).open(slug)
    for name in ("r\u043e\u043et", "\u0430lice"):  # Cyrillic between Latin
        sentence = "Write your name in the letters of one script."
        assert sentence in person.sign_up(name).text
        person.open(slug)
        assert sentence in person.act(slug, "rename", name=name).text


def test_a_comment_that_is_refused_leaves_the_name_as_it_was(site: Site, slug: str) -> None:
    person = Person(site).open(slug)
    name = site.call(world.viewer_of, person.me)["name"]
    assert person.say(slug, "x" * 600, name="Ada Lovelace").status == 400
    assert site.call(world.viewer_of, person.me)["name"] == name
    assert person.say(slug, "not as alice", name="alice").status == 403
    assert site.call(world.comments_of, slug) == []
    person = Person(site).open(slug)
    assert person.say(slug, " ", name="Ada Lovelace").status == 400
    # Nor did it count as a try of a name: mended, it is taken at once.
    assert person.say(slug, "mended", name="Ada Lovelace").status == 303
    assert [row["name"] for row in site.call(world.comments_of, slug)] == ["Ada Lovelace"]


def test_nobody_signs_up_under_what_looks_like_a_moderators_name(site: Site) -> None:
    for name in ("mona.", "Mo-na", "R.O.O.T"):
        answer = Person(site).sign_up(name)
        assert answer.status == 200, name
        assert "belongs to an account" in answer.text, name


async def test_a_page_that_shows_somebody_else_does_nothing_in_the_new_name(
    site: Site, slug: str, account: str
) -> None:
    """Signed out in another tab: the text is not published by whom the browser is now, nor is the
    post doubled whose answer was lost."""
    person = Person(site).sign_in(account).open(slug)
    shown, key = person.shown_as, str(uuid.uuid4())
    async with person.socket(slug) as socket:
        assert (await socket.say("only once", key=key, **{"as": shown})).is_ack
    person.sign_out()
    person.open(slug)
    async with person.socket(slug) as socket:
        again = await socket.say("only once", key=key, **{"as": shown})
        assert (again.code, again.number) == ("sign_in_required", None)
        assert (await socket.say("as account", **{"as": shown})).code == "sign_in_required"
        assert (await socket.ask("rename", name="New", **{"as": shown})).code == "sign_in_required"
        assert (await socket.say("as myself", **{"as": person.shown_as})).is_ack
    assert [row.body for row in person.open(slug).page.shown] == ["only once", "as myself"]


def test_the_plain_form_of_somebody_else_neither_posts_nor_renames(site: Site, slug: str) -> None:
    person = Person(site).open(slug)
    shown = person.shown_as
    person.cookies.clear()
    before = person.open(slug).me
    refused = person.say(slug, "not mine", name="Not Me", **{"as": shown})
    assert refused.status == 403
    assert "somebody else in this browser" in refused.text
    assert site.call(world.viewer_of, before)["name"] != "Not Me"
    assert not person.open(slug).page.shown


def test_who_asks_for_the_head_alone_becomes_nobody(site: Site, slug: str) -> None:
    person = Person(site)
    answer = person.request("HEAD", f"/videos/{slug}/", None)
    assert (answer.status, person.cookies.get("sessionid")) == (200, None)


async def test_a_page_from_before_the_sign_in_says_nothing_under_the_account(
    site: Site, slug: str, account: str
) -> None:
    person = Person(site).open(slug)
    shown, key = person.shown_as, str(uuid.uuid4())
    async with person.socket(slug) as socket:
        assert (await socket.say("before", key=key, **{"as": shown})).is_ack
    person.sign_in(account).open(slug)
    async with person.socket(slug) as socket:
        assert (await socket.say("before", key=key, **{"as": shown})).is_ack, "it stands already"
        assert (await socket.say("anonymous?", **{"as": shown})).code == "sign_in_required"
    assert [row.body for row in person.open(slug).page.shown] == ["before"]


async def test_the_account_claims_at_sign_in_what_was_written_before(
    site: Site, slug: str, account: str
) -> None:
    person = Person(site).open(slug)
    before = person.me
    person.say(slug, "still anonymous")
    person.sign_in(account).open(slug)
    assert person.me == before
    assert site.call(world.viewer_of, before)["account"] == account
    async with person.socket(slug) as socket:
        assert (await socket.say("signed in")).is_ack
        await socket.sees("signed in")
        assert (await socket.ask("remove", number=1)).is_ack, "it is still their own"
    assert person.page.shown[-1].name == account


def handles(person: Person, slug: str) -> list[str]:
    """Those that the page takes for its reader's own."""
    panel = person.get(f"/videos/{slug}/").html.having("data-mine")
    assert panel is not None
    return panel.attributes["data-mine"].split()


async def test_what_was_written_before_signing_in_is_ones_own_also_where_the_account_is_older(
    site: Site, slug: str, account: str
) -> None:
    home, work = Person(site).signed_in(account).open(slug), Person(site).open(slug)
    anonymous = work.me
    for text in ("first", "second", "third", "fourth"):
        assert work.say(slug, text).status == 303
    work.sign_in(account).open(slug)
    assert work.me == home.me != anonymous
    assert set(handles(work, slug)) == set(handles(home, slug)) == {home.me, anonymous}
    async with work.socket(slug) as at_work, home.socket(slug) as at_home:
        assert (await at_work.ask("remove", number=1)).is_ack
        assert (await at_home.ask("remove", number=2)).is_ack
    work.sign_out()
    work.open(slug)
    assert handles(work, slug) == [work.me]
    async with work.socket(slug) as socket:
        assert (await socket.ask("remove", number=3)).code == "not_allowed", "who signed out"
        site.call(world.delete_account, account)
        assert (await socket.ask("remove", number=3)).code == "not_allowed", "nobody's now"
    home.open(slug)
    async with home.socket(slug) as socket:
        assert (await socket.ask("remove", number=4)).code == "not_allowed", "nor who had it"
    left = [row["body"] for row in site.call(world.comments_of, slug)]
    assert left == ["third", "fourth"]


def test_of_an_account_with_very_many_viewers_a_page_is_told_the_latest(stream: Stream) -> None:
    user, now = User.objects.get(username="alice"), timezone.now()
    viewers = [
        Viewer.objects.create(user=user, claimed_at=now + timedelta(seconds=n)) for n in range(60)
    ]
    client = Client()
    client.force_login(user)
    page = client.get(f"/videos/{stream.video.slug}/").content.decode()
    found = re.search(r'data-mine="([^"]*)"', page)
    assert found is not None
    told = [viewer.handle for viewer in (viewers[0], *viewers[:-50:-1])]
    assert found[1].split() == told


def test_many_sessions_are_found_in_as_many_queries_as_one(
    stream: Stream, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    names = ("alice", "mona", "max")
    keys = [world.session_of(name) for name in names]  # which hold no viewer: there was none
    for name in names:
        user = User.objects.get(username=name)
        Viewer.objects.create(user=user, claimed_at=timezone.now())
    (anonymous,) = world.make_sessions(1)  # which holds one
    for sent in (keys[:1], keys):
        with django_assert_num_queries(4):
            actors = actors_of_sessions([(key, "") for key in (*sent, anonymous)])
            found = [actor.viewer.display_name for actor in actors if actor.viewer]
        assert found[:-1] == list(names[: len(sent)])


def test_one_address_makes_so_many_viewers_a_minute_and_who_comes_then_reads_along(
    stream: Stream, anon: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_newcomers", limits.Tally())
    settings.SOCKETS_PER_ADDRESS = 2
    url, here = f"/videos/{stream.video.slug}/", "192.0.2.9"
    first = Client(REMOTE_ADDR=here)
    first.post(f"{url}comments/", {"body": "to be read", "key": str(uuid.uuid4())})
    before = Viewer.objects.count(), Session.objects.count()
    second, late = Client(REMOTE_ADDR=here), Client(REMOTE_ADDR=here)
    pages = [who.get(url).content.decode() for who in (first, second, second, late)]
    assert ["have just come from your network" in page for page in pages] == [False] * 3 + [True]
    assert all("to be read" in page for page in pages)
    assert (Viewer.objects.count(), Session.objects.count()) == (before[0] + 1, before[1] + 1)
    refused = late.post(f"{url}comments/", {"body": "late", "key": str(uuid.uuid4())})
    assert (refused.status_code, "has no session" in refused.content.decode()) == (403, True)
    assert Comment.objects.count() == 1
    late.force_login(User.objects.get(username="alice"))
    assert "alice" in late.get(url).content.decode(), "an account is let in"
    assert Client(REMOTE_ADDR="192.0.2.10").get(url).cookies.get("sessionid"), "another address"


def test_who_reads_back_with_a_made_up_session_becomes_nobody(site: Site, slug: str) -> None:
    person = Person(site)
    person.cookies["sessionid"] = "a" * 32
    assert person.get(f"/videos/{slug}/comments/").status == 200
    assert person.session_key == ""


def test_signing_in_changes_the_session_key(site: Site, slug: str, account: str) -> None:
    person = Person(site).open(slug)
    before = person.session_key
    person.sign_in(account)
    assert person.session_key not in {"", before}


def test_the_account_keeps_its_viewer_at_sign_out_and_the_browser_is_somebody_new(
    site: Site, slug: str, account: str
) -> None:
    person = Person(site).open(slug)
    before = person.me
    person.sign_in(account)
    person.sign_out()
    assert person.open(slug).me != before
    assert site.call(world.viewer_of, before)["account"] == account
    assert person.sign_in(account).open(slug).me == before


def test_an_account_is_the_same_viewer_in_every_browser(
    site: Site, slug: str, account: str
) -> None:
    older, newer = Person(site).open(slug), Person(site).open(slug)
    newer.sign_in(account).open(slug)
    older.sign_in(account).open(slug)
    assert older.me == newer.open(slug).me


def test_one_account_never_claims_anothers_viewer(site: Site, slug: str, account: str) -> None:
    person = Person(site).open(slug).sign_in("alice").open(slug)
    hers = person.me
    person.sign_out()
    person.sign_in(account).open(slug)
    assert person.me != hers
    assert site.call(world.viewer_of, hers)["account"] == "alice"


async def test_the_session_key_is_in_no_page_and_no_frame(site: Site, slug: str) -> None:
    person, reader = Person(site).open(slug), Person(site).open(slug)
    async with person.socket(slug) as socket, reader.socket(slug) as other:
        await socket.say("hello")
        await socket.ask("rename", name="Somebody")
        await socket.ask("remove", number=99)
        await other.sees("hello")
        seen = [*socket.frames, *other.frames]
    for path in (f"/videos/{slug}/", f"/videos/{slug}/comments/", "/", "/accounts/login/"):
        response = person.get(path)
        seen += [response.text, *(v for k, v in response.headers.items() if k != "set-cookie")]
    seen.append(person.say(slug, "").text)
    assert person.session_key
    for text in seen:
        assert person.session_key not in text
        assert reader.session_key not in text


async def test_the_next_action_of_a_signed_out_session_is_refused(
    site: Site, slug: str, account: str
) -> None:
    person = Person(site).sign_in(account).open(slug)
    async with person.socket(slug) as socket:
        assert (await socket.say("signed in")).is_ack
        person.sign_out()
        assert await code_of(socket, "post", body="signed out") == "sign_in_required"
    assert [c["body"] for c in site.call(world.comments_of, slug)] == ["signed in"]


async def test_what_an_account_may_is_looked_up_at_every_action(
    site: Site, slug: str, account: str
) -> None:
    Person(site).open(slug).say(slug, "hello")
    person = Person(site).sign_in(account).open(slug)
    async with person.socket(slug) as socket:
        assert (await socket.ask("remove", number=1)).code == "not_allowed"
        site.call(world.set_account, account, is_superuser=True)
        assert (await socket.ask("remove", number=1)).is_ack
        site.call(world.set_account, account, is_active=False)
        assert await code_of(socket, "restore", number=1) == "sign_in_required"
    assert site.call(world.comments_of, slug) == []


async def test_who_lost_their_authority_is_no_longer_shown_what_moderators_see(
    site: Site, slug: str, account: str
) -> None:
    author = Person(site).open(slug)
    site.call(world.set_account, account, is_superuser=True)
    person = Person(site).sign_in(account).open(slug)
    async with author.socket(slug) as writing, person.socket(slug) as socket:
        assert (await writing.say("regrettable")).is_ack
        assert (await socket.ask("remove", number=1)).is_ack
        await socket.until(
            lambda: [row.state for row in person.page.shown] == ["removed"], "the mark"
        )
        site.call(world.set_account, account, is_superuser=False)
        await socket.until(lambda: person.page.bodies == [], "the public's page")
        await socket.until(lambda: not person.page.staff, "no tools of a moderator")
        site.call(world.set_account, account, is_superuser=True)
        await socket.until(lambda: person.page.bodies == ["regrettable"], "the staff's page")
        second = (await writing.say("regrettable too")).number
        assert second is not None
        assert (await socket.ask("remove", number=second)).is_ack
        await socket.reaches(second + 1)
        assert person.page.bodies == ["regrettable", "regrettable too"]
        person.sign_out()
        assert await socket.closed() == 1012
    # What such a page showed goes when it comes back, whoever it is then.
    async with person.socket(slug) as socket:
        await socket.until(lambda: not person.page.staff, "no tools of a moderator")
        assert person.page.bodies == []
        assert "regrettable" not in str(person.page.rows)


def moderating(slug: str, elsewhere: str) -> list[list[str]]:
    """Who of all kinds of accounts moderates a video: asked for all at once, and one by one."""
    app, codename = MODERATE.split(".")
    right = Permission.objects.get(content_type__app_label=app, codename=codename)
    # One that is called the same and is about something else.
    other = Permission.objects.create(
        content_type=ContentType.objects.get_for_model(User), codename=codename, name=slug
    )
    granted, member = Group.objects.create(name=slug), Group.objects.create(name=f"{slug} other")
    granted.permissions.add(right)
    member.permissions.add(other)
    people = {
        name: User.objects.create(username=f"{name}-{slug}", is_active=True)
        for name in ("plain", "super", "own", "group", "here", "elsewhere", "other", "other_group")
    }
    people["super"].is_superuser = True
    people["super"].save()
    people["own"].user_permissions.add(right)
    people["group"].groups.add(member, granted)
    people["other"].user_permissions.add(other)
    people["other_group"].groups.add(member)
    stream = Stream.objects.get(video__slug=slug)
    stream.moderators.add(people["here"])
    Stream.objects.get(video__slug=elsewhere).moderators.add(people["elsewhere"])
    entered = entries(slug, [world.session_of(user.username) for user in people.values()])
    together = {
        name for name, entry in zip(people, entered, strict=True) if entry and entry.moderates
    }
    by_one = {name for name, user in people.items() if Actor(None, user).can_moderate(stream)}
    other.delete()
    return [sorted(together), sorted(by_one)]


def test_a_socket_moderates_where_its_account_does(site: Site, slug: str) -> None:
    found = site.call(moderating, slug, site.video())
    assert found == [["group", "here", "own", "super"]] * 2


async def code_of(socket: Socket, action: str, **fields: object) -> str:
    """The answer's code to somebody whose session has just ended.

    The safety poll closes such a socket (1012, to come back as whoever it is now): it may be first.
    """
    try:
        return (await socket.ask(action, **fields)).code
    except ClosedError:
        assert socket.close_code == 1012
        return "sign_in_required"


def test_cookies_are_closed_to_scripts_and_other_sites(site: Site, slug: str) -> None:
    response = Person(site).get(f"/videos/{slug}/")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
