"""Viewers on raw sockets: cheap enough that hundreds share one core with what measures them.

A viewer does what the page's script does (static/js/comments/link.js): it applies frames, keeps
the cursor of the last one, comes back after any close but 4xxx with a delay drawn from 0 to 2, 4,
8 … 30 s, gives a silent link up, and sends an unanswered action again, with its key.
"""

import asyncio
import base64
import json
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from tests.faults.frames import Answer, Page, Parsed, read

type Fields = dict[str, Any]


@dataclass(frozen=True)
class Manner:
    """How the page behaves; tests that have little time hurry it."""

    first_delay: float = (
        2.0  # seconds: the first retry is drawn from 0 to this, the next from 0 to twice
    )
    longest_delay: float = 30.0
    silent_at_most: float = 40.0  # without a frame: the link is dead
    answer_within: float = 10.0  # an unanswered action is sent again


BROWSER = Manner()
HURRIED = Manner(first_delay=0.6, longest_delay=2.0, silent_at_most=4.0, answer_within=3.0)


@dataclass(frozen=True)
class Door:
    """Where a viewer connects: a port, and the server that is behind it."""

    port: int
    server: int


class Watcher(Protocol):
    """Who keeps the books of all viewers (tests.faults.crowd.Crowd)."""

    manner: Manner
    random: random.Random

    def door(self) -> Door: ...
    def seated(self, viewer: "Viewer") -> None: ...
    def applied(self, viewer: "Viewer", frame: Parsed, *, moved: bool) -> None: ...
    def was_reset(self, viewer: "Viewer", epoch: str, change: int) -> None: ...
    def answered(self, viewer: "Viewer", action: "Action", answer: Answer) -> None: ...
    def try_again(self, viewer: "Viewer") -> None: ...
    def broken(self, viewer: "Viewer", error: Exception) -> None: ...
    def refused(self, viewer: "Viewer", code: int) -> None: ...
    def reconnects(self, viewer: "Viewer", after: "Link") -> None: ...


@dataclass
class Action:
    """Something sent that must be answered: again and again until it is."""

    key: str
    fields: Fields
    sent_at: float = 0.0
    times: int = 0
    not_before: float = 0.0  # after `try_again`


