"""Whoever connects, and takes or gives too little, or too much: the others go on as before."""

import asyncio
import inspect
import resource
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from importlib.metadata import version
from typing import Any

import hypercorn.protocol
import psycopg
import pytest
from django.core.exceptions import RequestAborted
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from hypercorn.asyncio import run, tcp_server
from hypercorn.config import Config

from comments import threads
from comments.hub import Hub
from comments.models import Comment, Stream, Viewer
from comments.seats import Seat
from streamsite import bodies, env, health, pages, peers
from streamsite.cookies import cleaned
from streamsite.websocket import Frame
from tests.browser.line import Line
from tests.client import Person
from tests.conftest import MakeSite
from tests.faults.truth import waits_for_a_lock
from tests.faults.viewers import handshake
from tests.servers import Databases, Site, wait_for
from videos.models import Video

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


def fill(slug: str) -> None:
    """Comments of the greatest length: a page of 600 KB."""
    room, author = Stream.objects.get(video__slug=slug), Viewer.objects.create()
    rows = [
        Comment(
            stream=room, number=n, change=n, author=author, key=uuid.uuid4(), author_name="Long",
            body="\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * 480,
            posted_at=timezone.now(),
        )
        for n in range(1, 51)
    ]  # fmt: skip
    Comment.objects.bulk_create(rows)
    Stream.objects.filter(pk=room.pk).update(head=50)


def swap_slugs(one: str, other: str) -> None:
    """Without a word to anybody: what the safety poll is for."""
    first, second = Video.objects.get(slug=one).pk, Video.objects.get(slug=other).pk
    Video.objects.filter(pk=first).update(slug="for-a-moment")
    Video.objects.filter(pk=second).update(slug=one)
    Video.objects.filter(pk=first).update(slug=other)


# --- One site, on PostgreSQL behind a line, at which people arrive without a proxy --------------


@pytest.fixture(scope="module")
def line(databases: Databases) -> Iterator[Line]:
    with Line(databases.postgres.port) as found:
        yield found


@pytest.fixture(scope="module")
def site(databases: Databases, make_site_for_module: MakeSite, line: Line) -> Site:
    url = databases.new_postgres()
    through = url.replace(f":{databases.postgres.port}/", f":{line.port}/")
    return make_site_for_module(
        backend="postgres", DATABASE_URL=through, TRUSTED_PROXIES="0", SOCKETS_PER_ADDRESS="60",
        RATE_VIEWER="off",
    )  # fmt: skip


@pytest.fixture(scope="module")
def zombie(site: Site) -> Iterator[socket.socket]:
    """A peer that is told to close (1009), reads that, and goes on pinging: begun with the first
    test, since it is given some seconds."""
    port = site.servers[0].port
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(handshake(port, f"/ws/videos/{site.video()}/?cursor=", address=""))
        assert b"101" in peer.recv(4096)
        peer.sendall(b"\x81\xff" + (70_000).to_bytes(8) + bytes(4) + b"x" * 70_000)
        yield peer


@pytest.fixture(autouse=True)
def begun(zombie: socket.socket) -> None:
    """It waits from the first test of this file on."""


def connect(site: Site, address: str = "127.0.0.1") -> socket.socket:
    there = ("127.0.0.1", site.servers[0].port)
    return socket.create_connection(there, 10, source_address=(address, 0))


def answer_to(site: Site, request: bytes) -> bytes:
    """The beginning of what is answered to a request that is written as it is."""
    with connect(site) as peer:
        peer.sendall(request)
        return peer.recv(4096)


async def test_readers_that_take_nothing_keep_nothing_from_the_others(site: Site) -> None:
    await asyncio.to_thread(site.call, fill, slug := site.video())
    person = Person(site).open(slug)
    request = f"GET /videos/{slug}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with person.socket(slug) as talking:
        with ExitStack() as stack:
            readers = [stack.enter_context(socket.socket()) for _ in range(24)]
            for reader in readers:
                # As over a line: to a peer that takes large segments the kernel buffers it all.
                reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                reader.connect(("127.0.0.1", site.servers[0].port))
                reader.sendall(request)
            for reader in readers:  # until each has the beginning of its answer
                await asyncio.to_thread(reader.recv, 1, socket.MSG_PEEK)
            began = time.monotonic()
            assert (await talking.say("heard")).is_ack
            assert (await asyncio.to_thread(Person(site).get, "/")).status == 200
            assert time.monotonic() - began < 3


