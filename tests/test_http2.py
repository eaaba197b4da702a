"""Sockets and downloads over HTTP/2: streamsite.http2, and when its parts can go."""

import json
import time
import uuid
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypercorn import protocol
from hypercorn.asyncio.worker_context import EventWrapper
from hypercorn.protocol import h2
from hypercorn.protocol.h2 import StreamBuffer
from wsproto.events import CloseConnection, Ping

from streamsite import http2 as ours
from tests.client import Person
from tests.conftest import MakeSite
from tests.http2 import Http2, Http2Socket
from tests.servers import Site, wait_for

SIZE = 2 * 1024 * 1024  # of a file that is downloaded


def post(body: str) -> str:
    return json.dumps({"action": "post", "body": body, "key": str(uuid.uuid4())})


def says(socket: Http2Socket, words: str) -> bool:
    """Whether it was sent them."""
    return words in "".join(socket.texts)


def enter(http2: Http2, person: Person, slug: str, **headers: str) -> Http2Socket:
    path = f"/ws/videos/{slug}/?cursor={person.page.cursor}"
    given = {"cookie": person.cookie_header, "x_forwarded_for": person.address} | headers
    return Http2Socket(http2, path, **given)


def test_comments_are_posted_and_seen_over_http2(secure_site: Site) -> None:
    slug = secure_site.video()
    ann, ben = Person(secure_site).open(slug), Person(secure_site).open(slug)
    with Http2(secure_site) as of_ann, Http2(secure_site) as of_ben:
        one, other = enter(of_ann, ann, slug), enter(of_ben, ben, slug)
        assert one.stream.status == other.stream.status == 200
        for number in range(4):
            body = f"number {number}, the tide, the tide, the tide " * 8
            one.say(post(body))
            one.until(lambda: any("data-ack" in text for text in one.texts), "an ack")
            one.texts.clear()
            other.until(partial(says, other, body.strip()), "the comment in the other's page")
        one.send(Ping())
        one.until(lambda: one.pongs, "a pong")


def test_two_sockets_and_a_page_share_a_connection_and_end_alone(secure_site: Site) -> None:
    slug = secure_site.video()
    person = Person(secure_site).open(slug)
    with Http2(secure_site) as http2:
        one, two = enter(http2, person, slug), enter(http2, person, slug)
        assert http2.get("/healthz").status == 200
        one.send(CloseConnection(1000))
        one.until(lambda: one.stream.ended, "the server's end of the stream")
        http2.h2.reset_stream(two.stream.id)
        three = enter(http2, person, slug)
        http2.h2.end_stream(three.stream.id)  # as a connection that ends
        http2.flush()
        three.until(lambda: three.stream.ended or three.stream.reset is not None, "its end")
        four = enter(http2, person, slug)
        four.say(post("still here"))
        four.until(lambda: "still here" in "".join(four.texts), "the comment")
        assert http2.get(f"/videos/{slug}/").status == 200


def test_who_leaves_with_several_downloads_waiting_leaves_nothing(secure_site: Site) -> None:
    large = Path(secure_site.variables["DATA_DIR"]) / "media" / "waiting.mp4"
    large.parent.mkdir(exist_ok=True)
    large.write_bytes(bytes(3_000_000))
    server, ports = secure_site.servers[0], set()
    for _ in range(3):
        with Http2(secure_site, reads=False) as http2:
            ports.add(http2.socket.getsockname()[1])
            streams = [http2.request("GET", "/media/waiting.mp4") for _ in range(5)]
            http2.until(lambda found=streams: all(s.size for s in found), "some of each")  # type: ignore[misc]
    wait_for(lambda: server.holds(ports) == 0, "their connections are gone", seconds=5)


def test_downloads_of_which_nothing_is_taken_cost_a_piece_each(secure_site: Site) -> None:
    large = Path(secure_site.variables["DATA_DIR"]) / "media" / "shut.mp4"
    large.parent.mkdir(exist_ok=True)
    large.write_bytes(bytes(SIZE))
    server = secure_site.servers[0]
    with Http2(secure_site) as quick, Http2(secure_site, window=0, reads=False) as shut:
        assert quick.get("/media/shut.mp4").ended
        before = server.resident_kib
        streams = [shut.request("GET", "/media/shut.mp4") for _ in range(24)]
        shut.until(lambda: all(stream.status == 200 for stream in streams), "their heads")
        grown = []
        for _ in range(3):  # while others are served all of it
            assert quick.get("/media/shut.mp4").size == SIZE
            grown.append(server.resident_kib - before)
        assert max(grown) < 24 * 256
        assert not any(stream.size for stream in streams)


def test_bodies_that_do_not_end_wait_on_the_disk(secure_site: Site) -> None:
    server = secure_site.servers[0]
    with Http2(secure_site) as http2:
        assert http2.get("/healthz").status == 200
        before = server.resident_kib
        streams = [http2.request("POST", "/accounts/login/", end=False) for _ in range(23)]
        for stream in streams:
            room = partial(http2.h2.local_flow_control_window, stream.id)
            for _ in range(10):  # 480 KB
                http2.until(lambda room=room: room() >= 48_000, "room for more")  # type: ignore[misc]
                for _ in range(3):
                    http2.h2.send_data(stream.id, bytes(16_000))
                http2.flush()
        assert http2.get("/healthz").status == 200, "all that came before has been read"
        assert server.resident_kib - before < 23 * 256
        assert not any(stream.status for stream in streams)


