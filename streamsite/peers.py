"""What Hypercorn 0.18 lacks where connections are many or their peers mean no good, put in by
`install`.

- BoundedServer: Hypercorn takes in as many connections as come, until the process has no descriptor
  left for the next one; keeps one whose peer has left for another 30 s; waits for ever for a peer
  that does not read; leaves a traceback for each that the kernel gave up; and tells nobody that it
  ends before all has ended.
- PlainH11: Hypercorn speaks HTTP/2 without TLS to whoever asks. No browser does; and a peer that
  holds its streams' windows shut would keep their answers here, on a connection that looks well.

There is no setting for any. They can go when Hypercorn has one for each; tests/test_connections.py
says when that is.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any, ClassVar

import h11
import hypercorn.protocol
from hypercorn.asyncio import run as asyncio_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.h11 import H11Protocol

from comments.fanout import fanout
from streamsite import http2
from streamsite.accepting import address_of, connections
from streamsite.reading import Reading
from streamsite.serving import DRAIN_SECONDS
from streamsite.websocket import LiveStream

# A peer that takes less than this in that time, while more waits for it, is cut: half a kilobyte a
# second is the poorest line. A browser whose video is paused, and whose buffer is full, asks for
# the rest (Range) when it needs it. WebSockets have a stricter rule of their own.
LEAST_TAKEN = 16 * 1024  # bytes
TAKEN_WITHIN = 30.0  # seconds
LOOK_SECONDS = 4.0
LOOK_STEPS = 20  # the connections are looked at in so many parts


class BoundedServer(TCPServer):
    """One connection; Hypercorn's name for it."""

    looked_at: "ClassVar[dict[BoundedServer, None]]" = {}
    looking: "ClassVar[asyncio.Task[None] | None]" = None
    ending: "ClassVar[asyncio.Task[None] | None]" = None

    tcp: socket.socket | None = None  # where its kernel's counters can be asked
    has_left = False  # the peer sends nothing any more

    async def run(self) -> None:
        address = connections.after_handshake(self.writer.transport.get_protocol())
        if address is None:
            address = address_of(self.writer.get_extra_info("peername"))
            if not connections.take_in(address):
                self.writer.transport.abort()
                return
        self.looked_at[self] = None
        self.reading = Reading(LEAST_TAKEN, TAKEN_WITHIN)
        if BoundedServer.looking is None or BoundedServer.looking.done():
            BoundedServer.looking = self.loop.create_task(_look_at_all())
        if BoundedServer.ending is None:
            BoundedServer.ending = self.loop.create_task(_close_sockets_at_the_end(self.context))
        try:
            self._bound_waiting()
            await super().run()
        finally:
            self.looked_at.pop(self, None)
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
        except asyncio.CancelledError:
            # The process ends, and time is up: what is still to be sent would be waited for.
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
        protocol = self.protocol.protocol
        if isinstance(protocol, http2.Protocol):
            protocol.look(now)
        stream = getattr(protocol, "stream", None)
        if isinstance(stream, LiveStream):
            if stream.open_to is not None:
                del self.looked_at[self]  # a socket from now on, which its stream looks at
            return
        if self.tcp is None:
            return
        if self.writer.transport.is_closing() and self.tcp.fileno() < 0:
            return
        if self.reading.stalls_at(now, self.tcp):
            # With nothing left behind in the kernel, which would go on offering it.
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()


async def _look_at_all() -> None:
    """Look at every connection once in LOOK_SECONDS."""
    loop = asyncio.get_running_loop()
    while BoundedServer.looked_at:
        connections = list(BoundedServer.looked_at)
        for step in range(LOOK_STEPS):
            await asyncio.sleep(LOOK_SECONDS / LOOK_STEPS)
            for connection in connections[step::LOOK_STEPS]:
                if connection in BoundedServer.looked_at:
                    connection.look(loop.time())


async def _close_sockets_at_the_end(context: Any) -> None:
    """For plain Hypercorn, which tells the application only when all connections are gone:
    `serve` has begun with it by then."""
    await context.terminated.wait()
    if not fanout.draining:
        await fanout.close_all(1012, seconds=DRAIN_SECONDS)


class PlainH11(H11Protocol):
    """HTTP/1.1, and no way from there to HTTP/2: TLS can agree on that (ALPN)."""

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
    for module, ours in ((asyncio_run, BoundedServer), (hypercorn.protocol, PlainH11)):
        name = ours.__mro__[1].__name__
        assert issubclass(getattr(module, name), ours.__mro__[1]), "see the docstring"
        setattr(module, name, ours)