async def test_pages_that_wait_for_a_row_keep_nothing_from_the_stream(site: Site) -> None:
    """More of them than the pool has connections."""
    caught, person = Person(site).open(slug := site.video()), Person(site).open(slug)
    url = site.variables["DATABASE_URL"]
    with ThreadPoolExecutor(25) as pool:
        async with person.socket(slug) as talking:
            with psycopg.connect(url) as holder:
                holder.execute(
                    "SELECT FROM comments_viewer WHERE handle = %s FOR UPDATE", [caught.me]
                )
                forms = [pool.submit(caught.say, slug, f"form {n}") for n in range(25)]
                await asyncio.to_thread(wait_for, lambda: waits_for_a_lock(url), "forms wait")
                began = time.monotonic()
                for n in range(3):
                    assert (await talking.say(f"not held {n}")).is_ack
                assert site.servers[0].status("/readyz") == 200
                assert time.monotonic() - began < 3
        assert {form.result().status for form in forms} <= {303, 503}


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (PREFACE + b"\0\0\0\4\0\0\0\0\0", b"HTTP/1.1 505"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + H2C + b"\r\n", b"HTTP/1.1 200"),
    ],
)
def test_nobody_speaks_http_2_in_the_clear(site: Site, request_text: bytes, status: bytes) -> None:
    assert answer_to(site, request_text).startswith(status)


def test_who_has_left_keeps_no_descriptor(site: Site) -> None:
    server = site.servers[0]
    with ExitStack() as some:
        peers = [some.enter_context(connect(site)) for _ in range(20)]
        ports = {peer.getsockname()[1] for peer in peers}
        for peer in peers[::2]:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert peer.recv(4096)
        wait_for(lambda: server.holds(ports) == 20, "all are there")
    wait_for(lambda: server.holds(ports) == 0, "all are gone", seconds=5)
    for _ in range(130):  # gone before they are answered: more than their address may have
        with connect(site, "127.0.0.8") as peer:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: is_let_in(site, "127.0.0.8"), "none of them counts", seconds=5)


def test_one_address_has_so_many_connections_and_others_theirs(site: Site) -> None:
    with ExitStack() as some:
        for _ in range(120):
            some.enter_context(connect(site, "127.0.0.7"))
        with connect(site, "127.0.0.7") as one_more:
            assert one_more.recv(1) == b""
        assert site.servers[0].status("/healthz") == 200
    wait_for(lambda: is_let_in(site, "127.0.0.7"), "its places are free again")


def is_let_in(site: Site, address: str) -> bool:
    with connect(site, address) as peer:
        try:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return peer.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


# --- Uploads ------------------------------------------------------------------------------------


