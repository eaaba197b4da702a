"""Every connection counts from its accept on, and one too many is closed at once.

uvloop and asyncio tell of a connection by TLS only when its handshake is done; until then, for up
to HANDSHAKE_SECONDS, it has a descriptor that nobody counts. So `serve` accepts those itself
(Loop). Of others they tell at once: these count where Hypercorn takes them (streamsite/peers.py).
It can go when a server of asyncio can be asked before a handshake begins.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvloop
from django.conf import settings

from comments import limits
from streamsite import env

# Beside the sockets that may be open: pages, files, and handshakes, kept open by browsers for 30 s.
LEAST_BESIDE = 1024
PER_SOCKET_OF_ADDRESS = 2  # connections from one address for each socket that it may have
ACCEPTS_AT_ONCE = 32  # then others have their turn
WAIT_SECONDS = 1.0  # before the next accept when the machine has no descriptor left


class Connections:
    """How many there are, of the process and of each address."""

    def __init__(self) -> None:
        self.total = 0
        self.of_address: Counter[str] = Counter()
        # In their handshake: by the protocol that will be told of the connection, the address.
        self._in_handshake: dict[asyncio.BaseProtocol, str] = {}

    def take_in(self, address: str) -> bool:
        """Count one more; False, and it does not count, where it would be too many."""
        if self._is_full(address):
            return False
        self.total += 1
        self.of_address[address] += 1
        return True

    def let_go(self, address: str) -> None:
        self.total -= 1
        self.of_address[address] -= 1
        if not self.of_address[address]:
            del self.of_address[address]

    def before_handshake(self, protocol: asyncio.BaseProtocol, address: str) -> None:
        self._in_handshake[protocol] = address

    def after_handshake(self, protocol: asyncio.BaseProtocol) -> str | None:
        """The address for which the connection counts already, from here on the caller's to let
        go; None where it does not count yet."""
        return self._in_handshake.pop(protocol, None)

    def _is_full(self, address: str) -> bool:
        if self.total >= most_connections():
            return True
        sockets: int | None = settings.SOCKETS_PER_ADDRESS
        if not address or sockets is None:
            return False
        return self.of_address[address] >= PER_SOCKET_OF_ADDRESS * sockets


connections = Connections()


def address_of(peer: Any) -> str:
    """The address that a connection counts for; empty behind a proxy, where all come from one."""
    if settings.TRUSTED_PROXIES or not isinstance(peer, tuple):
        return ""
    return limits.address_of({}, peer[0])


def most_connections() -> int:
    """Half as many again as sockets, and never more than there are descriptors for."""
    sockets: int | None = settings.SOCKETS_PER_PROCESS
    if sockets is None:
        return env.most_connections()
    return min(env.most_connections(), sockets + max(LEAST_BESIDE, sockets // 2))


class Loop(uvloop.Loop):
    """uvloop's, but servers that speak TLS are TlsListeners."""

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *args: Any,
        ssl: ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        **options: Any,
    ) -> Any:
        if ssl is None or sock is None:
            return await super().create_server(
                protocol_factory, *args, ssl=ssl, sock=sock, backlog=backlog,
                ssl_handshake_timeout=ssl_handshake_timeout, **options,
            )  # fmt: skip
        sock.setblocking(False)
        sock.listen(backlog)
        return TlsListener(self, sock, protocol_factory, ssl, ssl_handshake_timeout)


class TlsListener:
    """As much of an asyncio.Server as Hypercorn uses, for one listening socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext,
        seconds: float | None,
    ) -> None:
        """A handshake may take `seconds`."""
        self.loop = loop
        self.socket = sock
        self.protocol_factory = protocol_factory
        self.context = context
        self.seconds = seconds
        self._handshakes: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self.loop.add_reader(self.socket, self._accept)

    def close(self) -> None:
        """Accept nobody else; who is not through with the handshake comes to another process."""
        self.loop.remove_reader(self.socket)
        if self._waiting:
            self._waiting.cancel()
        self.socket.close()
        for handshake in self._handshakes:
            handshake.cancel()

    async def wait_closed(self) -> None:
        """It is, and its connections are others' (uvloop's own does not wait for them either)."""

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                peer, name = self.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor, or no memory: who waits goes on waiting
                self.loop.remove_reader(self.socket)
                self._waiting = self.loop.call_later(WAIT_SECONDS, self._listen)
                return
            address = address_of(name)
            if not connections.take_in(address):
                peer.close()
                continue
            peer.setblocking(False)
            task = self.loop.create_task(self._shake_hands(peer, address))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, peer: socket.socket, address: str) -> None:
        """Until the protocol is told of the connection, or there is none any more."""
        protocol = self.protocol_factory()
        connections.before_handshake(protocol, address)
        try:
            with suppress(OSError):  # no TLS, not in time, or gone: a stranger's matter
                await self.loop.connect_accepted_socket(
                    lambda: protocol, peer, ssl=self.context, ssl_handshake_timeout=self.seconds
                )
        finally:
            if connections.after_handshake(protocol) is not None:
                connections.let_go(address)