class Link(asyncio.Protocol):
    """One WebSocket connection, from the client's side."""

    def __init__(self, request: bytes, on_message: Callable[[bytes, bool], None]) -> None:
        self.request = request
        self.on_message = on_message
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.open = False
        self.code = 1006
        self.status = 0
        self.local_port = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.local_port = transport.get_extra_info("sockname")[1]
        self.transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.transport = None
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.open and not self._shake_hands():
            return
        try:
            while self.buffer and self.transport is not None:
                if not self._take_frame():
                    return
        except Exception:
            self.abort()
            raise

    def _shake_hands(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.status = int(self.buffer[9:12])
        del self.buffer[: end + 4]
        if self.status != 101:
            self.abort()
            return False
        self.open = True
        return True

    def _take_frame(self) -> bool:
        buffer = self.buffer
        if len(buffer) < 2:
            return False
        length, start = buffer[1] & 127, 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + length:
            return False
        first, payload = buffer[0], bytes(buffer[start : start + length])
        del buffer[: start + length]
        opcode = first & 15
        if opcode == 1:
            assert first & 128, "the server does not fragment"
            self.on_message(payload, bool(first & 64))
        elif opcode == 9:
            self.write(10, payload)
        elif opcode == 8:
            self.code = int.from_bytes(payload[:2]) if payload else 1005
            self.write(8, payload[:2])
            if self.transport:
                self.transport.close()
        return True

    def write(self, opcode: int, payload: bytes) -> None:
        """A frame, masked with zeros: as valid as any mask, and free."""
        if self.transport is None or self.transport.is_closing():
            return
        length = len(payload)
        size = bytes([128 | length]) if length < 126 else b"\xfe" + length.to_bytes(2)
        self.transport.write(bytes([128 | opcode]) + size + b"\0\0\0\0" + payload)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def leave(self) -> None:
        self.write(8, (1000).to_bytes(2))
        if self.transport is not None:
            self.transport.close()


def handshake(
    port: int, path: str, *, address: str, cookie: str = "", deflate: bool = True
) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Origin: http://127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(random.randbytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"X-Forwarded-For: {address}",
    ]
    if deflate:
        lines.append(
            "Sec-WebSocket-Extensions: permessage-deflate;"
            " server_no_context_takeover; client_no_context_takeover"
        )
    if cookie:
        lines.append(f"Cookie: {cookie}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(eq=False)
class Viewer:
    """One open page and the person before it."""

    crowd: Watcher
    name: str
    slug: str
    page: Page
    cookie: str = ""
    staff: bool = False
    address: str = "10.1.0.1"
    link: Link | None = None
    server: int = 0
    seated_at: float = 0.0  # wall clock; 0 while not connected
    heard_at: float = 0.0  # monotonic
    failures: int = 0
    leaving: bool = False
    waiting: dict[str, Action] = field(default_factory=dict)
    owed: set[int] = field(default_factory=set)  # removals that the first moving frame must bring
    _task: "asyncio.Task[None] | None" = None

    @property
    def is_seated(self) -> bool:
        return self.seated_at > 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        self.leaving = True
        if self._task is None:
            return
        if self.link is not None and self.link.open:
            self.link.leave()
            await asyncio.wait([self._task], timeout=0.5)
        if self.link is not None:
            self.link.abort()
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()):
            raise error

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            door = self.crowd.door()
            audience = "staff" if self.staff else "public"
            path = f"/ws/videos/{self.slug}/?cursor={self.page.cursor}&audience={audience}"
            request = handshake(door.port, path, address=self.address, cookie=self.cookie)
            self.heard_at = time.monotonic()
            link = Link(request, self._take)
            try:
                await loop.create_connection(lambda link=link: link, "127.0.0.1", door.port)  # type: ignore[misc]
            except OSError:
                link.ended.cancel()
            else:
                self.link, self.server = link, door.server
                await link.ended
            self.seated_at = 0.0
            self.link = None
            if self.leaving:
                return
            if link.code >= 4000 or link.status in (400, 403, 404):
                self.crowd.refused(self, link.code if link.code >= 4000 else link.status)
                return
            self.failures += 1
            manner = self.crowd.manner
            most = min(manner.longest_delay, manner.first_delay * 2 ** (self.failures - 1))
            await asyncio.sleep(self.crowd.random.uniform(0, most))
            self.crowd.reconnects(self, link)

    def _take(self, payload: bytes, compressed: bool) -> None:
        self.heard_at = time.monotonic()
        try:
            frame = read(payload, compressed)
            stood = (self.page.epoch, self.page.change)
            moved = self.page.apply(frame)
        except (AssertionError, KeyError, ValueError, zlib.error) as error:
            self.crowd.broken(self, error)
            return
        if not self.seated_at:
            self.seated_at = time.time()
            self.failures = 0
            self.crowd.seated(self)
            for action in list(self.waiting.values()):
                self._send(action)
        if frame.window is not None:
            self.crowd.was_reset(self, *stood)
        if frame.states or frame.window is not None or moved:
            self.crowd.applied(self, frame, moved=moved)
        for answer in frame.answers:
            self._hear(answer)

    def _hear(self, answer: Answer) -> None:
        action = self.waiting.get(answer.key)
        if action is None:
            return  # a second answer to what was sent twice
        if answer.code == "try_again":
            action.not_before = time.monotonic() + answer.retry_after
            self.crowd.try_again(self)
            return
        del self.waiting[answer.key]
        self.crowd.answered(self, action, answer)

    # --- acting -------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        self.waiting[action.key] = action
        self._send(action)

    def _send(self, action: Action) -> None:
        if self.link is None or not self.link.open:
            return
        action.sent_at = time.monotonic()
        action.times += 1
        action.not_before = 0.0
        self.link.write(1, json.dumps(action.fields | {"key": action.key}).encode())

    def look_at_the_clock(self) -> None:
        """Give a silent link up; send again what was not answered."""
        now = time.monotonic()
        if self.link is not None and now - self.heard_at > self.crowd.manner.silent_at_most:
            self.link.abort()
            return
        if not self.is_seated:
            return
        for action in list(self.waiting.values()):
            if action.not_before:
                if now >= action.not_before:
                    self._send(action)
            elif now - action.sent_at > self.crowd.manner.answer_within:
                self._send(action)
