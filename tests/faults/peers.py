"""Peers that misbehave one at a time: they do not read, do not answer, drip, or come and go."""

import asyncio
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from tests.faults.crowd import Crowd
from tests.faults.plans import FaultSite, Plan, Trial
from tests.faults.viewers import Link, handshake
from tests.http2 import Http2, Http2Socket
from tests.servers import Site

ESTABLISHED = "01"


def address(number: int) -> str:
    return f"10.9.{number >> 8 & 255}.{number & 255}"


# --- Peers that never read ----------------------------------------------------------------------


class Deaf:
    """Connects, asks for everything, and never reads a byte."""

    def __init__(self, port: int, slug: str, number: int) -> None:
        self.server = port
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.connect(("127.0.0.1", port))
        path = f"/ws/videos/{slug}/"
        self.socket.sendall(handshake(port, path, address=address(number), deflate=False))


def held(server: int, peers: list[Deaf]) -> int:
    """How many of the peers a server still keeps, as the kernel has its side of them."""
    # Two connections may share a port at this end when they go to different servers.
    ports = {peer.socket.getsockname()[1] for peer in peers if peer.server == server}
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, state = line.split()[1:4]
        if int(local[-4:], 16) == server and int(remote[-4:], 16) in ports:
            found += state == ESTABLISHED
    return found


def percentile(delays: list[int], fraction: float) -> float:
    """Of a histogram by ms, in seconds."""
    total, so_far = sum(delays), 0
    for ms, count in enumerate(delays):
        so_far += count
        if count and so_far >= total * fraction:
            return ms / 1000
    return 0.0


def since(before: list[int], now: list[int]) -> list[int]:
    return [b - a for a, b in zip(before, now, strict=True)]


async def deaf_peers(trial: Trial) -> None:
    """`times` peers that never read: gone in 10 s, the others' p99 as before, memory flat."""
    crowd, site = trial.crowd, trial.site
    fill_a_window(crowd)
    before = list(crowd.delays)
    await asyncio.sleep(6)
    calm = percentile(since(before, crowd.delays), 0.99)
    resident = [server.resident_kib for server in site.servers]
    before = list(crowd.delays)
    started = time.monotonic()
    ports = [server.port for server in site.servers]
    peers = [Deaf(ports[n % len(ports)], crowd.slug, n) for n in range(trial.times)]
    trial.report.faults += len(peers)
    most = list(resident)
    while any(held(port, peers) for port in ports) and time.monotonic() - started < 30:
        await asyncio.sleep(0.1)
        most = [max(m, server.resident_kib) for m, server in zip(most, site.servers, strict=True)]
    took = time.monotonic() - started
    if took > 10 + crowd.lag_since(0):
        crowd.wrong(f"peers that never read were kept for {took:.1f} s")
    loud = percentile(since(before, crowd.delays), 0.99)
    grown = max(m - r for m, r in zip(most, resident, strict=True)) / 1024
    if loud > 2 * calm + 0.1 + crowd.lag_since(0):
        crowd.wrong(f"the others' p99 went from {calm:.3f} to {loud:.3f} s")
    if grown > 16:
        crowd.wrong(f"a server grew by {grown:.0f} MiB")
    trial.report.noted = (
        f"all gone in {took:.1f} s, others' p99 {calm * 1000:.0f} -> {loud * 1000:.0f} ms,"
        f" +{grown:.1f} MiB"
    )
    for peer in peers:
        peer.socket.close()


def fill_a_window(crowd: Crowd) -> None:
    for _ in range(50):
        crowd.say("a long line " * 25)


DEAF = Plan("peers that never read", deaf_peers, times=50)


# The pools of PostgreSQL's and Redis's connections may have grown by a few, whoever came and went.
SPARE = {"fds": 4}


# --- Coming and going ---------------------------------------------------------------------------


