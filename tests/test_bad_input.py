"""Whatever a client sends: the right code, an answer, the socket still open, nothing changed."""

import json
import random
import uuid

import pytest

from comments.errors import Refused
from comments.text import clean, clean_name
from tests import world
from tests.client import Person, frame
from tests.hostile import TEXTS
from tests.page import Element
from tests.servers import Site

KEY = str(uuid.uuid4())
DEEP = "[" * 8000 + "]" * 8000
POST = {"action": "post", "body": "hello", "key": KEY}

NOT_FRAMES: list[tuple[str, str | bytes]] = [
    ("nothing", ""),
    ("words", "hello"),
    ("half an object", '{"action": "post", "body": "hel'),
    ("two objects", "{}{}"),
    ("a list", '["post"]'),
    ("a text", '"post"'),
    ("a number", "1"),
    ("null", "null"),
    ("not a number", "NaN"),
    ("a very long number", "1" * 10_000),
    ("a list nested deeply", DEEP),
    ("an object nested deeply", '{"a":' * 2500 + "1" + "}" * 2500),
    ("deep nesting inside a field", '{"action": "post", "body": ' + DEEP[:7000] + "}"),
    ("binary", b"\x00\x01\x02"),
    ("JSON in binary", json.dumps(POST).encode()),
    ("an empty object", "{}"),
    ("no action", json.dumps({"body": "hello", "key": KEY})),
    ("an action that is null", json.dumps(POST | {"action": None})),
    ("an action that is a list", json.dumps(POST | {"action": ["post"]})),
    ("an action that is an object", json.dumps(POST | {"action": {"a": 1}})),
    ("an unknown action", json.dumps(POST | {"action": "explode"})),
    ("an action in other letters", json.dumps(POST | {"action": "POST"})),
    ("no body", json.dumps({"action": "post", "key": KEY})),
    ("a body that is a number", json.dumps(POST | {"body": 7})),
    ("a body that is a list", json.dumps(POST | {"body": ["hello"]})),
    ("a body with NUL", json.dumps(POST | {"body": "a\0b"})),
    ("a body with a lone surrogate", json.dumps(POST | {"body": "\ud83d"})),
    ("a body with surrogates the wrong way round", json.dumps(POST | {"body": "\udc00\ud800"})),
    ("a name that is a list", json.dumps({"action": "rename", "name": ["a"]})),
    ("a name with a lone surrogate", json.dumps({"action": "rename", "name": "\ud83d"})),
    ("a key that is missing", json.dumps({"action": "post", "body": "hello"})),
    ("a key that is a number", json.dumps(POST | {"key": 12345678})),
    ("a key that is an object", json.dumps(POST | {"key": {"a": 1}})),
    ("a key of markup", json.dumps(POST | {"key": "<script>alert(1)</script>"})),
    ("a key with a lone surrogate", json.dumps(POST | {"key": "\ud83d" * 36})),
    ("a number that is missing", json.dumps({"action": "remove"})),
    ("a number that is true", json.dumps({"action": "remove", "number": True})),
    ("a number that is a fraction", json.dumps({"action": "remove", "number": 1.5})),
    ("a number that is infinite", '{"action": "remove", "number": 1e999}'),
    ("a number that is a list", json.dumps({"action": "remove", "number": [1]})),
]  # fmt: skip


@pytest.mark.parametrize("message", [m for _, m in NOT_FRAMES], ids=[n for n, _ in NOT_FRAMES])
async def test_it_is_answered_as_malformed_and_the_socket_stays_open(
    sqlite_site: Site, postgres_site: Site, message: str | bytes
) -> None:
    for site in (sqlite_site, postgres_site):
        slug = site.video()
        person = Person(site).open(slug)
        async with person.socket(slug) as socket:
            answer = await socket.raw(message)
            assert (answer.code, bool(answer.sentence)) == ("malformed", True)
            assert (await socket.say("still here")).is_ack
            await socket.sees("still here")
        assert person.page.bodies == ["still here"]
        assert site.call(world.stream_of, slug)["head"] == 1


@pytest.mark.parametrize("field", ["body", "name", "key", "other"])
async def test_a_frame_over_sixteen_kib_is_too_long_and_the_socket_stays_open(
    site: Site, field: str
) -> None:
    slug = site.video()
    async with Person(site).open(slug).socket(slug) as socket:
        answer = await socket.raw(json.dumps(POST | {field: "x" * 20_000}))
        assert answer.code == "too_long"
        assert (await socket.say("still here")).is_ack


