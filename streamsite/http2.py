"""What Hypercorn 0.18 lacks of HTTP/2 for sockets and downloads, put in by `install`.

Under TLS browsers speak HTTP/2, and open their WebSockets as streams of the connection that they
have already (RFC 8441). There

- Socket: a frame goes through the stream's flow control, so that a peer may stop reading one stream
  and go on with the others; it is cut alone.
- Buffer: Hypercorn's lets go of who waits with it whenever nothing could be sent: a paused download
  would be read into memory as a whole.
- Protocol: a stream that ends on one side stayed open on the other, data for it that was still
  under way ended the whole connection with a traceback, and so did requests that make no sense.

They can go when Hypercorn does that; tests/test_http2.py says when.
"""

import asyncio
from contextlib import suppress
from typing import Any

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from hypercorn import protocol as hypercorn_protocol
from hypercorn.events import Closed, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import h2
from hypercorn.protocol.events import Data, EndBody, Event, StreamClosed
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    H2Protocol,
    StreamBuffer,
)
from hypercorn.protocol.ws_stream import WSStream
from priority.priority import PriorityError

from streamsite.observe.counts import counts
from streamsite.reading import Reading
from streamsite.websocket import (
    LEAST_TAKEN,
    PING,
    TAKEN_WITHIN,
    WAITING_AT_MOST,
    Frame,
    LiveStream,
)

# An answer of which a peer takes nothing for this long, while more of it waits, is broken off: its
# window may stay shut for ever, on a connection that looks well. As in streamsite/peers.py.
UNTAKEN_AT_MOST = 30.0  # seconds


class Buffer(StreamBuffer):
    """What waits for a stream's window: who has more waits until there is room."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.taken = 0  # bytes that went on their way so far
        self._reading = Reading(1, UNTAKEN_AT_MOST)

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        self.taken += len(data)
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data

    def is_untaken(self, now: float) -> bool:
        """Whether nothing was taken for UNTAKEN_AT_MOST while something waited."""
        return self._reading.stalls(now, len(self.buffer), self.taken)


class Socket(LiveStream):
    """A WebSocket on a stream of HTTP/2."""

    shares_connection = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending: asyncio.Task[None] | None = None  # the one frame that waits for room
        self._stream_reading = Reading(LEAST_TAKEN, TAKEN_WITHIN)

    @property
    def protocol(self) -> "Protocol":
        protocol: Protocol = self.send.__self__  # type: ignore[attr-defined]
        return protocol

    async def handle(self, event: Event) -> None:
        if isinstance(event, EndBody):
            # As the end of a connection is elsewhere (RFC 8441, 5).
            await self.send(StreamClosed(stream_id=self.stream_id))
        else:
            await super().handle(event)

    def write(self, frame: Frame) -> bool:
        transport = self.open_to
        if (
            transport is None
            or (self._sending is not None and not self._sending.done())
            or transport.is_closing()
            or transport.get_write_buffer_size() > WAITING_AT_MOST
        ):
            return False
        self._send_now(frame.framed(self.window_bits))
        return True

    def _send_now(self, data: bytes) -> None:
        """Put data in the stream's buffer at once; where that is full then, it counts as under
        way until there is room."""
        loop = asyncio.get_running_loop()
        work = self.send(Data(stream_id=self.stream_id, data=data))
        self._sending = asyncio.Task(work, loop=loop, eager_start=True)  # type: ignore[arg-type]

    def ping(self) -> bool:
        if self._sending is not None and not self._sending.done():
            return False
        self._send_now(PING)
        return True

    def abort(self) -> None:
        """End this stream; the others of its connection go on."""
        self.live.pop(self, None)
        self.open_to = None
        self.protocol.spawn_reset(self.stream_id)

    def look(self, now: float) -> None:
        assert self.transport is not None, "it was there at the handshake"
        if self.transport.is_closing():
            return
        buffer = self.protocol.stream_buffers.get(self.stream_id)
        if self.is_not_reading(now):
            counts.peers_cut.add("not_reading")
            self.transport.abort()  # nothing gets through for any of its streams
        elif isinstance(buffer, Buffer) and self._stream_reading.stalls(
            now, len(buffer.buffer), buffer.taken
        ):
            counts.peers_cut.add("not_reading")
            self.abort()
        else:
            super().look(now)


class Protocol(H2Protocol):
    """One connection of HTTP/2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resets: set[asyncio.Task[None]] = set()

    async def handle(self, event: ConnectionEvent) -> None:
        try:
            await super().handle(event)
        except PriorityError:  # an order of streams that makes no sense
            await self.send(Closed())
        if isinstance(event, Closed):
            for buffer in self.stream_buffers.values():
                await buffer.close()  # nobody is left to wait for room in it

    async def _handle_events(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, RequestReceived) and not makes_sense(event.headers):
                with suppress(ProtocolError):  # it has ended already
                    self.connection.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            elif isinstance(event, DataReceived) and event.stream_id not in self.streams:
                # It was answered before all of it was read.
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            else:
                with suppress(ProtocolError):  # refused as the process ends, but ended already
                    await super()._handle_events([event])
            if isinstance(event, StreamReset) and self.idle:
                await self.send(Updated(idle=True))
        await self._flush()

    async def _close_stream(self, stream_id: int) -> None:
        """End our side of a stream, too: an answer that broke off must not look whole."""
        stream, buffer = self.streams.get(stream_id), self.stream_buffers.get(stream_id)
        await super()._close_stream(stream_id)
        if stream is None or buffer is None:
            return
        if isinstance(stream, WSStream):
            buffer.set_complete()
        elif not buffer._complete and not self.closed:  # else nobody is there to be told
            with suppress(ProtocolError):  # it ended the stream itself
                self.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
                await self._flush()
        await self._window_updated(stream_id)

    def look(self, now: float) -> None:
        """Break off the answers that are not taken; open sockets are looked at for themselves."""
        for stream_id, buffer in [*self.stream_buffers.items()]:
            is_socket = self.streams.get(stream_id) in LiveStream.live
            if not is_socket and isinstance(buffer, Buffer) and buffer.is_untaken(now):
                self.spawn_reset(stream_id)

    def spawn_reset(self, stream_id: int) -> None:
        task = asyncio.get_running_loop().create_task(self._reset(stream_id))
        self._resets.add(task)
        task.add_done_callback(self._resets.discard)

    async def _reset(self, stream_id: int) -> None:
        with suppress(ProtocolError):
            self.connection.reset_stream(stream_id, ErrorCodes.CANCEL)
        if buffer := self.stream_buffers.get(stream_id):
            await buffer.close()  # whoever waits for room in it may be who the reader waits for
        await self.stream_send(StreamClosed(stream_id=stream_id))
        await self._flush()


def makes_sense(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request has a path that can be read, and is a CONNECT only for a WebSocket."""
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not (method and path and method.isascii() and path.isascii()):
        return False
    return (method.upper() == b"CONNECT") is (pseudo.get(b":protocol") == b"websocket")


def install() -> None:
    """Put each class where Hypercorn takes its own from."""
    vars(h2)["WSStream"], vars(h2)["StreamBuffer"] = Socket, Buffer
    vars(hypercorn_protocol)["H2Protocol"] = Protocol
