"""What Hypercorn 0.18 lacks where connections are many or their peers mean no good, put in by
`install`.

- BoundedServer: Hypercorn takes in as many connections as come, until the process has no descriptor
  left for the next one; keeps one whose peer has left for another 30 s; waits for ever for a peer
  that does not read; leaves a traceback for each that the kernel gave up; and tells nobody that it
  ends before all has ended.
- Request: who sends more of a body than is read waits for ever once the request is answered, and so
  does its connection, which then ends with nobody.
- PlainH11: Hypercorn speaks HTTP/2 without TLS to whoever asks. No browser does; and a peer that
  holds its streams' windows shut would keep their answers here, on a connection that looks well.

There is no setting for any. They can go when Hypercorn has one for each; tests/test_connections.py
says when that is.
"""

import asyncio
import logging
import socket
import struct
from contextlib import suppress
from typing import Any, ClassVar

import h11
import hypercorn.protocol
from hypercorn.asyncio import run as asyncio_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream

from comments.fanout import fanout
from streamsite import http2
from streamsite.accepting import address_of, connections
from streamsite.reading import Reading, bytes_waiting
from streamsite.serving import DRAIN_SECONDS
from streamsite.websocket import WAITING_AT_MOST, LiveStream

logger = logging.getLogger(__name__)

# A peer that takes less than this in that time, while more waits for it, is cut: half a kilobyte a
# second is the poorest line. A browser whose video is paused, and whose buffer is full, asks for
# the rest (Range) when it needs it. WebSockets have a stricter rule of their own.
LEAST_TAKEN = 16 * 1024  # bytes
TAKEN_WITHIN = 30.0  # seconds
LOOK_SECONDS = 4.0
LOOK_STEPS = 20  # the connections are looked at in so many parts


class BoundedServer(TCPServer):
    """One connection; Hypercorn's name for it."""

    open: "ClassVar[dict[BoundedServer, None]]" = {}
    looking: "ClassVar[asyncio.Task[None] | None]" = None
    ending: "ClassVar[asyncio.Task[None] | None]" = None

    tcp: socket.socket | None = None  # where its kernel's counters can be asked
    has_left = False  # the peer sends nothing any more
    live: LiveStream | None = None  # the WebSocket that it became

    async def run(self) -> None:
        address = connections.after_handshake(self.writer.transport.get_protocol())
        if address is None:
            address = address_of(self.writer.get_extra_info("peername"))
            if not connections.take_in(address):
                self.writer.transport.abort()
                return
        self.open[self] = None
        self.reading = Reading(LEAST_TAKEN, TAKEN_WITHIN)
        if BoundedServer.looking is None or BoundedServer.looking.done():
            BoundedServer.looking = self.loop.create_task(_look_at_all())
        if BoundedServer.ending is None:
            BoundedServer.ending = self.loop.create_task(_close_sockets_at_the_end(self.context))
        try:
            self._bound_waiting()
            # As without TLS, where uvloop would take half a MiB for an answer that nobody reads.
            self.writer.transport.set_write_buffer_limits(high=WAITING_AT_MOST)
            await super().run()
        except Exception:
            # Hypercorn waits for all connections at once: one that fails would end the others.
            logger.exception("a connection ended by a mistake")
        finally:
            del self.open[self]
            connections.let_go(address)

    def _bound_waiting(self) -> None:
        """Have the kernel give up a peer that acknowledges nothing."""
        transport_socket = self.writer.get_extra_info("socket")
        if transport_socket.family in (socket.AF_INET, socket.AF_INET6):
            self.tcp = transport_socket
            milliseconds = int(TAKEN_WITHIN * 1000)
            with suppress(OSError):  # it has gone already, which is found out next
                self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        except BaseException:
            # The process ends, and time is up: what is still to be sent would be waited for. Or it
            # is a mistake, which ends the connection. Nothing else can be begun for it either way.
            self.has_left = True
            self.writer.transport.abort()
            raise
        # What works for the peer has been told. It will ask for nothing else.
        self.has_left = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and self.has_left:
            return  # it would be waited for
        try:
            await super().protocol_send(event)
        except OSError:  # ETIMEDOUT, as in _close; what Hypercorn knows are ConnectionErrors
            await self.protocol.handle(Closed())

    async def _close(self) -> None:
        with suppress(OSError):  # ETIMEDOUT: its peer was gone for too long, which is no news
            await super()._close()

    def look(self, now: float) -> None:
        """Abort the connection if its peer does not take what waits for it."""
        if self.live in LiveStream.live:
            return  # an open socket is looked at for itself
        protocol = getattr(self, "protocol", None)  # none where there was no peer any more
        if protocol is None:
            return
        if isinstance(protocol.protocol, http2.Protocol):
            protocol.protocol.look(now)
        if self.tcp is None or (self.writer.transport.is_closing() and self.tcp.fileno() < 0):
            return
        stream = getattr(protocol.protocol, "stream", None)
        if isinstance(stream, LiveStream):
            self.live = stream
            if stream.closed and not bytes_waiting(self.tcp):
                # Refused, and has its answer. Hypercorn would keep the connection for nothing.
                self.writer.transport.abort()
        if self.reading.stalls_at(now, self.tcp):
            # With nothing left behind in the kernel, which would go on offering it.
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()