def announce(site: Site, path: str, cookie: str, size: int = 3_000_000) -> bytes:
    """What is answered to a body of which the beginning comes; nothing where it is waited for."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n"
        f"Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
    )
    with connect(site) as peer:
        peer.sendall(head.encode())
        heard = b""
        while b"HTTP/1.1 4" not in heard and b"HTTP/1.1 5" not in heard:
            peer.settimeout(0.7)
            try:
                if not (data := peer.recv(4096)):
                    break
            except TimeoutError:
                return b""
            heard += data
        return heard[heard.rindex(b"HTTP/1.1 ") :]


def test_only_staff_may_send_large_bodies_and_only_where_videos_are(site: Site) -> None:
    alice, root = Person(site).sign_in("alice"), Person(site).sign_in("root")
    add = "/admin/videos/video/add/"
    for path, cookie in (
        (add, "sessionid=nonsense"),
        (add, f"sessionid={'a' * 32}"),
        (add, alice.cookie_header),
        ("/admin/login/", root.cookie_header),
    ):
        assert announce(site, path, cookie).startswith(b"HTTP/1.1 413"), path
    assert announce(site, add, root.cookie_header, 10**13).startswith(b"HTTP/1.1 413")
    with ExitStack() as some:
        # Whoever of five is looked at last.
        uploads = [some.enter_context(connect(site)) for _ in range(5)]
        for upload in uploads:
            upload.setblocking(False)
            upload.sendall(
                f"POST {add} HTTP/1.1\r\nHost: localhost\r\nCookie: {root.cookie_header}\r\n"
                "Expect: 100-continue\r\nContent-Length: 3000000\r\n\r\n".encode()
            )
        heard = [b""] * len(uploads)

        def refused() -> int:
            for number, upload in enumerate(uploads):
                with suppress(BlockingIOError):
                    heard[number] += upload.recv(4096)
            return sum(b"HTTP/1.1 503" in answer for answer in heard)

        wait_for(lambda: refused() == 1, lambda: f"a fifth is told to come later: {heard}")
        assert all(answer.startswith(b"HTTP/1.1 100") for answer in heard if b"503" not in answer)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_who_sends_a_body_to_its_end_is_told_that_it_was_too_large(
    site: Site, chunked: bool
) -> None:
    """More than all buffers on the way hold: the answer is there long before the end."""
    piece, count = bytes(1 << 20), 40
    sizes = {} if chunked else {"Content-Length": str(len(piece) * count)}
    connection = site.servers[0].connection(10)
    with closing(connection):
        body = (piece for _ in range(count))
        connection.request("POST", "/", body, sizes, encode_chunked=chunked)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == bodies.TOO_LARGE


# --- Sessions and slugs that are none -----------------------------------------------------------


async def test_a_session_key_that_django_cannot_have_made_counts_as_none(site: Site) -> None:
    slug = site.video()
    for value in ('"abcdefgh\\000ijk"', "x" * 5000, "ABC" * 10, "%00"):
        odd = Person(site)
        odd.cookies = {"sessionid": value}
        assert (await asyncio.to_thread(odd.get, f"/videos/{slug}/")).status == 200
        odd.cookies = {"sessionid": value}
        async with odd.socket(slug, cursor="") as socket_of_odd:
            assert await socket_of_odd.answers_a_ping()
    assert not site.tracebacks


def test_only_the_session_s_cookie_is_taken_out() -> None:
    good = b"a=b; sessionid=" + b"k3" * 16 + b"; c"
    assert cleaned(good) == good
    assert cleaned(b"a=b; sessionid=short; c") == b"a=b; c"
    assert cleaned(b"sessionid=short") == b""


async def test_who_comes_by_a_slug_that_has_moved_is_seated_at_the_right_video(site: Site) -> None:
    one, other = site.video(), site.video()
    watcher, late = Person(site).open(one), Person(site).open(other)
    async with watcher.socket(one) as watching:
        await watching.until(lambda: watcher.page.room, "the room")
        await asyncio.to_thread(site.call, swap_slugs, one, other)
        async with late.socket(one) as seated:
            assert (await seated.say("at the other video")).is_ack
            await seated.sees("at the other video")
        assert (await watching.say("at the first one")).is_ack
        await watching.sees("at the first one")
        assert watcher.page.bodies == ["at the first one"], "it watches what it came for"


# --- In this process ----------------------------------------------------------------------------


async def test_a_peer_that_takes_no_frame_any_more_is_not_come_back_to() -> None:
    class Peer:
        is_ending = False

        def write(self, _frame: Frame) -> bool:
            return False

    async def close(_code: int) -> None: ...

    async def look() -> None: ...

    hub, peer = Hub(1, look), Peer()
    seat = Seat(peer, close, staff=False, standing=None)
    hub.seats.add(seat)
    for peer.is_ending, fresh in ((False, {seat}), (True, set[Seat]())):
        hub.delivery._fresh = set()
        hub.delivery._send([seat], [(1, Frame("news"))])
        assert hub.delivery._fresh == fresh


async def test_few_passwords_are_hashed_at_once_and_who_waits_is_told(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PASSWORD_SECONDS", 0.2)
    at_once = most = 0
    free = asyncio.Event()

    async def sign_in(_request: HttpRequest) -> HttpResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await free.wait()
        at_once -= 1
        return HttpResponse()

    door = pages.PagesMiddleware(sign_in)

    def ask(path: str, method: str = "POST") -> "asyncio.Task[object]":
        request = HttpRequest()
        request.method, request.path = method, path
        return asyncio.ensure_future(door(request))

    async with asyncio.timeout(5):
        waiting = [ask("/accounts/login/"), ask("/admin/login/")]
        late = await ask("/accounts/signup/")
        assert isinstance(late, HttpResponse)
        assert (late.status_code, late["Retry-After"]) == (503, "5")
        assert b"Try again" in late.content
        waiting += [ask("/accounts/login/", "GET"), ask("/videos/x/comments/")]
        await asyncio.sleep(0.01)
        free.set()
        answers = await asyncio.gather(*waiting)
        assert [getattr(answer, "status_code", 0) for answer in answers] == [200] * 4
    assert most == 4, "two that hash, and whatever does not"


async def test_one_address_does_not_take_all_the_turns_at_passwords(db: None) -> None:
    free = asyncio.Event()

    async def sign_in(_request: HttpRequest) -> HttpResponse:
        await free.wait()
        return HttpResponse()

    door = pages.PagesMiddleware(sign_in)

    def ask(address: str) -> "asyncio.Task[object]":
        request = HttpRequest()
        request.method, request.path = "POST", "/accounts/login/"
        request.META["REMOTE_ADDR"] = address
        return asyncio.ensure_future(door(request))

    async with asyncio.timeout(5):
        many = [ask("203.0.113.1") for _ in range(10)]
        one = ask("203.0.113.2")
        await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
        free.set()
        statuses = [getattr(answer, "status_code", 0) for answer in await asyncio.gather(*many)]
        assert sorted(statuses) == [200] * 4 + [503] * 6
        assert getattr(await one, "status_code", 0) == 200
    assert not door.hashing


async def test_an_answer_that_is_not_taken_is_given_up_as_if_its_client_had_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream of HTTP/2 can stand still while its connection does not."""
    monkeypatch.setattr(bodies, "TAKE_GRACE_SECONDS", 0.05)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    async def send(_message: Any) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        with pytest.raises(RequestAborted):
            await bodies.BoundedBodies(app)({"headers": []}, None, send)


