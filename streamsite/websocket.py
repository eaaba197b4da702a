"""What Hypercorn 0.18 and wsproto lack for many long-lived sockets, put in by `install`.

- SharedDeflate: Hypercorn always negotiates wsproto's permessage-deflate (RFC 7692), per
  connection: each socket then holds 130 KiB of windows, each frame is compressed anew
  for every viewer, and a frame of 60 KB inflates to 200 MB before its size is looked at.
- LiveStream: Hypercorn's ping is one sleeping task per socket, which outlives the socket by up to
  the ping's interval, and nobody looks for the pong; a peer that stops reading is never dropped.

- QuietServer: each connection that the kernel gave up would leave a traceback.

There is no setting for any. They can go when Hypercorn takes an extension by its
configuration, checks pongs, and bounds `drain()`. tests/test_websocket.py says when that is.
"""

import asyncio
import fcntl
import socket
import sys
import termios
import zlib
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from hypercorn.asyncio import run as asyncio_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol import h2, h11, ws_stream
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.events import Ping
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

PING_SECONDS = 15.0  # between two pings of one socket; keeps idle ones alive through proxies
# A new socket waits up to two rounds (30 s) for its first ping, so a live one is heard of within
# this; a silent one is met at the next look after it, within a minute.
SILENT_AT_MOST = 44.0
# A peer that takes less than this in that time, while data waits for it, is not reading. The kernel
# alone may put up with it for half a minute, since windows open by a few bytes now and then.
LEAST_TAKEN = 4 * 1024  # bytes
TAKEN_WITHIN = 6.0  # seconds
LOOK_SECONDS = 2.0
UNACKNOWLEDGED_AT_MOST = 8_000  # ms that sent data may wait for the peer's kernel to take it
SEND_BUFFER = 64 * 1024  # bytes in our kernel for a peer that does not read

INFLATED_AT_MOST = 64 * 1024  # bytes; as websocket_max_message_size in hypercorn.toml
WORTH_IT = 128  # bytes; shorter frames gain nothing
KEPT = 128  # compressed frames; what one flush sends to many sockets is far fewer

_compressed: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()


class SharedDeflate(PerMessageDeflate):
    """No context is carried from message to message, on either side: nothing is kept per socket,
    and equal frames compress to equal bytes."""

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
        return RsvBits(True, rsv[1], rsv[2]), compress(data, self.server_max_window_bits)

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


def compress(data: bytes, window_bits: int) -> bytes:
    """The frame's deflated bytes, from memory when it was sent to another socket just now."""
    known = _compressed.get((window_bits, data))
    if known is not None:
        return known
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits)
    deflated = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    deflated = deflated[:-4]  # RFC 7692, 7.2.1: the empty block at the end is left out
    _compressed[window_bits, data] = deflated
    if len(_compressed) > KEPT:
        _compressed.popitem(last=False)
    return deflated


