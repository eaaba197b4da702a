"""SIGTERM: the end within 10 s whatever is under way, and an exit code that tells what was cut."""

import asyncio
import os
import re
import signal
import socket as sockets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from wsproto.events import CloseConnection

from tests.client import Person
from tests.conftest import MakeSite
from tests.faults import peers
from tests.faults.truth import waits_for_a_lock
from tests.http2 import Http2, Http2Socket
from tests.servers import Server, Site, wait_for

LOCKED, CUT, STUCK, CALM = range(4)  # the servers, by what is under way there
SIZE = 40 * 1024 * 1024


def in_media(site: Site, name: str) -> Path:
    path = Path(site.variables["DATA_DIR"]) / "media" / name
    path.parent.mkdir(exist_ok=True)
    return path


@contextmanager
def download(server: Server, name: str) -> Iterator[sockets.socket]:
    """A request for a file whose answer is not read yet."""
    with closing(sockets.create_connection(("127.0.0.1", server.port), 20)) as connection:
        connection.sendall(f"GET /media/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield connection


def end_all(servers: list[Server]) -> tuple[list[int], float]:
    """The exit codes, and how long the slowest took, in seconds."""
    started = time.monotonic()
    for server in servers:
        server.process.send_signal(signal.SIGTERM)
    codes = [server.process.wait(20) for server in servers]
    return codes, time.monotonic() - started


def read_all(connection: sockets.socket) -> int:
    """To the end; the bytes."""
    got = 0
    while data := connection.recv(1 << 20):
        got += len(data)
    return got


async def test_a_process_ends_within_ten_seconds_and_tells_what_was_cut(
    make_site: MakeSite,
) -> None:
    site = make_site(backend="postgres", processes=4, RATE_VIEWER="off")
    url, slug, other = site.variables["DATABASE_URL"], site.video(), site.video()
    in_media(site, "long.mp4").write_bytes(bytes(SIZE))
    os.mkfifo(in_media(site, "stuck.mp4"))  # opening it takes a thread for ever
    author, neighbour = (Person(site, server=LOCKED).open(slug) for _ in range(2))
    viewer = Person(site, server=CALM).open(other)
    with (
        download(site.servers[CUT], "long.mp4") as cut,
        download(site.servers[STUCK], "stuck.mp4"),
        download(site.servers[CALM], "long.mp4") as whole,
        closing(peers.Deaf(site.servers[CALM].port, other, 1).socket),
        psycopg.connect(url) as holder,
    ):
        for connection in (cut, whole):
            assert await asyncio.to_thread(connection.recv, 12) == b"HTTP/1.1 200"
        async with (
            author.socket(slug) as first,
            neighbour.socket(slug) as second,
            viewer.socket(other) as quiet,
        ):
            await quiet.until(lambda: viewer.page.watching == 2, "the deaf one is seated")
            holder.execute(
                "SELECT FROM comments_stream s JOIN videos_video v ON v.id = s.video_id"
                " WHERE v.slug = %s FOR UPDATE OF s",
                [slug],
            )
            posting = [asyncio.create_task(first.say("waits for the row"))]
            await asyncio.to_thread(wait_for, lambda: waits_for_a_lock(url), "the post waits")
            # Behind it, and so longer than the row may be waited for.
            posting.append(asyncio.create_task(second.say("waits for the other")))
            ending = asyncio.create_task(asyncio.to_thread(end_all, site.servers))
            reading = asyncio.create_task(asyncio.to_thread(read_all, whole))
            # The browser sends these again, with their keys.
            assert [answer.code for answer in await asyncio.gather(*posting)] == ["try_again"] * 2
            assert [await socket.closed() for socket in (first, second, quiet)] == [1012] * 3
            codes, slowest = await ending
    assert slowest < 10
    assert await reading > SIZE - 12, "what can finish meanwhile does"
    assert codes[CUT] == codes[STUCK] == codes[LOCKED] == 1
    assert "1 cut off (first: http /media/long.mp4), 0 actions given up" in site.log(CUT)
    assert re.search(r"0 cut off \(first: none\), [12] actions given up", site.log(LOCKED))
    assert codes[CALM] == 0, "that somebody does not listen is no failure"
    assert not site.tracebacks


async def test_a_socket_that_is_still_opening_at_the_end_is_told_to_come_back(
    make_site: MakeSite,
) -> None:
    site = make_site(backend="postgres")
    url, slug = site.variables["DATABASE_URL"], site.video()
    anonymous, moderator = Person(site), Person(site).signed_in("mona")
    with psycopg.connect(url) as holder:
        # The one waits to learn what the video is, the other who its session is.
        holder.execute("LOCK TABLE videos_video, django_session")
        async with anonymous.socket(slug) as first, moderator.socket(slug) as second:
            await asyncio.to_thread(wait_for, lambda: waits_for_a_lock(url), "they wait")
            ending = asyncio.create_task(asyncio.to_thread(end_all, site.servers))
            assert [await socket.closed() for socket in (first, second)] == [1012] * 2
            codes, took = await ending
    assert codes == [0], "nobody has lost anything"
    assert took < 4, "the database is not waited for"
    assert not site.tracebacks


async def test_on_a_machine_that_is_busy_every_socket_is_told_in_time(make_site: MakeSite) -> None:
    """The process gets a tenth of the time: all that it does in steps is late at each."""
    site = make_site(SOCKETS_PER_SESSION="off")
    process = site.servers[0].process
    person = Person(site).open(slug := site.video())

    async def starve() -> None:
        while process.poll() is None:
            for by, seconds in ((signal.SIGSTOP, 0.13), (signal.SIGCONT, 0.015)):
                process.send_signal(by)
                await asyncio.sleep(seconds)

    async with AsyncExitStack() as some:
        open_ = [await some.enter_async_context(person.socket(slug)) for _ in range(70)]
        ending = asyncio.create_task(asyncio.to_thread(end_all, site.servers))
        starving = asyncio.create_task(starve())
        assert {await socket.closed() for socket in open_} == {1012}
        codes, took = await ending
        await starving
    assert codes == [0]
    assert took < 7, "the sockets are closed over 3 s"


async def test_redis_that_hangs_holds_nobody_up(make_site: MakeSite) -> None:
    """Who listens to a video's group wants to leave it, and would wait for Redis to agree."""
    site = make_site(backend="postgres")
    person = Person(site).open(slug := site.video())
    assert site.valkey
    redis = site.valkey._process
    assert redis

    def is_noticed() -> bool:
        return "publish failed" in site.log().partition("has gone silent")[2]

    async with person.socket(slug) as socket:
        assert (await socket.say("listened to")).is_ack
        redis.send_signal(signal.SIGSTOP)
        try:
            await asyncio.to_thread(wait_for, is_noticed, "it is tried anew in vain", 20)
            ending = asyncio.create_task(asyncio.to_thread(end_all, site.servers))
            assert await socket.closed() == 1012
            codes, took = await ending
        finally:
            redis.send_signal(signal.SIGCONT)
    assert codes == [0]
    assert took < 6


def test_silent_sockets_of_http2_end_as_those_of_http_1_do(
    make_site: MakeSite, tls: dict[str, Any]
) -> None:
    """So many that some are still to be cut when time is up, however the looks at them fall."""
    site = make_site(**tls)
    path = f"/ws/videos/{site.video()}/?cursor="
    with ExitStack() as stack:
        for _ in range(16):
            Http2Socket(stack.enter_context(Http2(site)), path)
        codes, _took = end_all(site.servers)
    assert codes == [0], "they were told; that they do not listen is no failure"
    assert not site.tracebacks


def test_what_one_connection_does_at_the_end_costs_no_other_its_close(
    make_site: MakeSite, tls: dict[str, Any]
) -> None:
    site = make_site(**tls)
    path = f"/ws/videos/{site.video()}/?cursor="
    with Http2(site) as hostile, ExitStack() as stack:
        others = [Http2Socket(stack.enter_context(Http2(site)), path) for _ in range(8)]
        Http2Socket(hostile, path)
        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(end_all, site.servers)
            wait_for(lambda: not accepts(site), "it ends")
            lines = {":method": "GET", ":scheme": "https", ":path": "/", ":authority": "a"}
            for given_up in (True, False):
                stream = hostile.h2.get_next_available_stream_id()
                hostile.h2.send_headers(stream, [*lines.items()], end_stream=not given_up)
                if given_up:
                    hostile.h2.reset_stream(stream)
            hostile.flush()
            hostile.socket.close()
            for other in others:
                other.until(lambda other=other: other.close_code, "its close")  # type: ignore[misc]
                other.send(CloseConnection(1000))
            codes, _took = ending.result()
    assert {other.close_code for other in others} == {1012}
    assert codes == [0]


def accepts(site: Site) -> bool:
    """Whether the first server takes in new connections."""
    try:
        sockets.create_connection(("127.0.0.1", site.servers[0].port), 1).close()
    except ConnectionRefusedError:
        return False
    return True