async def _look_at_all() -> None:
    """Look at every connection once in LOOK_SECONDS."""
    loop = asyncio.get_running_loop()
    while BoundedServer.open:
        connections = list(BoundedServer.open)
        for step in range(LOOK_STEPS):
            await asyncio.sleep(LOOK_SECONDS / LOOK_STEPS)
            for connection in connections[step::LOOK_STEPS]:
                if connection in BoundedServer.open:
                    connection.look(loop.time())


async def _close_sockets_at_the_end(context: Any) -> None:
    """For plain Hypercorn, which tells the application only when all connections are gone:
    `serve` has begun with it by then."""
    await context.terminated.wait()
    if not fanout.draining:
        await fanout.close_all(1012, seconds=DRAIN_SECONDS)


class Request(HTTPStream):
    """One request; Hypercorn's name for it is HTTPStream."""

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed) and self.app_put is not None:
            # Nobody takes any more what came of its body: who waits to add to it goes on, and
            # there is room for the news that it has ended.
            queue: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]
            while not queue.empty():
                queue.get_nowait()
        await super().handle(event)


class Ended:
    """In the place of h11's connection when there is nothing more to read of it: who waits for
    the next request's turn (h11.PAUSED) goes on, and finds that."""

    they_are_waiting_for_100_continue = False
    our_state = their_state = h11.ERROR

    def receive_data(self, data: bytes) -> None:
        """It is read by nobody."""

    def next_event(self) -> Any:
        return h11.NEED_DATA

    def send(self, event: Any) -> bytes:
        raise h11.LocalProtocolError("the connection has ended")


class PlainH11(H11Protocol):
    """HTTP/1.1, and no way from there to HTTP/2: TLS can agree on that (ALPN)."""

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            self.connection = Ended()  # type: ignore[assignment]
            await self.can_read.set()

    async def _maybe_recycle(self) -> None:
        done = self.connection.our_state is self.connection.their_state is h11.DONE
        if self.context.terminated.is_set() or not done:
            self.connection = Ended()  # type: ignore[assignment]
        await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        """An `Upgrade: h2c` is an offer, which is not taken."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.method == b"PRI":  # the preface of HTTP/2
            await self._send_error_response(505)
            await self.send(Closed())
            return
        await super()._create_stream(request)


def install() -> None:
    """Put each class where Hypercorn takes its own from."""
    for module, ours in (
        (asyncio_run, BoundedServer),
        (hypercorn.protocol, PlainH11),
        (hypercorn.protocol.h11, Request),
        (hypercorn.protocol.h2, Request),
    ):
        name = ours.__mro__[1].__name__
        assert issubclass(getattr(module, name), ours.__mro__[1]), "see the docstring"
        setattr(module, name, ours)