async def come_and_go(site: FaultSite, slug: str, times: int, *, at_once: int = 40) -> int:
    """Open and close so many sockets, politely, rudely, and before the handshake is through."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(at_once)
    opened = 0

    async def one(number: int) -> None:
        nonlocal opened
        port = site.servers[number % len(site.servers)].port
        first = loop.create_future()

        def hear(_payload: bytes, _compressed: bool) -> None:
            if not first.done():
                first.set_result(None)

        request = handshake(port, f"/ws/videos/{slug}/?cursor=", address=address(number))
        link = Link(request, hear)
        async with places:
            await loop.create_connection(lambda: link, "127.0.0.1", port)
            if number % 4 == 3:
                await asyncio.sleep(0.001)
                link.abort()
            else:
                async with asyncio.timeout(20):
                    await asyncio.wait([first, link.ended], return_when="FIRST_COMPLETED")
                opened += link.open
                link.leave() if number % 4 else link.abort()
            async with asyncio.timeout(20):
                await link.ended

    await asyncio.gather(*(one(number) for number in range(times)))
    return opened


def back_at_the_start(
    site: FaultSite, before: list[dict[str, Any]], seconds: float = 40
) -> list[str]:
    """What the servers still hold that they did not hold before; empty when all is gone."""
    deadline = time.monotonic() + seconds
    while True:
        found = []
        for number, was in enumerate(before):
            now = site.state(number)
            found += [
                f"server {number}: {what} {was[what]} -> {now[what]} {now['kinds']}"
                for what in ("hubs", "seats", "live", "connections", "fds", "tasks")
                if now[what] > was[what] + SPARE.get(what, 0)
            ]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


# --- Peers that do not answer, and that drip ----------------------------------------------------


async def seconds_until_cut(work: Awaitable[None], most: float) -> float:
    started = time.monotonic()
    try:
        async with asyncio.timeout(most):
            await work
    except TimeoutError:
        return float("inf")
    except OSError:
        pass
    return time.monotonic() - started


async def stays(port: int, sent: bytes, most: float = 60.0) -> float:
    """Send this, take the answer, and stay: how long until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)

    async def read() -> None:
        while await reader.read(65536):
            pass

    found = await seconds_until_cut(read(), most)
    writer.transport.abort()
    return found


def silent(port: int, slug: str) -> Awaitable[float]:
    """Read everything, answer no ping: how long until the server gives up."""
    return stays(port, handshake(port, f"/ws/videos/{slug}/?cursor=", address="10.8.0.1"), 75.0)


def no_handshake(port: int, slug: str) -> Awaitable[float]:
    """The key is missing, without which there is no WebSocket."""
    whole = handshake(port, f"/ws/videos/{slug}/?cursor=", address="10.8.0.3")
    return stays(port, b"\r\n".join(x for x in whole.split(b"\r\n") if b"-Key:" not in x))


def early(port: int, slug: str) -> Awaitable[float]:
    """Something comes behind the handshake before that is answered."""
    whole = handshake(port, f"/ws/videos/{slug}/?cursor=", address="10.8.0.4")
    return stays(port, whole + b"\x81")


async def overflow(port: int) -> None:
    """Send far more of a body than anybody reads, and leave."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    try:
        for _ in range(40):
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()
    except OSError:
        pass  # it was closed while we were still sending
    writer.transport.abort()


async def silent_over_http2(site: Site, slug: str, most: float = 75.0) -> float:
    """The same on a stream of HTTP/2, at a site with TLS; the connection goes on being fine."""

    def wait() -> None:
        with Http2(site) as http2:
            socket = Http2Socket(http2, f"/ws/videos/{slug}/?cursor=", x_forwarded_for="10.8.0.2")
            http2.until(lambda: socket.stream.reset is not None, "its end", most)
            assert http2.get("/healthz").status == 200

    return await seconds_until_cut(asyncio.to_thread(wait), most)


async def takes_nothing_over_http2(site: Site, path: str, most: float = 60.0) -> float:
    """A page asked for on a stream whose window stays shut; the connection goes on being fine."""

    def wait() -> None:
        with Http2(site, window=0, reads=False) as http2:
            page = http2.request("GET", path)
            http2.until(lambda: page.reset is not None, "its end", most)

    return await seconds_until_cut(asyncio.to_thread(wait), most)


async def dripping(port: int, head: bytes, drip: bytes, most: float = 60.0) -> float:
    """Send a request, a bit every half second: how long until the server cuts it off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    reading = asyncio.create_task(_until_the_end(reader))

    async def send() -> None:
        while not reading.done():
            writer.write(drip)
            await writer.drain()
            await asyncio.sleep(0.5)

    found = await seconds_until_cut(send(), most)
    reading.cancel()
    writer.transport.abort()
    return found


async def _until_the_end(reader: asyncio.StreamReader) -> None:
    try:
        await reader.read(1)  # an answer, or the end
    except OSError:
        pass


def drip_headers(port: int) -> Awaitable[float]:
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Slow: ".encode()
    return dripping(port, head, b"a")


def drip_body(port: int, slug: str) -> Awaitable[float]:
    head = (
        f"POST /videos/{slug}/comments/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\nbody="
    )
    return dripping(port, head.encode(), b"a")


# --- Peers that do not take their answer --------------------------------------------------------


class Greedy(Deaf):
    """Asks for a large file, and never reads a byte."""

    def __init__(self, port: int, path: str) -> None:
        self.server = port
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


async def takes_nothing(port: int, path: str, most: float = 60.0) -> float:
    """Ask for a file and take none of it: how long until the server gives up."""
    peer = Greedy(port, path)

    async def wait() -> None:
        while held(port, [peer]):
            await asyncio.sleep(0.5)

    found = await seconds_until_cut(wait(), most)
    peer.socket.close()
    return found
