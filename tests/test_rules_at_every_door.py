"""Each rule, at each door: the right code, nothing changed, and the door still open."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests import world
from tests.client import Person
from tests.page import Row
from tests.servers import Site

STATUS = {
    "": 303,
    "too_fast": 429,
    "too_long": 400,
    "empty": 400,
    "malformed": 400,
    "closed": 409,
    "not_allowed": 403,
    "not_found": 404,
}

FAMILY = "👨‍👩‍👧‍👦"  # one character to a reader, seven code points
BENGALI = "ক্ষি"  # one character, four code points
ACUTE = "e\u0301"  # two code points; one after NFC


@dataclass(frozen=True)
class Outcome:
    """What came of it: the code (empty where it was done) and the comment it was about."""

    code: str
    number: int | None = None
    retry_after: int | None = None


class Door(Protocol):
    """Where one person comes in."""

    async def do(self, slug: str, action: str, **fields: str) -> Outcome: ...


class SocketDoor:
    def __init__(self, person: Person) -> None:
        self.person = person

    async def do(self, slug: str, action: str, **fields: str) -> Outcome:
        async with self.person.open(slug).socket(slug) as socket:
            answer = await socket.ask(action, **fields)
            assert bool(answer.code) == bool(answer.sentence)
            assert await socket.answers_a_ping()
            return Outcome(answer.code, answer.number, answer.retry_after)


class FormDoor:
    def __init__(self, person: Person) -> None:
        self.person = person

    async def do(self, slug: str, action: str, **fields: str) -> Outcome:
        response = self.person.open(slug).act(slug, action, **fields)
        refusal = response.refusal if response.status != 303 else None
        code = refusal.code if refusal else ""
        assert response.status == STATUS[code]
        if refusal is None:
            number = response.headers["location"].partition("#c-")[2]
            return Outcome("", int(number) if number else None)
        assert refusal.sentence
        assert response.headers.get("retry-after", "None") == str(refusal.retry_after)
        if action == "post":
            box = response.html.having("id", "body")
            assert box is not None
            assert box.text == fields["body"], "what was typed is still there"
        return Outcome(code, None, refusal.retry_after)


class CommandDoor:
    def __init__(self, site: Site, account: str) -> None:
        self.site = site
        self.account = account

    async def do(self, slug: str, action: str, **fields: str) -> Outcome:
        words = ["comment", action, f"--as={self.account}"]
        if "key" in fields:
            words.append(f"--key={fields['key']}")
        words += ["--", slug, fields["body"] if action == "post" else fields["number"]]
        exit_code, printed = self.site.command(*words)
        if exit_code == 0:
            number = printed.partition("comment ")[2].split()[0]
            return Outcome("", int(number))
        assert exit_code == 1
        code, colon, sentence = printed.removeprefix("CommandError: ").partition(": ")
        assert colon, printed
        assert sentence.strip()
        return Outcome(code)


class AdminDoor:
    """Bulk actions on the list of comments."""

    def __init__(self, person: Person) -> None:
        self.person = person

    async def do(self, slug: str, action: str, **fields: str) -> Outcome:
        path = "/admin/comments/comment/"
        page = self.person.get(path)
        if page.status != 200:
            return Outcome("not_allowed")
        token = page.html.having("name", "csrfmiddlewaretoken")
        assert token is not None
        self.person.csrf = token.attributes["value"]
        number = int(fields["number"])
        (pk,) = self.person.site.call(world.ids_of, slug, number) or [0]
        chosen = {"action": f"{action}_comments", "_selected_action": str(pk)}
        response = self.person.post(path, chosen)
        told = self.person.get(path).html.of_class("messagelist")
        said = told.text if told else ""
        if response.status == 200 or "No action selected" in said:
            return Outcome("not_allowed")
        return Outcome("" if "1 comment changed" in said else "not_found", number)


type Enter = Callable[..., Door]
POST_DOORS = ["socket", "form", "command"]
MODERATE_DOORS = ["socket", "form", "command", "admin"]
_signed_in: dict[tuple[str, str], Person] = {}  # by site and account: signing in takes a while


def signed_in(site: Site, account: str) -> Person:
    person = _signed_in.get((site.url, account))
    if person is None:
        person = _signed_in[site.url, account] = Person(site).sign_in(account)
    return person


@pytest.fixture
def enter(site: Site) -> Enter:
    """`enter("form")` is a new person at the form; `enter("admin", "root")` is root at admin."""

    def door(name: str, account: str = "", *, address: str = "") -> Door:
        if name == "command":
            if not account:
                account = f"new-{secrets.token_hex(4)}"
                site.call(world.make_account, account, password=False)
            return CommandDoor(site, account)
        server = len(site.servers) - 1
        person = (
            signed_in(site, account)
            if account
            else Person(site, server=server, address=address or None)
        )
        doors: dict[str, Callable[[Person], Door]] = {
            "socket": SocketDoor,
            "form": FormDoor,
            "admin": AdminDoor,
        }
        return doors[name](person)

    return door


async def comment_by(door: Door, slug: str, body: str = "a comment") -> int:
    outcome = await door.do(slug, "post", body=body, key=str(uuid.uuid4()))
    assert outcome.code == ""
    assert outcome.number is not None
    return outcome.number


async def refused(site: Site, door: Door, slug: str, action: str, **fields: str) -> Outcome:
    """Do it, and hold that the database stays as it was."""
    if action == "post":
        fields = {"key": str(uuid.uuid4())} | fields
    before = site.call(world.everything_of, slug)
    outcome = await door.do(slug, action, **fields)
    assert outcome.code, "it was not refused"
    assert site.call(world.everything_of, slug) == before
    return outcome


# --- Posting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POST_DOORS)
@pytest.mark.parametrize("character", [ACUTE, BENGALI, FAMILY])
async def test_five_hundred_characters_as_a_reader_counts_them_are_taken_and_one_more_is_not(
    site: Site, enter: Enter, name: str, character: str
) -> None:
    slug, door = site.video(), enter(name)
    await comment_by(door, slug, character * 500)
    outcome = await refused(site, door, slug, "post", body=character * 501)
    assert outcome.code == "too_long"


@pytest.mark.parametrize("name", POST_DOORS)
async def test_the_video_says_how_long_a_comment_may_be(
    site: Site, enter: Enter, name: str
) -> None:
    slug, door = site.video(max_length=3), enter(name)
    await comment_by(door, slug, FAMILY * 3)
    assert (await refused(site, door, slug, "post", body="four")).code == "too_long"


@pytest.mark.parametrize("name", POST_DOORS)
@pytest.mark.parametrize(
    "body",
    ["", " \t\n ", "\u200b\u2800\u3164"],  # more of them: test_text.py
)
async def test_what_nobody_can_see_is_empty(site: Site, enter: Enter, name: str, body: str) -> None:
    outcome = await refused(site, enter(name), site.video(), "post", body=body)
    assert outcome.code == "empty"


@pytest.mark.parametrize("name", POST_DOORS)
@pytest.mark.parametrize(
    "body",
    ["nul \0", "escape \x1b[31m", "override \u202e"],  # more of them: test_text.py
)
async def test_control_and_bidi_characters_are_malformed(
    site: Site, enter: Enter, name: str, body: str
) -> None:
    outcome = await refused(site, enter(name), site.video(), "post", body=body)
    assert outcome.code == "malformed"


@pytest.mark.parametrize("name", ["socket", "command"])  # no form can hold one
@pytest.mark.parametrize("body", ["\ud800", "half \udc00 a pair"])
async def test_a_lone_surrogate_is_malformed(
    site: Site, enter: Enter, name: str, body: str
) -> None:
    outcome = await refused(site, enter(name), site.video(), "post", body=body)
    assert outcome.code == "malformed"


@pytest.mark.parametrize("name", POST_DOORS)
@pytest.mark.parametrize("key", ["not-a-uuid", "\0"])
async def test_a_key_that_is_not_a_uuid_is_malformed(
    site: Site, enter: Enter, name: str, key: str
) -> None:
    outcome = await refused(site, enter(name), site.video(), "post", body="hello", key=key)
    assert outcome.code == "malformed"


@pytest.mark.parametrize("name", POST_DOORS)
async def test_a_key_repeated_finds_the_comment_that_stands(
    site: Site, enter: Enter, name: str
) -> None:
    slug, door, key = site.video(), enter(name), str(uuid.uuid4())
    first = await door.do(slug, "post", body="once", key=key)
    before = site.call(world.everything_of, slug)
    again = await door.do(slug, "post", body="once", key=key)
    assert (again.code, again.number) == ("", first.number)
    assert site.call(world.everything_of, slug) == before


@pytest.mark.parametrize("name", POST_DOORS)
async def test_a_key_repeated_with_another_text_is_a_comment_of_its_own_at_the_form_alone(
    site: Site, enter: Enter, name: str
) -> None:
    # There the key is the page's, and a browser's "back" brings the same page again.
    slug, door, key = site.video(), enter(name), str(uuid.uuid4())
    first = await door.do(slug, "post", body="once", key=key)
    other = await door.do(slug, "post", body="something else", key=key)
    assert (other.number == first.number) is (name != "form")
    again = await door.do(slug, "post", body="something else", key=key)
    assert again.number == other.number


@pytest.mark.parametrize("name", POST_DOORS)
async def test_a_retry_finds_its_comment_also_past_every_limit(
    site: Site, enter: Enter, name: str
) -> None:
    slug, door, key = site.video(), enter(name), str(uuid.uuid4())
    first = await door.do(slug, "post", body="once", key=key)
    for _ in range(4):
        await comment_by(door, slug)
    site.call(world.set_stream, slug, accepting=False)
    assert (await door.do(slug, "post", body="once", key=key)).number == first.number


@pytest.mark.parametrize("name", POST_DOORS)
async def test_the_key_is_the_authors_own(site: Site, enter: Enter, name: str) -> None:
    slug, key = site.video(), str(uuid.uuid4())
    first = await enter(name).do(slug, "post", body="mine", key=key)
    other = await enter(name).do(slug, "post", body="not yours", key=key)
    assert first.number != other.number


@pytest.mark.parametrize("name", POST_DOORS)
async def test_the_sixth_comment_within_ten_seconds_is_too_fast(
    site: Site, enter: Enter, name: str
) -> None:
    slug, elsewhere, door = site.video(), site.video(), enter(name)
    for number in range(5):
        await comment_by(door, [slug, elsewhere][number % 2])
    outcome = await refused(site, door, slug, "post", body="one more")
    assert outcome.code == "too_fast"
    if name != "command":
        assert outcome.retry_after is not None
        assert 1 <= outcome.retry_after <= 10


@pytest.mark.parametrize("name", ["socket", "form"])  # the command line has no address
async def test_many_viewers_of_one_address_are_too_fast_together(
    site: Site, enter: Enter, name: str
) -> None:
    slug, address = site.video(), f"198.51.100.{secrets.randbelow(250)}"
    elsewhere = enter(name)
    for _ in range(3):
        door = enter(name, address=f"203.0.113.7, {address}")  # only the proxy's entry counts
        for _ in range(4):
            await comment_by(door, slug)
    outcome = await refused(site, enter(name, address=address), slug, "post", body="too many")
    assert outcome.code == "too_fast"
    await comment_by(elsewhere, slug, "another address goes on")


@pytest.mark.parametrize("name", POST_DOORS)
async def test_a_closed_stream_takes_nothing(site: Site, enter: Enter, name: str) -> None:
    door = enter(name)
    slug = site.video(accepting=False)
    assert (await refused(site, door, slug, "post", body="hello")).code == "closed"
    site.call(world.set_stream, slug, accepting=True)
    await comment_by(door, slug)
    site.call(world.set_state, slug, "ended")
    assert (await refused(site, door, slug, "post", body="hello")).code == "closed"


@pytest.mark.parametrize("name", ["socket", "form"])
@pytest.mark.parametrize("action", ["", "__class__"])
async def test_an_unknown_action_is_malformed(
    site: Site, enter: Enter, name: str, action: str
) -> None:
    slug, person = site.video(), Person(site)
    person.open(slug)
    if name == "form":
        response = person.act(slug, action, body="hello", key=str(uuid.uuid4()))
        assert response.status == 400
        assert response.refusal is not None
        assert response.refusal.code == "malformed"
    else:
        outcome = await refused(site, SocketDoor(person), slug, action, body="hello")
        assert outcome.code == "malformed"
    assert site.call(world.comments_of, slug) == []


async def test_a_socket_without_session_may_read_and_not_write(site: Site) -> None:
    slug, stranger = site.video(), Person(site)
    async with stranger.socket(slug, cursor="") as socket:
        answer = await socket.say("hello")
        assert answer.code == "sign_in_required"
        assert await socket.answers_a_ping()
    assert site.call(world.comments_of, slug) == []


def test_a_form_without_its_token_is_refused(site: Site) -> None:
    slug, person = site.video(), Person(site)
    person.open(slug).csrf = "x" * 64
    assert person.say(slug, "hello").status == 403
    assert site.call(world.comments_of, slug) == []


async def test_no_such_video_is_told_at_every_door(site: Site) -> None:
    person = Person(site).open(site.video())
    assert person.say("nowhere", "hello").status == 404
    async with person.socket("nowhere") as socket:
        assert await socket.closed() == 4404
        assert [answer.code for answer in socket.answers] == ["not_found"]
    code, printed = site.command("comment", "post", "nowhere", "hello", "--as=alice")
    assert code == 1
    assert "Traceback" not in printed


# --- Moderation ---------------------------------------------------------------------------------


async def standing(site: Site, enter: Enter) -> tuple[str, int, int]:
    """A video with one comment that stands and one that was removed: slug and numbers."""
    slug, somebody = site.video(), enter("form")
    stands, gone = await comment_by(somebody, slug), await comment_by(somebody, slug)
    assert (await enter("form", "mona").do(slug, "remove", number=str(gone))).code == ""
    return slug, stands, gone


@pytest.mark.parametrize("name", MODERATE_DOORS)
@pytest.mark.parametrize("account", ["mona", "root"])
async def test_a_moderator_removes_and_restores(
    site: Site, enter: Enter, name: str, account: str
) -> None:
    if (name, account) == ("admin", "mona"):
        account = await site_moderator(site)
    slug, stands, gone = await standing(site, enter)
    door = enter(name, account)
    assert (await door.do(slug, "remove", number=str(stands))).code == ""
    assert (await door.do(slug, "restore", number=str(gone))).code == ""
    found = {
        comment["number"]: (comment["state"], comment["removed_by"])
        for comment in site.call(world.comments_of, slug, staff=True)
    }
    assert found == {stands: ("removed", account), gone: ("visible", "")}


async def site_moderator(site: Site) -> str:
    """Staff with the permission to moderate everywhere; made once per site."""
    if (site.url, "marta") not in _signed_in:
        may = ["view_comment", "moderate_comment"]
        site.call(world.make_account, "marta", may=may, is_staff=True)
        signed_in(site, "marta")
    return "marta"


@pytest.mark.parametrize("name", MODERATE_DOORS)
@pytest.mark.parametrize("account", ["alice", "max"])
@pytest.mark.parametrize("verb", ["remove", "restore"])
async def test_who_does_not_moderate_this_video_changes_nothing(
    site: Site, enter: Enter, name: str, account: str, verb: str
) -> None:
    slug, stands, gone = await standing(site, enter)
    number = stands if verb == "remove" else gone
    outcome = await refused(site, enter(name, account), slug, verb, number=str(number))
    assert outcome.code == "not_allowed"


@pytest.mark.parametrize("verb", ["remove", "restore"])
async def test_staff_who_may_only_look_change_nothing_in_admin(
    site: Site, enter: Enter, verb: str
) -> None:
    if (site.url, "lena") not in _signed_in:
        site.call(world.make_account, "lena", may=["view_comment"], is_staff=True)
    slug, stands, gone = await standing(site, enter)
    number = stands if verb == "remove" else gone
    outcome = await refused(site, enter("admin", "lena"), slug, verb, number=str(number))
    assert outcome.code == "not_allowed"


@pytest.mark.parametrize("name", ["socket", "form"])
async def test_somebody_without_account_removes_only_their_own(
    site: Site, enter: Enter, name: str
) -> None:
    slug, somebody, other = site.video(), enter(name), enter(name)
    number = await comment_by(somebody, slug)
    outcome = await refused(site, other, slug, "remove", number=str(number))
    assert outcome.code == "not_allowed"
    assert (await somebody.do(slug, "remove", number=str(number))).code == ""
    outcome = await refused(site, somebody, slug, "restore", number=str(number))
    assert outcome.code == "not_allowed"


@pytest.mark.parametrize("name", ["socket", "form", "command"])
@pytest.mark.parametrize("verb", ["remove", "restore"])
@pytest.mark.parametrize("number", ["999", str(2**63)])
async def test_a_number_that_no_comment_has_is_not_found(
    site: Site, enter: Enter, name: str, verb: str, number: str
) -> None:
    slug, _stands, _gone = await standing(site, enter)
    outcome = await refused(site, enter(name, "mona"), slug, verb, number=number)
    assert outcome.code in {"not_found", "malformed"}
    assert outcome.code == "not_found" or len(number) > 18


@pytest.mark.parametrize("name", ["socket", "form", "command"])
@pytest.mark.parametrize("number", ["", "1.0", "１"])
async def test_what_is_not_a_number_is_malformed(
    site: Site, enter: Enter, name: str, number: str
) -> None:
    slug, _stands, _gone = await standing(site, enter)
    outcome = await refused(site, enter(name, "mona"), slug, "remove", number=number)
    assert outcome.code == "malformed"


@pytest.mark.parametrize("name", MODERATE_DOORS)
async def test_doing_it_twice_changes_nothing(site: Site, enter: Enter, name: str) -> None:
    slug, stands, gone = await standing(site, enter)
    door = enter(name, "root")
    before = site.call(world.everything_of, slug)
    await door.do(slug, "remove", number=str(gone))
    await door.do(slug, "restore", number=str(stands))
    assert site.call(world.everything_of, slug) == before


async def test_another_videos_number_is_not_found_here(site: Site, enter: Enter) -> None:
    slug, stands, _gone = await standing(site, enter)
    elsewhere = site.video()
    outcome = await refused(site, enter("socket", "root"), elsewhere, "remove", number=str(stands))
    assert outcome.code == "not_found"
    shown: list[Row] = Person(site).open(slug).page.shown
    assert [row.number for row in shown] == [stands]


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["socket", "form"])
@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ("", "empty"),
        ("\u200b", "empty"),
        ("x" * 31, "too_long"),
        ("two\0", "malformed"),
        ("\u202eeman", "malformed"),
        ("alice", "not_allowed"),
        ("ALICE", "not_allowed"),
        (" mona ", "not_allowed"),
    ],
)
async def test_a_name_that_breaks_a_rule_is_refused(
    site: Site, enter: Enter, name: str, wanted: str, code: str
) -> None:
    person = Person(site).open(site.video())
    door: Door = SocketDoor(person) if name == "socket" else FormDoor(person)
    before = site.call(world.viewer_of, person.me)
    outcome = await door.do(site.video(), "rename", name=wanted)
    assert outcome.code == code
    assert site.call(world.viewer_of, person.me) == before


@pytest.mark.parametrize("name", ["socket", "form"])
async def test_two_names_within_five_seconds_are_too_fast(
    site: Site, enter: Enter, name: str
) -> None:
    slug, door = site.video(), enter(name)
    assert (await door.do(slug, "rename", name="First")).code == ""
    outcome = await door.do(slug, "rename", name="Second")
    assert outcome.code == "too_fast"
    assert outcome.retry_after in range(1, 6)


@pytest.mark.parametrize("name", ["socket", "form"])
async def test_an_account_keeps_its_own_name(site: Site, enter: Enter, name: str) -> None:
    outcome = await enter(name, "alice").do(site.video(), "rename", name="Somebody Else")
    assert outcome.code == "not_allowed"
