"""Peers that come and go, drip, say nothing, or are too many; and a process that must end."""

import asyncio
import json
import signal
import struct
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET, create_connection
from typing import Any

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamsite.websocket import deflated
from tests import world
from tests.client import Person
from tests.conftest import MakeSite
from tests.faults import peers
from tests.faults.conftest import MakeFaultSite
from tests.faults.truth import waits_for_a_lock
from tests.faults.viewers import handshake
from tests.figures import scrape
from tests.http2 import Http2, Http2Socket
from tests.servers import Databases, Site, wait_for


@pytest.fixture(scope="module")
def cut_off(
    databases: Databases, secure_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Future[list[float]]"]:
    """How long a silent peer, dripping headers, a dripping body, a silent stream of HTTP/2, an
    answer that is not taken (by HTTP/1.1 and HTTP/2) and what became no socket lasted, and how many
    /metrics calls silent, with and without TLS: found out meanwhile, as it takes a minute."""
    site = Site(databases, tmp_path_factory.mktemp("site"))
    large = Path(site.variables["DATA_DIR"]) / "media" / "large.mp4"
    large.parent.mkdir(exist_ok=True)
    large.write_bytes(bytes(20_000_000))
    slug, port, of_secure = site.video(), site.servers[0].port, secure_site.video()

    async def try_all() -> list[float]:
        found = await asyncio.gather(
            peers.silent(port, slug),
            peers.drip_headers(port),
            peers.drip_body(port, slug),
            peers.silent_over_http2(secure_site, of_secure),
            peers.takes_nothing(port, "/media/large.mp4"),
            peers.takes_nothing_over_http2(secure_site, f"/videos/{of_secure}/"),
            peers.no_handshake(port, slug),
            peers.early(port, slug),
        )
        cut = [scrape(where)["peers_cut_total", "silent"] for where in (site, secure_site)]
        return [*found, *cut]

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lambda: asyncio.run(try_all()))
    site.kill()


@pytest.fixture(autouse=True)
def begun(cut_off: "Future[list[float]]") -> None:
    """The waiting begins with the first test of this file."""


def test_a_thousand_sockets_that_come_and_go_leave_nothing(make_fault_site: MakeFaultSite) -> None:
    site = make_fault_site(backend="postgres", processes=2)
    slug = site.video()
    asyncio.run(peers.come_and_go(site, slug, 100))
    time.sleep(2.5)  # the hubs that were started last go with the next poll
    before = [site.state(0), site.state(1)]
    opened = asyncio.run(peers.come_and_go(site, slug, 1000))
    for server in site.servers:
        asyncio.run(peers.overflow(server.port))
    assert opened >= 500
    assert peers.back_at_the_start(site, before) == []


