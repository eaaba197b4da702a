"""The load: viewers and posters on real sockets, counting every comment that arrives.

picows, since each frame costs it a microsecond or two: a slower client would measure itself. What
is in a frame is read once and remembered, as the same bytes go to all viewers.
"""

import asyncio
import gc
import logging
import random
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from re import Pattern
from typing import cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

logging.getLogger("picows").setLevel(logging.WARNING)  # a line for each socket otherwise

SLOWEST_MS = 120_000
REMEMBERED = 4096  # frames whose content is known
CONNECTS_AT_ONCE = 64
# What each peer of ours is sent through, and what our own server makes of a comment: `>#12 `.
WORDS = (
    "is that a kingfisher on the left bank?",
    "just joined, what did I miss",
    "the reflections are wonderful today",
    "hello from Khulna, good evening everyone",
    "how deep is the water over there?",
    "that dive! thank you for showing it again",
    "I could watch this for hours and hours",
    "there, behind the second tree, look!",
)


def text_of(number: int) -> str:
    """A comment's text: it carries its own number."""
    return f"#{number} {WORDS[number % len(WORDS)]}"


class NotWholeError(AssertionError):
    """A viewer got something twice, in the wrong order, or not at all."""


@dataclass
class Tally:
    """What all viewers of one run have got, and how long it took."""

    pattern: Pattern[bytes]  # group 1: the comment's own number, in a frame
    # Where the server numbers changes (ours): group 1, the change. They must come without a hole.
    order: Pattern[bytes] | None = None
    sent_at: dict[int, float] = field(default_factory=dict)
    histogram: array[int] = field(default_factory=lambda: array("q", bytes(8 * (SLOWEST_MS + 1))))
    delivered: int = 0
    frames: int = 0
    wire_bytes: int = 0
    lost_sockets: int = 0
    out_of_order: int = 0
    known: dict[bytes, tuple[tuple[int, ...], int, int]] = field(default_factory=dict)

    def begin(self) -> None:
        """Count from here on; what viewers hold stays."""
        self.histogram = array("q", bytes(8 * (SLOWEST_MS + 1)))
        self.delivered = self.frames = self.wire_bytes = 0

    def read(self, payload: bytes, *, deflated: bool) -> tuple[tuple[int, ...], int, int]:
        """Numbers of the comments in a frame; first and last change, 0 where there are none."""
        found = self.known.get(payload)
        if found is None:
            plain = inflate(payload) if deflated else payload
            numbers = tuple(int(number) for number in self.pattern.findall(plain))
            changes = [int(n) for n in self.order.findall(plain)] if self.order else []
            if changes and changes != list(range(changes[0], changes[0] + len(changes))):
                self.out_of_order += 1
            found = (numbers, changes[0] if changes else 0, changes[-1] if changes else 0)
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            self.known[payload] = found
        return found


def inflate(payload: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


class Viewer(WSListener):
    """One socket: what it has got is a count and a sum, and the change that it stands at."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.count = 0
        self.sum = 0
        self.change = 0
        self.transport: WSTransport | None = None
        self.answers: Callable[[bytes], None] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.tally.lost_sockets += 1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.TEXT:
            return
        now = time.perf_counter()
        tally = self.tally
        payload = frame.get_payload_as_bytes()
        deflated = frame.rsv1
        numbers, first, last = tally.read(payload, deflated=deflated)
        if self.answers is not None:
            self.answers(inflate(payload) if deflated else payload)
        if not numbers:
            return
        if first:
            # Its first frame is the window of the page, whatever that holds.
            if self.change and first != self.change + 1:
                tally.out_of_order += 1
            self.change = last
        tally.frames += 1
        size = len(payload)
        tally.wire_bytes += size + (2 if size < 126 else 4 if size < 65536 else 10)
        sent_at, histogram = tally.sent_at, tally.histogram
        for number in numbers:
            sent = sent_at.get(number)
            if sent is None:
                continue  # of before this run
            ms = int((now - sent) * 1000)
            histogram[min(SLOWEST_MS, ms)] += 1
            self.count += 1
            self.sum += number
            tally.delivered += 1


@dataclass(frozen=True)
class Door:
    """Where one socket goes, and what it says of itself."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Audience:
    """Connected viewers, of whom the first few post."""

    tally: Tally
    viewers: list[Viewer]
    say: Callable[[int], bytes]  # a comment's number to what a poster's socket sends
    posters: int
    sent: int = 0
    sum: int = 0

    async def post(self, rate: float, seconds: float) -> None:
        """`rate` comments a second, evenly, by the posters in turn."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        for step in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, started + step / rate - loop.time()))
            self.sent += 1
            self.sum += self.sent
            poster = self.viewers[self.sent % self.posters].transport
            assert poster is not None
            self.tally.sent_at[self.sent] = time.perf_counter()
            poster.send(WSMsgType.TEXT, self.say(self.sent))

    async def arrive(self, seconds: float) -> float:
        """Until every viewer has every comment; how long that took. Raises NotWholeError."""
        started = time.perf_counter()
        while any(viewer.count < self.sent for viewer in self.viewers):
            if time.perf_counter() - started > seconds:
                break
            await asyncio.sleep(0.05)
        self.check()
        return time.perf_counter() - started

    def check(self) -> None:
        wrong = [v for v in self.viewers if (v.count, v.sum) != (self.sent, self.sum)]
        if wrong or self.tally.out_of_order or self.tally.lost_sockets:
            raise NotWholeError(
                f"{len(wrong)} of {len(self.viewers)} viewers have not each comment once"
                f" (sent {self.sent}, one has {wrong[0].count if wrong else '-'});"
                f" {self.tally.out_of_order} out of order, {self.tally.lost_sockets} cut off"
            )

    async def leave(self) -> None:
        for viewer in self.viewers:
            if viewer.transport is not None:
                cast("asyncio.WriteTransport", viewer.transport.underlying_transport).abort()
        await asyncio.sleep(0.2)


async def connect(
    doors: Sequence[Door],
    tally: Tally,
    say: Callable[[int], bytes],
    *,
    posters: int = 50,
    deflate: bool = False,
    at_once: int = CONNECTS_AT_ONCE,
) -> Audience:
    """A socket for each door; `deflate` offers permessage-deflate as browsers do."""
    viewers = [Viewer(tally) for _ in doors]
    offer = (
        (("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),)
        if deflate
        else ()
    )
    turns = asyncio.Semaphore(at_once)

    async def enter(viewer: Viewer, door: Door) -> None:
        async with turns:
            await ws_connect(
                lambda: viewer,
                door.url,
                extra_headers=door.headers + offer,
                websocket_handshake_timeout=60,
                read_buffer_init_size=4096,
            )

    await asyncio.gather(*map(enter, viewers, doors))
    gc.collect()
    gc.freeze()  # thousands of sockets that stay: the collector need not look at them again
    return Audience(tally, viewers, say, min(posters, len(viewers)))


def shuffled(doors: Sequence[Door]) -> list[Door]:
    doors = list(doors)
    random.Random(7).shuffle(doors)
    return doors
