"""What a stranger can make the server do is bounded: time, disk, memory, log lines."""

import http.client
import time
import unicodedata
import uuid
from collections.abc import Iterator

import pytest

from comments import services, text
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Stream
from tests import world
from tests.client import Person
from tests.servers import Site, wait_for

# Each once kept a process busy for seconds or for ever (a library's link finder, a sort of marks).
COSTLY = [
    "xn--a." * 40 + "xn",
    "http://com." + "xn--com." * 55,
    "a" + "\u0301" * 8_000 + "\u0323" * 8_000,
    "(" * 500,
    "https://" + "(" * 400 + ")" * 80,
    "https://" * 60,
    "www." * 120,
    "\ufdfa" * 400,
]


@pytest.mark.parametrize("body", COSTLY)
def test_no_text_takes_long_to_clean_and_to_cut_into_parts(body: str) -> None:
    """Linear work: a hundredth of a second, where the bound leaves room for a busy machine."""
    began = time.process_time()
    try:
        cleaned = text.clean(body)
        text.parts(cleaned)
        text.length(cleaned)
        text.clean_name(body[:300])
    except Refused:
        pass
    assert time.process_time() - began < 0.5


def test_text_is_measured_before_it_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    normalize = unicodedata.normalize

    def spy(form: str, given: str) -> str:
        asked.append(len(given))
        return normalize(form, given)  # type: ignore[arg-type]

    monkeypatch.setattr(unicodedata, "normalize", spy)
    with pytest.raises(Refused) as refusal:
        text.clean("a\u0301\u0323" * 100_000)
    assert refusal.value.code is Code.TOO_LONG
    assert asked == []
    text.clean("a" + "\u0323\u0301" * 5_000)
    assert max(asked) <= 1 + text.MARKS_AT_MOST  # marks are capped before they are sorted


async def test_costly_texts_through_the_socket_hold_nobody_up(sqlite_site: Site) -> None:
    person = Person(sqlite_site).open(slug := sqlite_site.video(max_length=2000))
    async with person.socket(slug) as socket:
        began = time.monotonic()
        for body in COSTLY[:4]:
            await socket.say(body[:4000])
            assert sqlite_site.servers[0].status("/healthz") == 200
        assert time.monotonic() - began < 10
    assert Person(sqlite_site).open(slug).page.shown


def test_a_body_that_is_too_large_is_refused_before_it_is_kept(sqlite_site: Site) -> None:
    port = sqlite_site.servers[0].port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.putrequest("POST", "/accounts/login/")
    connection.putheader("Content-Length", str(600 * 1024 * 1024))
    connection.endheaders()
    assert connection.getresponse().status == 413  # of the announcement alone
    connection.close()


def test_a_body_without_announced_length_is_counted_as_it_comes(sqlite_site: Site) -> None:
    port = sqlite_site.servers[0].port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 64 * 1024

    try:
        connection.request("POST", "/accounts/login/", pieces(), encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was closed while we were still sending
    finally:
        connection.close()
    assert sqlite_site.servers[0].status("/healthz") == 200


@pytest.mark.parametrize("before", ["9" * 5000, "-1", "0", "01", "1.5", "abc", "", "١٢", "1 "])
def test_a_before_that_is_no_number_is_answered_400(sqlite_site: Site, before: str) -> None:
    slug = sqlite_site.video()
    path = f"/videos/{slug}/comments/?before={http_quote(before)}"
    assert Person(sqlite_site).get(path).status == 400


def http_quote(value: str) -> str:
    return "".join(f"%{byte:02x}" for byte in value.encode())


def test_a_path_with_line_breaks_forges_no_line_of_the_log(sqlite_site: Site) -> None:
    person = Person(sqlite_site)
    person.get("/x%0a2026-01-01 00:00:00,000 CRITICAL django FORGED%1b[31m".replace(" ", "%20"))
    wait_for(lambda: "FORGED" in sqlite_site.log(), "the request is logged")
    (line,) = [line for line in sqlite_site.log().splitlines() if "FORGED" in line]
    assert "\x1b" not in line
    assert "GET /x" in line
    assert not line.startswith("2026-01-01")


def test_saving_settings_never_writes_the_counter_back(stream: Stream, alice: Actor) -> None:
    """The admin's form reads a stream, and saves it some time later."""
    read_earlier = Stream.objects.get(pk=stream.pk)
    services.post(alice, stream.pk, "posted meanwhile", str(uuid.uuid4()))
    epoch = Stream.objects.get(pk=stream.pk).epoch
    read_earlier.max_length = 77
    read_earlier.epoch = "stale"
    read_earlier.save()
    now = Stream.objects.get(pk=stream.pk)
    assert (now.head, now.max_length, now.epoch) == (1, 77, epoch)
    assert services.post(alice, stream.pk, "and goes on", str(uuid.uuid4())).number == 2


def test_admin_shows_and_saves_the_settings_of_a_videos_comments(sqlite_site: Site) -> None:
    slug = sqlite_site.video(max_length=321)
    root = Person(sqlite_site).sign_in("root")
    path = f"/admin/videos/video/{sqlite_site.call(world.video_pk, slug)}/change/"
    fields = {
        element.attributes["name"]: element.attributes.get("value", "")
        for element in root.get(path).html
        if element.tag == "input"
        and element.attributes.get("type") not in {"file", "checkbox", "submit"}
        and "name" in element.attributes
    }
    assert (fields["stream-INITIAL_FORMS"], fields["stream-0-max_length"]) == ("1", "321")
    fields |= {"state": "live", "description": "", "stream-0-max_length": "77"}
    root.csrf = fields["csrfmiddlewaretoken"]
    assert root.post(path, fields).status == 302
    # The check box for accepting comments was left out, which is how a browser unticks it.
    settings = sqlite_site.call(world.settings_of, slug)
    assert settings == {"max_length": 77, "accepting": False}
    assert "stream-0-" not in root.get("/admin/videos/video/add/").text
