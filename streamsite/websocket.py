"""What Hypercorn 0.18 and wsproto lack for many long-lived sockets, put in by `install`.

- SharedDeflate: Hypercorn always negotiates wsproto's permessage-deflate (RFC 7692), per
  connection: each socket then holds 130 KiB of windows, each frame is compressed anew
  for every viewer, and a frame of 60 KB inflates to 200 MB before its size is looked at.
- LiveStream: one message to many sockets is framed anew for each, through several coroutines;
  `write` takes a Frame that was made once. Hypercorn's ping is one sleeping task per socket, which
  outlives the socket by up to the ping's interval, and nobody looks for the pong; a peer that
  stops reading is never dropped. An application that sends to a peer who is gone, with many of its
  messages still to read, never wakes up again, and neither does what it holds.

There is no setting for any. They can go when Hypercorn takes an extension by its configuration,
offers a way to send one frame to many, checks pongs, and bounds `drain()`.
tests/test_websocket.py says when that is.
"""

import asyncio
import random
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypercorn.protocol import h11, ws_stream
from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from wsproto.events import CloseConnection
from wsproto.events import Event as WSProtoEvent
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from streamsite.observe.counts import counts
from streamsite.reading import Reading

PING_SECONDS = 38.0  # between two pings of one socket; keeps idle ones alive through proxies
# A socket waits up to PING_SECONDS for its first ping, so a live one is heard of well within this;
# a silent one is met at the next look after it, within a minute.
SILENT_AT_MOST = 52.0
# A peer that takes less than this in that time, and not all that waited for it at its beginning, is
# not reading. The kernel alone may put up with it for half a minute, since windows open by a few
# bytes now and then.
LEAST_TAKEN = 4 * 1024  # bytes
TAKEN_WITHIN = 6.0  # seconds
# A peer that we have told that the socket closes has this long to say so too. It may ping on for
# ever otherwise, and is heard of.
CLOSING_AT_MOST = 6.0
LOOK_SECONDS = 2.0
LOOK_STEPS = 20  # the sockets are looked at in so many parts, for others to have their turn between
UNACKNOWLEDGED_AT_MOST = 8_000  # ms that sent data may wait for the peer's kernel to take it
SEND_BUFFER = 64 * 1024  # bytes in our kernel for a peer that does not read
WAITING_AT_MOST = 64 * 1024  # bytes beyond that; with more in hand a socket takes no frame

INFLATED_AT_MOST = 64 * 1024  # bytes; as websocket_max_message_size in hypercorn.toml
WORTH_IT = 256  # bytes; shorter frames gain nothing
PING = b"\x89\x00"
PONG = b"\x8a\x80"  # of a client, with the mask behind it


class Frame:
    """A text message for many sockets: framed once (RFC 6455, 5.2) and deflated once."""

    __slots__ = ("_framed", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._framed: dict[int, bytes] = {}

    def framed(self, window_bits: int) -> bytes:
        """The bytes for sockets with a deflate window of this size; 0: without compression."""
        framed = self._framed.get(window_bits)
        if framed is None:
            framed = self._framed[window_bits] = self._made(window_bits)
            counts.frame_bytes.observe(len(framed))
        return framed

    def _made(self, window_bits: int) -> bytes:
        payload, first = self.text.encode(), 0x80 | Opcode.TEXT  # whole in one frame
        if window_bits and len(payload) >= WORTH_IT:
            payload, first = deflated(payload, window_bits), first | 0x40
        if len(payload) < 126:
            return struct.pack("!BB", first, len(payload)) + payload
        if len(payload) < 1 << 16:
            return struct.pack("!BBH", first, 126, len(payload)) + payload
        return struct.pack("!BBQ", first, 127, len(payload)) + payload


def deflated(data: bytes, window_bits: int) -> bytes:
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits)
    whole = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return whole[:-4]  # RFC 7692, 7.2.1: the empty block at the end is left out


