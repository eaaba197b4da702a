"""The log: a line is a line whatever people send, and gives away nothing of theirs or ours."""

import asyncio
import json
import logging
import re
import sys
import uuid
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from comments.batches import InBatches
from comments.hub import Hub
from comments.threads import READING
from streamsite.logs import MESSAGE_AT_MOST, JsonFormatter, OneLineFormatter
from streamsite.observe import context
from tests import world
from tests.client import Person
from tests.conftest import MakeSite
from tests.figures import scrape
from tests.servers import Site, wait_for
from tests.test_origin import handshake

FORGED = "2026-01-01 00:00:00,000 CRITICAL django FORGED"
# What ends a line, for a terminal, a pager, or a program.
BREAKS = ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1b[2K\x1b[1G", "\x85", "\u2028", "\u2029", "\x00")
OWN_WORDS = "my-own-words-9431"
ADDRESS = "203.0.113.77"
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+ ")


@pytest.fixture(scope="module", params=["text", "json"])
def logging_site(request: pytest.FixtureRequest, make_site_for_module: MakeSite) -> Site:
    """A site that logs all there is, and in which some comments meet a mistake."""
    command = ("-m", "tests.without", "mistakes", "--bind", "{bind}")
    return make_site_for_module(command=command, LOG_FORMAT=request.param, LOG_LEVEL="DEBUG")


def lines_of(site: Site) -> list[str]:
    # Not splitlines(), which would end lines where nothing does.
    return site.servers[0].log.read_bytes().decode("utf-8").removesuffix("\n").split("\n")


async def test_no_door_lets_anybody_forge_a_line_or_shows_what_is_not_for_the_log(
    logging_site: Site,
) -> None:
    site = logging_site
    slug = site.video()
    person = Person(site, address=ADDRESS).open(slug)
    said = f"boom {OWN_WORDS}" + "".join(f"{end}{FORGED}" for end in BREAKS)
    plain = f"boom {OWN_WORDS}\r\n{FORGED} e\u0301 {OWN_WORDS}"
    hostile = "".join(f"{end}{FORGED}" for end in BREAKS)
    quoted = "".join(f"%{byte:02x}" for byte in hostile.encode())
    # Paths, queries, headers, cookies.
    for path in (
        f"/{quoted}",
        f"/videos/{quoted}/",
        f"/?q={OWN_WORDS}{quoted}",
        f"/media/{quoted}",
    ):
        person.get(path)
    for header in ("User_Agent", "Referer", "Origin", "Accept_Language", "X_Request_ID", "Cookie"):
        person.get("/", **{header: FORGED})
    person.get("/", Host=FORGED.replace(" ", "-"))
    handshake(site, quoted, ("Origin", site.origin))
    handshake(site, slug, ("Origin", FORGED), ("Cookie", f"sessionid={FORGED}"))
    # Forms.
    person.say(slug, said, name=hostile)
    person.say(slug, "fine", name=hostile)
    person.act(slug, hostile)
    fields = {"username": hostile, "password": world.PASSWORD + hostile}
    Person(site).post("/accounts/login/", fields)
    person.get("/accounts/login/")
    Person(site).sign_in("root").get(f"/admin/comments/comment/?q={OWN_WORDS}")
    # The socket.
    async with person.socket(slug) as socket:
        assert (await socket.raw(hostile)).code == "malformed"
        assert (await socket.ask(hostile)).code == "malformed"
        assert (await socket.say(plain)).code == "try_again", "it met the mistake"
        assert (await socket.say(said)).is_ack is False
        await socket.ask("rename", name=hostile)
        await socket.ask("remove", number=hostile)
        await socket.raw(json.dumps({"action": "post", "body": plain, "key": hostile}))
    person.say(slug, plain)  # and by the form: a 500
    wait_for(lambda: "Internal Server Error" in site.log(), "the mistake at the form is logged")

    lines = lines_of(site)
    everything = "\n".join(lines)
    for line in lines:
        if site.variables["LOG_FORMAT"] == "json":
            found = json.loads(line)
            assert {"at", "level", "logger", "message", "process"} <= set(found)
            assert line.isascii()
        else:
            assert RECORD.match(line) or line.startswith("  | "), line[:200]
            assert not line.startswith("2026-01-01"), line[:200]
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line), line[:200]
    assert "FORGED" in everything, "paths are logged"
    assert everything.count("cannot take '***") >= 2, "so are mistakes"
    for private in (OWN_WORDS, ADDRESS, person.session_key, person.csrf, world.PASSWORD):
        assert private
        assert private not in everything


def test_a_line_says_what_it_is_about(logging_site: Site) -> None:
    site = logging_site
    slug = site.video()
    person = Person(site).open(slug)
    mistakes = scrape(site)["mistakes_total",]
    answer = person.say(slug, f"boom {uuid.uuid4()}")
    request = answer.headers["x-request-id"]
    assert answer.status == 500
    assert scrape(site)["mistakes_total",] == mistakes + 1
    wait_for(lambda: site.log().count(request) >= 2, "the mistake and the request are logged")
    about = [line for line in lines_of(site) if request in line]
    for line in about:
        if site.variables["LOG_FORMAT"] == "json":
            found = json.loads(line)
            assert (found["request"], found["video"]) == (request, slug)
            assert found["viewer"] == person.me
        else:
            assert f"[request={request} video={slug} viewer={person.me}]" in line


async def test_what_serves_everybody_does_not_speak_for_who_came_first() -> None:
    seen: list[dict[str, str]] = []

    async def look() -> None:
        seen.append(dict(context.about().known))

    def many(_key: str, arguments: list[int]) -> list[int]:
        seen.append(dict(context.about().known))
        return arguments

    context.forget()
    context.know(request="of-one-socket", viewer="somebody")
    hub = Hub(1, look)
    await hub.spawn(look())
    assert await InBatches(many, READING)("talk", 7) == 7
    assert seen == [{}, {}]
    await look()
    assert seen[2] == {"request": "of-one-socket", "viewer": "somebody"}
    context.forget()


# --- The forms themselves -----------------------------------------------------------------------


def record(message: str, *args: Any, error: str = "") -> logging.LogRecord:
    """A record; with `error` the traceback of an error with this text."""
    info = None
    try:
        if error:
            raise ValueError(error)
    except ValueError:
        info = sys.exc_info()
    return logging.LogRecord("a.b", logging.ERROR, __file__, 1, message, args, info)


@pytest.mark.parametrize("form", [OneLineFormatter, JsonFormatter])
def test_secrets_cookies_and_what_people_wrote_are_left_out(form: Any) -> None:
    wrote = "what I wrote\nin two lines"
    context.forget()
    context.hide(wrote)
    text = form(["hunter2-hunter2", None, "", "ab"]).format(
        record(
            "at %s: sessionid=abc123; __Host-csrftoken=def456 {'csrfmiddlewaretoken': 'ghi789'} ab",
            "postgres://me:hunter2-hunter2@host/x",
            error=f"{wrote}, as {wrote!r}",
        )
    )
    context.forget()
    for private in ("hunter2", "abc123", "def456", "ghi789", "what I"):
        assert private not in text
    assert " ab" in text, "what is too short to be a secret masks nothing"


@pytest.mark.parametrize("form", [OneLineFormatter, JsonFormatter])
def test_a_line_is_bounded(form: Any) -> None:
    context.forget()
    assert len(form().format(record("x" * 1_000_000))) < MESSAGE_AT_MOST + 300
    assert len(form().format(record("x", error="y" * 1_000_000))) < 25_000


async def test_redis_is_away_in_one_line_whatever_of_it_the_listener_meets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As channels-redis logs it: also where who subscribes connects in the same moment."""
    listener = logging.getLogger("channels_redis.pubsub")
    shared = asyncio.StreamReader()
    first = asyncio.create_task(shared.readline())
    await asyncio.sleep(0)  # it waits for its line now
    for error in (RedisConnectionError("cut"), None, ValueError("a mistake")):
        try:
            if error:
                raise error
            await shared.readline()
        except Exception:
            listener.exception("Unexpected exception in receive task")
    first.cancel()
    away, raced, mistaken = caplog.records
    assert away.getMessage() == "Redis is away: ConnectionError: cut"
    assert re.match("Redis is away: RuntimeError: read.* called while another", raced.getMessage())
    assert not away.exc_info
    assert not raced.exc_info
    assert mistaken.exc_info, "what nobody expects is shown whole"