async def test_a_megabyte_closes_only_its_own_socket(site: Site) -> None:
    slug = site.video()
    person, other = Person(site).open(slug), Person(site).open(slug)
    async with other.socket(slug) as bystander, person.socket(slug) as socket:
        await socket.connection.send("x" * 1_000_000)
        assert await socket.closed() == 1009
        assert (await bystander.say("still here")).is_ack
    assert site.call(world.stream_of, slug)["head"] == 1


@pytest.mark.parametrize("number", [0, -1, 999, 2**63, 2**70, "2", "999"])
async def test_a_number_that_no_comment_has_is_not_found(site: Site, number: object) -> None:
    slug = site.video()
    async with Person(site).open(slug).socket(slug) as socket:
        assert (await socket.say("the only one")).is_ack
        for verb in ("remove", "restore"):
            assert (await socket.ask(verb, number=number)).code == "not_found"
        assert (await socket.say("still here")).is_ack


async def test_someone_elses_comment_is_not_theirs_to_remove(site: Site) -> None:
    slug = site.video()
    author, other = Person(site).open(slug), Person(site).open(slug)
    async with author.socket(slug) as mine, other.socket(slug) as theirs:
        number = (await mine.say("mine")).number
        before = site.call(world.everything_of, slug)
        for verb in ("remove", "restore"):
            answer = await theirs.ask(verb, number=number)
            assert answer.code == "not_allowed"
        assert site.call(world.everything_of, slug) == before
        assert (await theirs.say("still here")).is_ack


async def test_an_action_without_key_is_answered_without_one(site: Site) -> None:
    slug = site.video()
    async with Person(site).open(slug).socket(slug) as socket:
        number = (await socket.say("hello")).number
        answer = await socket.raw(json.dumps({"action": "remove", "number": number}))
        assert (answer.key, answer.is_ack, answer.number) == ("", True, number)
        answer = await socket.raw(json.dumps({"action": "restore", "number": number}))
        assert (answer.key, answer.code) == ("", "not_allowed")


async def test_fields_and_headers_that_nobody_asked_for_are_passed_over(site: Site) -> None:
    slug = site.video()
    async with Person(site).open(slug).socket(slug) as socket:
        headers = {"HX-Request": "true", "HX-Current-URL": "javascript:alert(1)"}
        more = {"state": "removed", "number": 99, "author": 1, "badge": "staff", "__proto__": {}}
        answer = await socket.say("hello", headers=headers, **more)
        assert (answer.is_ack, answer.number) == (True, 1)
    (comment,) = site.call(world.comments_of, slug)
    assert (comment["state"], comment["badge"]) == ("visible", "")


@pytest.mark.parametrize(
    "query",
    ["cursor=", "cursor", "", "cursor=%00", "cursor=%ff%fe", "cursor=1&cursor=2", "cursor[]=1",
     "cursor=" + "9" * 3000, "cursor=0123abcd--1", "cursor=0123abcd-1e3", "cursor='%20OR%201=1",
     "cursor=%3Cscript%3E", "CURSOR=1", "cursor=0123abcd-%D9%A1"],
)  # fmt: skip
async def test_whatever_the_cursor_the_page_is_sent_the_window(site: Site, query: str) -> None:
    slug = site.video()
    person = Person(site).open(slug)
    person.say(slug, "hello")
    async with person.socket(slug, f"&{query}") as socket:
        await socket.sees("hello")
        assert (await socket.say("still here")).is_ack


def test_older_pages_take_only_whole_numbers(site: Site) -> None:
    slug = site.video()
    person = Person(site).open(slug)
    path = f"/videos/{slug}/comments/"
    person.say(slug, "hello")
    for before in ("", "0", "-1", "1.5", "x", "%00", "%D9%A1", "+1", str(2**63), "9" * 400):
        assert person.get(f"{path}?before={before}").status == 400, before
        assert person.get(f"{path}?from={before}").status == 400, before
    for before in ("1", "2", str(10**18 - 1)):
        assert person.get(f"{path}?before={before}").status == 200, before
        assert person.get(f"{path}?from={before}").status == 200, before