class SharedDeflate(PerMessageDeflate):
    """No context is carried from message to message, on either side: nothing is kept per socket,
    and one compressed Frame fits all."""

    def __init__(self) -> None:
        super().__init__(client_no_context_takeover=True, server_no_context_takeover=True)
        self._inflated = 0

    def accept(self, offer: str) -> bool | str | None:
        try:
            return super().accept(offer)
        except ValueError:
            return None  # parameters that make no sense: then without compression

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        whole = fin and opcode in (Opcode.TEXT, Opcode.BINARY)
        if not whole or len(data) < WORTH_IT:
            return rsv, data
        return RsvBits(True, rsv[1], rsv[2]), deflated(data, self.server_max_window_bits)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        assert self._decompressor is not None, "frame_inbound_header made it"
        # One byte more than the bound is enough for Hypercorn to refuse the message (1009).
        room = INFLATED_AT_MOST + 1 - self._inflated
        if room <= 0:
            return b""
        try:
            inflated = self._decompressor.decompress(bytes(data), room)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(inflated)
        return inflated

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if fin and self._inflated > INFLATED_AT_MOST:
            # The rest stays folded: finishing it would inflate all of it.
            self._inflated = 0
            self._decompressor = None
            self._inbound_compressed = None
            return None
        if fin and self._inbound_is_compressible:
            self._inflated = 0
        return super().frame_inbound_complete(proto, fin)


def is_readable(name: bytes, value: bytes) -> bool:
    """Whether a header is no riddle to wsproto, which would end the connection with a traceback."""
    return value.isascii() or not name.lower().startswith(b"sec-websocket-")


class LiveStream(WSStream):
    """A WebSocket that takes ready-made frames, and whose peer must show now and then that it
    lives and reads. The application finds it as `scope["extensions"]["streamsite.peer"]`.
    """

    __slots__ = ("open_to", "window_bits")

    live: "dict[LiveStream, None]" = {}
    looking: "asyncio.Task[None] | None" = None
    shares_connection = False  # with other streams (streamsite/http2.py)
    transport: "asyncio.WriteTransport | None" = None
    inbox: asyncio.Queue[Any] | None = None  # what waits for the application

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        async def with_peer(scope: Any, receive: Any, send: Any, *asgi: Any) -> None:
            self.transport = self._own_transport()
            scope["extensions"]["streamsite.peer"] = self
            self.inbox = receive.__self__  # its peer may have left already
            try:
                await app(scope, receive, send, *asgi)
            finally:
                # Nobody reads any more; who waits to be heard goes on, too.
                self.app_put = _unheard
                while not self.inbox.empty():
                    self.inbox.get_nowait()

        super().__init__(with_peer, *args, **kwargs)  # type: ignore[arg-type]
        # Where frames may be written: from the handshake, which its peer may not live to see, until
        # a close is sent or met. In slots, as a flush looks at these two of thousands of sockets.
        self.open_to: asyncio.WriteTransport | None = None
        self.window_bits = 0  # of the negotiated compression
        self.heard = 0.0
        self.pinged = 0.0
        self.closing_since = 0.0  # since when the handshake of closing is seen under way
        self.tcp: socket.socket | None = None  # where its kernel's counters can be asked
        self.reading = Reading(LEAST_TAKEN, TAKEN_WITHIN)

    async def handle(self, event: Event) -> None:
        if isinstance(event, Body | Data):
            self.heard = asyncio.get_running_loop().time()
            if self.is_pong(event.data):
                return  # parsing it would be most of what a quiet socket costs
        elif isinstance(event, StreamClosed):
            self.open_to = None
            self.live.pop(self, None)
            if self.inbox is not None:
                # Room for the news. It may be the application itself that meets this, in a send,
                # with ten messages of the peer's still to read: it would wait for ever for room
                # that only it can make.
                self.inbox._maxsize = 0  # type: ignore[attr-defined]
        elif isinstance(event, Request):
            event = replace(event, headers=[h for h in event.headers if is_readable(*h)])
        was_closed = self.closed or isinstance(event, StreamClosed)
        with suppress(UnheardError):
            await super().handle(event)
            if isinstance(event, StreamClosed) and self.app_put is not None:
                self.app_put = _unheard  # that was the last
            if self.closed and not was_closed and self.app_put is not None:
                # Refused for what came. Nobody would tell the application, which has begun.
                await self.app_put({"type": "websocket.disconnect", "code": 1006})

    def is_pong(self, data: bytes) -> bool:
        """Whether this is a pong for PING, whole and by itself (masked, so of six bytes), that came
        between two messages."""
        if len(data) != 6 or data[:2] != PONG or self.open_to is None:
            return False
        frames = self.connection._proto._frame_decoder
        return frames.header is None and not len(frames.buffer)

    async def _accept(self, message: Any) -> None:
        assert self.transport is not None, "with_peer came before"
        peer = self.transport.get_extra_info("socket")
        _bound_waiting(peer, alone=not self.shares_connection)
        self.tcp = peer if peer.family != socket.AF_UNIX else None
        await super()._accept(message)
        if self.closed:
            return  # its peer left meanwhile
        self.open_to = self.transport
        counts.sockets_opened += 1
        for extension in self.connection._proto.extensions:
            if isinstance(extension, SharedDeflate) and extension.enabled():
                self.window_bits = extension.server_max_window_bits
        loop = asyncio.get_running_loop()
        self.heard = loop.time()
        # Who came at once is not pinged at once.
        self.pinged = self.heard - random.uniform(0, PING_SECONDS)  # noqa: S311
        self.live[self] = None
        if LiveStream.looking is None or LiveStream.looking.done():
            LiveStream.looking = loop.create_task(_look_at_all())

    def write(self, frame: Frame) -> bool:
        """Send a frame at once, past all queues; False, and nothing is sent, while too much that
        was sent before still waits in this process, or the socket closes."""
        transport = self.open_to
        if transport is None:
            return False
        try:
            if transport.get_write_buffer_size() > WAITING_AT_MOST:
                return False
            transport.write(frame.framed(self.window_bits))
        except (RuntimeError, OSError):  # it has closed, which the stream is about to be told
            self.open_to = None
            return False
        return True

    async def _send_wsproto_event(self, event: WSProtoEvent) -> None:
        if isinstance(event, CloseConnection):
            self.open_to = None  # a close is the last frame
        await super()._send_wsproto_event(event)

    @property
    def is_ending(self) -> bool:
        """Whether `write` will never take a frame again."""
        return self.open_to is None or self.open_to.is_closing()

    def abort(self) -> None:
        """End the connection without waiting for its peer."""
        self.live.pop(self, None)
        self.open_to = None
        if self.transport is not None:
            self.transport.abort()

    def ping(self) -> bool:
        """Whether it could be sent now."""
        assert self.transport is not None, "it was there at the handshake"
        self.transport.write(PING)
        return True

    def _own_transport(self) -> asyncio.WriteTransport:
        """The transport of the connection."""
        protocol: H11Protocol = self.send.__self__  # type: ignore[attr-defined]
        transport: asyncio.WriteTransport = protocol.send.__self__.writer.transport  # type: ignore[attr-defined]
        return transport

    def look(self, now: float) -> None:
        """Abort the connection if its peer is silent or does not read; ping it if that is due."""
        assert self.transport is not None, "it was there at the handshake"
        if self.transport.is_closing():
            return
        if self.open_to is None and not self.closing_since:
            self.closing_since = now
        if why := self.why_cut(now):
            counts.peers_cut.add(why)
            self.abort()
        elif now - self.pinged >= PING_SECONDS and not self.closing_since and self.ping():
            self.pinged = now

    def why_cut(self, now: float) -> str:
        """The reason for which the connection is to end now; empty where there is none."""
        is_not_reading = self.is_not_reading(now)  # which also hears of the peer
        if now - self.heard > SILENT_AT_MOST:
            return "silent"
        if is_not_reading:
            return "not_reading"
        if self.closing_since and now - self.closing_since > CLOSING_AT_MOST:
            return "closing"
        return ""

    def is_not_reading(self, now: float) -> bool:
        """Whether the peer's kernel takes too little; what it takes is a sign of life, too: its
        pong may wait behind all that."""
        if self.tcp is None:
            return False
        stalls = self.reading.stalls_at(now, self.tcp)
        if self.reading.is_seen:
            self.heard = now
        return stalls


