"""Who is who: a viewer per session, claimed by an account, and a session key that nobody sees."""

import uuid
from copy import deepcopy

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType

from comments.identity import Actor, entries
from comments.models import MODERATE, Stream
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