class LiveStream(WSStream):
    """A WebSocket whose peer must show now and then that it lives, pinged by one task for all.

    The application finds `scope["extensions"]["streamsite.abort"]`: ends the connection at once,
    also when its peer does not read and every `send` waits.
    """

    looking: "asyncio.Task[None] | None" = None
    live: "dict[LiveStream, None]" = {}  # in the order of their coming, which the rounds keep
    pinging: "asyncio.Task[None] | None" = None

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        async def with_abort(scope: Any, receive: Any, send: Any, *asgi: Any) -> None:
            if self._transport() is None:
                await _refuse_http2(send)
                return
            scope["extensions"]["streamsite.abort"] = self.abort
            await app(scope, receive, send, *asgi)

        super().__init__(with_abort, *args, **kwargs)  # type: ignore[arg-type]
        self.heard = 0.0
        self.waiting_since = 0.0  # when data began to wait for the peer, 0 while none does
        self.taken = 0  # bytes that the peer's kernel had acknowledged by then

    async def handle(self, event: Event) -> None:
        if isinstance(event, Body | Data):
            self.heard = asyncio.get_running_loop().time()
        elif isinstance(event, StreamClosed):
            self.live.pop(self, None)
        await super().handle(event)

    async def _accept(self, message: Any) -> None:
        if (transport := self._transport()) is not None:
            _bound_waiting(transport.get_extra_info("socket"))
        await super()._accept(message)
        loop = asyncio.get_running_loop()
        self.heard = loop.time()
        self.live[self] = None
        if LiveStream.pinging is None or LiveStream.pinging.done():
            LiveStream.pinging = loop.create_task(_ping_all())
        if LiveStream.looking is None or LiveStream.looking.done():
            LiveStream.looking = loop.create_task(_look_at_all())

    def abort(self) -> None:
        """End the connection without waiting for its peer."""
        self.live.pop(self, None)
        if (transport := self._transport()) is not None:
            transport.abort()

    def _transport(self) -> "asyncio.WriteTransport | None":
        """The socket's own transport; None under HTTP/2, where other streams share it."""
        protocol = getattr(self.send, "__self__", None)
        if not isinstance(protocol, H11Protocol):
            return None
        transport: asyncio.WriteTransport = protocol.send.__self__.writer.transport  # type: ignore[attr-defined]
        return transport

    def is_not_reading(self, now: float) -> bool:
        """Whether data waits for the peer for TAKEN_WITHIN, and it took next to nothing of it."""
        transport = self._transport()
        if transport is None or transport.is_closing():
            return False
        peer = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX or not bytes_waiting(peer):
            self.waiting_since = 0.0
            return False
        taken = bytes_taken(peer)
        if not self.waiting_since:
            self.waiting_since, self.taken = now, taken
        elif now - self.waiting_since >= TAKEN_WITHIN:
            if taken - self.taken < LEAST_TAKEN:
                return True
            self.waiting_since, self.taken = now, taken
        return False

    async def ping(self) -> None:
        if self.state is ASGIWebsocketState.CONNECTED and not self.closed:
            await self._send_wsproto_event(Ping())


async def _refuse_http2(send: Any) -> None:
    """501: a stream of HTTP/2 shares its connection, so a peer that does not read could not be
    cut without the others. Browsers are not offered it unless TLS is on here."""
    await send({"type": "websocket.http.response.start", "status": 501, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


async def _ping_all() -> None:
    """Ping every live socket once in PING_SECONDS, spread; abort those that stay silent."""
    loop = asyncio.get_running_loop()
    waiting: set[asyncio.Task[None]] = set()
    while LiveStream.live:
        streams = list(LiveStream.live)
        pause = PING_SECONDS / len(streams)
        due = loop.time()
        for stream in streams:
            due += pause
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if stream not in LiveStream.live:
                continue
            if loop.time() - stream.heard > SILENT_AT_MOST:
                stream.abort()
                continue
            # A peer that does not read would hold a ping back: nobody waits for it.
            task = loop.create_task(stream.ping())
            waiting.add(task)
            task.add_done_callback(waiting.discard)


async def _look_at_all() -> None:
    """Abort the sockets whose peers do not read; one look in LOOK_SECONDS at all of them."""
    loop = asyncio.get_running_loop()
    while LiveStream.live:
        await asyncio.sleep(LOOK_SECONDS)
        for stream in list(LiveStream.live):
            if stream.is_not_reading(loop.time()):
                stream.abort()


def bytes_waiting(peer: socket.socket) -> int:
    """How much of what we sent the peer's kernel has not acknowledged (SIOCOUTQ)."""
    answer = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def bytes_taken(peer: socket.socket) -> int:
    """How much it has acknowledged since the beginning (tcpi_bytes_acked in Linux's tcp_info)."""
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    return int.from_bytes(info[120:128], sys.byteorder)


def _bound_waiting(peer: socket.socket) -> None:
    """Let the kernel give up a peer that takes nothing in, and keep little for it."""
    if peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_AT_MOST)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


class QuietServer(TCPServer):
    """A connection whose end is no news: that its peer was gone for too long (ETIMEDOUT) would be
    a traceback in the log for each, since Hypercorn expects fewer kinds of loss."""

    async def _close(self) -> None:
        with suppress(OSError):
            await super()._close()


def install() -> None:
    """Put each class where Hypercorn takes its own from."""
    for module, ours in (
        (ws_stream, SharedDeflate),
        (h11, LiveStream),
        (h2, LiveStream),
        (asyncio_run, QuietServer),
    ):
        name = ours.__mro__[1].__name__
        assert issubclass(getattr(module, name), ours.__mro__[1]), "see the docstring"
        setattr(module, name, ours)