def test_as_many_sockets_one_after_the_other_as_anybody_likes(secure_site: Site) -> None:
    """A stream that stayed half open would count among the 100 of a connection for ever."""
    slug = secure_site.video()
    person = Person(secure_site).open(slug)
    with Http2(secure_site) as http2:
        for _ in range(120):
            socket = enter(http2, person, slug)
            socket.send(CloseConnection(1000))
            http2.h2.end_stream(socket.stream.id)
            http2.flush()
            socket.until(lambda: socket.stream.ended, "its end")  # noqa: B023


def test_a_socket_of_another_page_is_refused_over_http2(secure_site: Site) -> None:
    slug = secure_site.video()
    person = Person(secure_site).open(slug)
    with Http2(secure_site) as http2:
        refused = enter(http2, person, slug, origin="http://elsewhere.example")
        assert refused.stream.status == 403
        refused.until(lambda: refused.stream.ended, "the end of the refusal")


@pytest.mark.parametrize(
    ("method", "path", "pseudo"),
    [
        ("CONNECT", "/ws/videos/x/", {":protocol": "webtransport"}),
        ("connect", "/ws/videos/x/", {}),
        ("GET", "/caf\u00e9/", {}),
        ("GET\u00e9", "/", {}),
    ],
)
def test_a_request_that_makes_no_sense_ends_alone(
    secure_site: Site, method: str, path: str, pseudo: dict[str, str]
) -> None:
    with Http2(secure_site) as http2:
        http2.h2.config.validate_outbound_headers = False
        http2.h2.config.normalize_outbound_headers = False
        stream = http2.request(method, path, pseudo=pseudo)
        http2.until(lambda: stream.reset is not None, "the reset")
        assert http2.get("/healthz").status == 200
    assert not secure_site.tracebacks


def test_what_comes_after_the_answer_is_dropped(secure_site: Site) -> None:
    with Http2(secure_site) as http2:
        stream = http2.request("POST", "/", end=False, content_length="3000000")
        http2.until(lambda: stream.status == 413, "the refusal")
        http2.h2.send_data(stream.id, b"x" * 1000)
        http2.flush()
        assert http2.get("/healthz").status == 200
    assert not secure_site.tracebacks


def test_an_order_of_streams_that_makes_no_sense_leaves_no_traceback(secure_site: Site) -> None:
    with Http2(secure_site) as http2:
        for number in range(1, 2_200, 2):
            http2.h2.prioritize(number, weight=7)
        http2.flush()
        while not http2.closed:
            http2.take(10)
    with Http2(secure_site) as http2:
        assert http2.get("/healthz").status == 200
    assert not secure_site.tracebacks


def test_who_stops_reading_is_bounded_and_cut_alone(
    make_site: MakeSite, tls: dict[str, Any]
) -> None:
    """One connection: a socket that reads nothing more is reset, another goes on; a download that
    is paused costs no memory and is still there."""
    site = make_site(RATE_VIEWER="off", RATE_ADDRESS="off", **tls)
    (site.folder / "data" / "media").mkdir(parents=True, exist_ok=True)
    (site.folder / "data" / "media" / "long.mp4").write_bytes(bytes(64 * 1024 * 1024))
    slug, server = site.video(), site.servers[0]
    ann, ben = Person(site).open(slug), Person(site).open(slug)
    with Http2(site, window=30_000, reads=False) as slow, Http2(site) as quick:
        before = server.resident_kib
        download = slow.request("GET", "/media/long.mp4")
        stuck = enter(slow, ann, slug)
        other = enter(quick, ben, slug)
        # Comments of random words, which nothing can deflate, until the slow one has no window.
        deadline = time.monotonic() + 20
        sent = 0
        while stuck.stream.reset is None:
            assert time.monotonic() < deadline, "the socket that reads nothing was not cut"
            other.say(post(" ".join(uuid.uuid4().hex for _ in range(14))))
            sent += 1
            other.until(lambda: "".join(other.texts).count("data-ack") >= sent, "an ack")  # noqa: B023
            slow.take(0.02)
        assert stuck.stream.size <= 30_000
        assert download.reset is None
        assert download.size <= 30_000
        assert server.resident_kib - before < 25_000
        # The rest of the connection goes on: the same page comes back, on a new stream.
        back = enter(slow, ann, slug)
        assert back.stream.status == 200
        assert not slow.closed
        other.say(post("the end"))
        other.until(lambda: "the end" in "".join(other.texts), "the last comment")
    assert not site.tracebacks


async def drained_while_nothing_could_be_sent(kind: type[StreamBuffer]) -> bool:
    """Whether who waits for room is let go of when no byte of it was sent."""
    import asyncio

    buffer = kind(EventWrapper)
    work = asyncio.ensure_future(buffer.push(bytes(100_000)))
    await asyncio.sleep(0)
    await buffer.pop(0)
    await asyncio.sleep(0)
    done = work.done()
    await buffer.close()
    await work
    return done


async def test_the_library_still_needs_it() -> None:
    """Where this fails Hypercorn has changed: see whether the class in question can go."""
    assert version("hypercorn").startswith("0.18.")
    assert await drained_while_nothing_could_be_sent(StreamBuffer)
    assert not await drained_while_nothing_could_be_sent(ours.Buffer)


def test_each_is_in_its_place_and_can_be_put_there_again() -> None:
    ours.install()
    ours.install()
    found: dict[str, Any] = vars(h2)
    assert found["WSStream"] is ours.Socket
    assert found["StreamBuffer"] is ours.Buffer
    assert vars(protocol)["H2Protocol"] is ours.Protocol