class UnheardError(Exception):
    """Nobody listens any more. What else the peer sent is not even taken apart, which would hold
    everybody up: 64 KiB can be 46 MiB of messages."""


async def _unheard(message: Any) -> None:
    """In the place of what puts a message before the application."""
    raise UnheardError


async def _look_at_all() -> None:
    """Look at every live socket once in LOOK_SECONDS."""
    loop = asyncio.get_running_loop()
    while LiveStream.live:
        streams = list(LiveStream.live)
        for step in range(LOOK_STEPS):
            await asyncio.sleep(LOOK_SECONDS / LOOK_STEPS)
            now = loop.time()
            for stream in streams[step::LOOK_STEPS]:
                if stream in LiveStream.live:
                    stream.look(now)


def _bound_waiting(peer: socket.socket, *, alone: bool) -> None:
    """Let the kernel give up a peer that takes nothing in, and keep little for it; a connection
    that is not for the socket alone may be full of a download, which would be slowed."""
    if peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_AT_MOST)
    if alone:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def install() -> None:
    """Put each class where Hypercorn takes its own from."""
    for module, ours in (
        (ws_stream, SharedDeflate),
        (h11, LiveStream),
    ):
        name = ours.__mro__[1].__name__
        assert issubclass(getattr(module, name), ours.__mro__[1]), "see the docstring"
        setattr(module, name, ours)