def test_the_pool_has_a_connection_for_everybody_who_may_ask_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me@127.0.0.1/name")
    pool = env.database("DATABASE_URL", default="")["OPTIONS"]["pool"]
    kinds = (threads.READING, threads.ACTING, threads.WAITING, threads.LOOKING, health.ASKING)
    needed = sum(kind._max_workers for kind in kinds) + pages.PAGES_AT_ONCE
    assert needed <= pool["max_size"]


def test_the_library_still_needs_it() -> None:
    """Where this fails Hypercorn has changed: see whether the class in question can go."""
    assert version("hypercorn").startswith("0.18.")
    assert not [name for name in dir(Config) if "connections" in name or "h2c" in name]
    assert "at_eof" in inspect.getsource(tcp_server)
    peers.install()
    assert vars(run)["TCPServer"] is peers.BoundedServer
    assert vars(hypercorn.protocol)["H11Protocol"] is peers.PlainH11


# --- Other ways to run it, and an end -----------------------------------------------------------


async def test_plain_hypercorn_tells_browsers_to_come_back_when_it_ends(
    make_site: MakeSite,
) -> None:
    command = "-m hypercorn -c hypercorn.toml streamsite.asgi:application --bind {bind}"
    plain = make_site(command=tuple(command.split()))
    person = Person(plain).open(slug := plain.video())
    process = plain.servers[0].process
    async with person.socket(slug) as socket:
        await socket.until(lambda: person.page.room, "the room")
        process.send_signal(signal.SIGTERM)
        assert await socket.closed(5) == 1012
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert not plain.tracebacks


def test_a_peer_that_was_told_to_close_and_does_not_is_cut(
    site: Site, zombie: socket.socket
) -> None:
    zombie.settimeout(0.2)

    def is_cut() -> bool:
        try:
            zombie.sendall(b"\x89\x80" + bytes(4))
            return zombie.recv(4096) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    wait_for(is_cut, "it is cut", seconds=12)


async def test_while_the_database_is_away_everybody_is_told_so(site: Site, line: Line) -> None:
    slug = site.video()
    alice, writer = Person(site).sign_in("alice").open(slug), Person(site).open(slug)
    lines = len(site.log().splitlines())
    line.cut()

    async def closed(person: Person) -> int | None:
        async with person.socket(slug, cursor="") as handshaken:
            return await handshaken.closed()

    line.cut()
    try:
        *codes, page, form = await asyncio.gather(
            closed(alice),
            closed(writer),
            asyncio.to_thread(alice.get, f"/videos/{slug}/"),
            asyncio.to_thread(writer.say, slug, "typed <b>by hand</b>", key := str(uuid.uuid4())),
        )
    finally:
        line.mend()
    assert codes == [1013, 1013]
    assert (page.status, page.headers["retry-after"]) == (503, "5")
    assert "database cannot be reached" in page.text
    assert form.status == 503
    box = form.html.having("id", "body")
    assert box is not None
    assert box.text == "typed <b>by hand</b>"
    assert form.refusal is not None
    assert form.refusal.code == "try_again"
    kept = form.html.having("name", "key")
    assert kept is not None
    assert kept.attributes["value"] == key
    assert not site.tracebacks
    said = [entry for entry in site.log().splitlines()[lines:] if "database fails" in entry]
    assert 1 <= len(said) < 8
    wait_for(lambda: site.servers[0].status("/readyz") == 200, "it is back", seconds=20)
    assert (await asyncio.to_thread(writer.say, slug, box.text, key)).status == 303


def test_a_process_has_as_many_connections_as_descriptors_and_some_to_spare(site: Site) -> None:
    """The last one of this file: what a limit was lowered to stays."""
    pid = site.servers[0].process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, env.FILES_AT_MOST), "it has asked for all that it may have"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, 256))
    with ExitStack() as some:
        for number in range(240):
            some.enter_context(connect(site, f"127.0.1.{number // 40}"))
        wait_for(lambda: not is_let_in(site, "127.0.2.1"), "nobody else is let in")
        assert site.servers[0].descriptors < 256
    wait_for(lambda: is_let_in(site, "127.0.2.1"), "there is room again")
    assert not site.tracebacks