def test_who_leaves_with_much_unread_while_an_action_waits_leaves_nothing(
    make_fault_site: MakeFaultSite,
) -> None:
    """The answer to the action finds the peer gone, and as many of its messages unread as the
    server keeps: whoever answers must not wait until they are read, as that is its own part."""
    site = make_fault_site(backend="postgres")
    person = Person(site).open(slug := site.video())
    url, port = site.variables["DATABASE_URL"], site.servers[0].port
    frames = b""
    for n in range(12):
        post = json.dumps({"action": "post", "body": f"no. {n}", "key": str(uuid.uuid4())}).encode()
        frames += bytes([0x81, 0x80 | len(post)]) + bytes(4) + post
    # And what unfolds to 46 MiB: nobody is to keep that, nor to take it apart.
    unfolds = deflated(b"0" * 65_000, 15)
    unfolds = bytes([0xC1, 0x80 | len(unfolds)]) + bytes(4) + unfolds
    frames += unfolds * ((64_000 - len(frames)) // len(unfolds))
    with create_connection(("127.0.0.1", port), 10) as peer, psycopg.connect(url) as holder:
        query = "SELECT FROM comments_viewer WHERE handle = %s FOR UPDATE"
        assert holder.execute(query, [person.me]).rowcount == 1
        path, cookie = f"/ws/videos/{slug}/?cursor=", person.cookie_header
        peer.sendall(handshake(port, path, address=person.address, cookie=cookie))
        assert b" 101 " in peer.recv(4096)
        peer.sendall(frames)
        wait_for(lambda: waits_for_a_lock(url), "the first action waits")
        before = most_resident(site)
        assert site.state()["kinds"]["_handle"] == 1, "an application of its own"
        peer.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
        peer.close()
    wait_for(lambda: "_handle" not in site.state()["kinds"], "its application ends")
    assert site.state()["connections"] == 0
    assert most_resident(site) - before < 20 * 1024


def most_resident(site: Site) -> int:
    """The most memory that the first server ever had, in KiB."""
    status = Path(f"/proc/{site.servers[0].process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize("also", ["Upgrade: h2c", "X-None: a"], ids=["with-an-offer", "pipelined"])
def test_who_breaks_off_an_answer_leaves_nothing(make_fault_site: MakeFaultSite, also: str) -> None:
    """Where the reader waits for its turn to read the next request, which never comes."""
    site = make_fault_site()
    large = Path(site.variables["DATA_DIR"]) / "media" / "large.mp4"
    large.parent.mkdir(exist_ok=True)
    large.write_bytes(bytes(20_000_000))
    request = f"GET /media/large.mp4 HTTP/1.1\r\nHost: localhost\r\n{also}\r\n\r\n".encode()
    for _ in range(5):
        with create_connection(("127.0.0.1", site.servers[0].port), 10) as peer:
            peer.sendall(request if "h2c" in also else request * 2)
            assert peer.recv(1000)
            peer.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: site.state()["connections"] == 0, lambda: str(site.state()["kinds"]))


async def test_sockets_over_the_caps_are_told_and_cost_nothing(make_site: MakeSite) -> None:
    caps = {"SOCKETS_PER_SESSION": "2", "SOCKETS_PER_ADDRESS": "3", "SOCKETS_PER_PROCESS": "4"}
    site = make_site(**caps)
    slug = site.video()
    one, neighbour = Person(site).open(slug), Person(site)
    neighbour.address = one.address
    neighbour.open(slug)
    stranger, late = Person(site).open(slug), Person(site).open(slug)
    async with one.socket(slug), one.socket(slug):
        async with one.socket(slug) as third:
            assert await third.closed() == 4408
            assert third.answers[0].code == "not_allowed"
        async with neighbour.socket(slug) as socket:
            assert await socket.answers_a_ping()
            with pytest.raises(Exception, match="503"):
                async with neighbour.socket(slug):
                    pass
            async with stranger.socket(slug):
                with pytest.raises(Exception, match="503"):
                    async with late.socket(slug):
                        pass
    turned_away = {
        key[1:]: n for key, n in scrape(site).items() if key[0] == "sockets_refused_total"
    }
    assert turned_away == {("session",): 1, ("address",): 1, ("process",): 1, ("origin",): 0}
    async with asyncio.timeout(10):
        while True:  # the places of those who left are free again
            try:
                async with one.socket(slug) as socket:
                    assert await socket.answers_a_ping()
                    break
            except (InvalidStatus, ConnectionClosed):
                await asyncio.sleep(0.1)


async def test_a_second_signal_ends_a_process_at_once(make_site: MakeSite) -> None:
    site = make_site()
    slug = site.video()
    process = site.servers[0].process
    person = Person(site).open(slug)
    deaf = peers.Deaf(site.servers[0].port, slug, 1)
    async with person.socket(slug) as socket:
        await socket.until(lambda: person.page.watching == 2, "both have their seats")
        process.send_signal(signal.SIGTERM)
        assert await socket.closed() == 1012
        assert process.poll() is None, "it waits for the other one"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 10)
        assert time.monotonic() - started < 1
        assert code == 1, "a supervisor is told that this was no orderly end"
    deaf.socket.close()


def test_silent_and_dripping_peers_are_cut(cut_off: "Future[list[float]]") -> None:
    silent, headers, body, over_http2, untaken, shut, no_handshake, early, *counted = (
        cut_off.result(80)
    )
    assert counted == [1, 1]
    assert 20 < silent <= 61, "a live peer answers within 20 s; a dead one is gone within 60"
    assert 20 < over_http2 <= 61
    assert headers < 40
    assert body < 20
    assert 28 < untaken < 40, "a line that stands still for a moment is given time"
    assert 28 < shut < 40
    assert no_handshake < 15, "what became no socket is kept for nobody"
    assert early < 15


def test_a_stream_that_is_cut_lets_go_of_who_waits_for_its_window(
    make_fault_site: MakeFaultSite, tls: dict[str, Any]
) -> None:
    """The application waits for the window, and the reader for the application."""
    site = make_fault_site(**tls)
    slug = site.video()
    site.call(world.write_many, slug, 60)
    with Http2(site, window=2000, reads=False) as http2:
        socket = Http2Socket(http2, f"/ws/videos/{slug}/?cursor=", sec_websocket_extensions="")
        http2.until(lambda: socket.stream.size >= 2000, "the window is used up")
        for _ in range(400):
            socket.say("{}")
        assert http2.get("/healthz").status == 200, "at the latest when it is cut"