def test_forms_of_the_wrong_shape_are_refused_in_words(site: Site) -> None:
    slug = site.video()
    person = Person(site).open(slug)
    path = f"/videos/{slug}/comments/"
    assert person.post(path, {}).status == 400
    assert person.post(path, {"body": "no key"}).status == 400
    for method in ("PUT", "DELETE", "PATCH"):
        assert person.request(method, path, X_CSRFToken=person.csrf).status == 405
    token = {"X_CSRFToken": person.csrf, "Content_Type": "application/json"}
    assert person.request("POST", path, json.dumps(POST).encode(), **token).status == 400
    odd = {"X_CSRFToken": person.csrf, "Content_Type": "multipart/form-data"}
    assert person.request("POST", path, b"\xff\xfe", **odd).status == 400
    assert site.call(world.comments_of, slug) == []


async def test_a_storm_of_random_frames_breaks_nothing(site: Site) -> None:
    slug, dice = site.video(), random.Random(7)
    pieces = [
        '{"',
        '"}',
        "action",
        '":"',
        "post",
        "remove",
        "body",
        "key",
        KEY,
        "number",
        ":1",
        ",",
        "[",
        "]",
        "\\u0000",
        "\\ud800",
        "null",
        "true",
        "é",
        "\x7f",
    ]
    async with Person(site).open(slug).socket(slug) as socket:
        for _ in range(40):
            answer = await socket.raw("".join(dice.choices(pieces, k=dice.randrange(12))))
            assert answer.code
        assert await socket.answers_a_ping()
    assert site.call(world.comments_of, slug) == []


# --- Hostile texts ------------------------------------------------------------------------------


def only_links_inside(element: Element) -> None:
    """That a row holds nothing but what its template has, and links in its text."""
    body = element.of_class("comment-body")
    assert body is not None
    inside = list(body)[1:]
    for link in inside:
        assert link.tag == "a"
        assert link.attributes["href"].lower().startswith(("http://", "https://"))
        assert link.attributes["rel"] == "nofollow noopener ugc"
        assert set(link.attributes) == {"href", "rel", "target"}
    for other in element:
        if other not in inside:
            assert other.tag in {"li", "bdi", "span", "time"}
            assert not any(name.startswith("on") for name in other.attributes)


def name_of(text: str) -> str:
    """The text as a name, as far as a name may be like it."""
    try:
        clean_name(text[:30])
    except Refused:
        return "Somebody"
    return text[:30].strip()


@pytest.mark.parametrize("door", ["socket", "form"])
async def test_hostile_texts_are_shown_as_typed_as_body_and_as_name(site: Site, door: str) -> None:
    # Half of them on each kind of data; each by somebody new, whose name it is as well.
    texts = TEXTS[::2] if site.backend == "sqlite" else TEXTS[1::2]
    slug = site.video()
    reader = Person(site).open(slug)
    expected = []
    async with reader.socket(slug) as reading:
        for text in texts:
            person, name, key = Person(site), name_of(text), str(uuid.uuid4())
            if door == "form":
                person.open(slug)
                assert person.say(slug, text, key, name=name).status == 303, text
            else:
                person.get(f"/videos/{slug}/")
                async with person.socket(slug, cursor=reader.page.cursor) as socket:
                    assert (await socket.ask("rename", name=name)).is_ack, text
                    assert (await socket.say(text, key=key)).is_ack, text
            expected.append((clean_name(name), clean(text)))
        await reading.reaches(len(texts))
        assert [(row.name, row.body) for row in reader.page.shown] == expected
        for row in reader.page.shown:
            only_links_inside(row.html)
    later = Person(site).open(slug).page.shown
    assert [(row.name, row.body) for row in later] == expected[-50:]
    for row in later:
        only_links_inside(row.html)


def test_a_refused_hostile_text_is_back_in_its_box_as_typed(site: Site) -> None:
    slug = site.video(accepting=False)
    for text in TEXTS[::7]:
        person = Person(site).open(slug)  # one change of name each
        response = person.say(slug, text, name=text[:30])
        assert response.status == 409
        form = response.html.having("id", "composer")
        assert form is not None
        box, name = form.having("id", "body"), form.having("name", "name")
        assert box is not None
        assert name is not None
        assert box.text == text
        assert name.attributes["value"] == text[:30]
        assert "alert(" not in "".join(s.text for s in response.html if s.tag == "script")


def test_a_frame_of_the_tests_is_json() -> None:
    assert json.loads(frame({"body": "\ud800é\0"})) == {"body": "\ud800é\0"}
