"""A TCP proxy that does to connections what networks do: cut, stall, swallow."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from tests.servers import free_port


@dataclass
class Weather:
    """What happens to a connection, drawn anew for each; fractions of all connections."""

    cut_mid_frame: float = 0.0
    lose_ack: float = 0.0  # what the client sends arrives, what comes back after that does not
    half_open: float = 0.0  # stays open and swallows everything, both ways
    flap: float = 0.0  # cut at any moment
    least_seconds: float = 0.3  # of life before the fault
    most_seconds: float = 4.0


CALM = Weather()


class _End(asyncio.Protocol):
    """One of the two ends of a proxied connection."""

    def __init__(self, pair: "_Pair", *, is_client: bool) -> None:
        self.pair = pair
        self.is_client = is_client
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.is_client:
            self.pair.accepted(self)
        else:
            self.pair.connected(self)

    def data_received(self, data: bytes) -> None:
        self.pair.passes(data, up=self.is_client)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pair.cut(clean=exc is None)

    def pause_writing(self) -> None:
        self.pair.pause(self, pause=True)

    def resume_writing(self) -> None:
        self.pair.pause(self, pause=False)


class _Pair:
    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.fate = ""
        self.doomed = False  # the moment of the fault has come: the next bytes bring it
        self.swallows = False
        self.client: _End | None = None
        self.server: _End | None = None
        self.early = b""
        self._timer: asyncio.TimerHandle | None = None

    def accepted(self, end: _End) -> None:
        self.client = end
        self.proxy.pairs.add(self)
        self.proxy.spawn(self._connect())
        self._draw()

    def _draw(self) -> None:
        loop = asyncio.get_running_loop()
        weather, draw = self.proxy.weather, self.proxy.random.random()
        for fate in ("cut_mid_frame", "lose_ack", "half_open", "flap"):
            share = getattr(weather, fate)
            if draw < share:
                self.fate = fate
                life = self.proxy.random.uniform(weather.least_seconds, weather.most_seconds)
                self._timer = loop.call_later(life, self._doom)
                return
            draw -= share
        if weather != CALM:  # spared for now
            self._timer = loop.call_later(weather.most_seconds, self._draw)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: _End(self, is_client=False), "127.0.0.1", self.proxy.target
            )
        except OSError:
            self.cut()

    def connected(self, end: _End) -> None:
        self.server = end
        assert end.transport is not None
        if self.client is None:
            end.transport.abort()
        elif self.early:
            end.transport.write(self.early)
            self.early = b""

    def _doom(self) -> None:
        self.doomed = True
        if self.fate == "flap":
            self.proxy.count(self.fate)
            self.cut()
        elif self.fate == "half_open":
            self.proxy.count(self.fate)
            self.swallows = True
            if self.client and self.client.transport:
                self.proxy.on_swallow(self.client.transport.get_extra_info("peername")[1])

    def passes(self, data: bytes, *, up: bool) -> None:
        if self.swallows:
            return
        to = self.server if up else self.client
        if up and to is None:
            self.early += data
            return
        if to is None or to.transport is None:
            return
        if self.doomed and self.fate == "cut_mid_frame" and not up and len(data) > 4:
            to.transport.write(data[: self.proxy.random.randrange(1, len(data))])
            self.proxy.count(self.fate)
            # The part is sent before the connection ends.
            self.swallows = True
            asyncio.get_running_loop().call_later(0.01, self.cut)
            return
        to.transport.write(data)
        if self.doomed and self.fate == "lose_ack" and up and data[0] & 15 == 1:
            # The action goes on to its commit; neither answer nor frame comes back.
            self.swallows = True
            self.proxy.count(self.fate)
            self._timer = asyncio.get_running_loop().call_later(0.3, self.cut)

    def pause(self, end: _End, *, pause: bool) -> None:
        other = self.server if end.is_client else self.client
        if other and other.transport:
            (other.transport.pause_reading if pause else other.transport.resume_reading)()

    def cut(self, *, clean: bool = False) -> None:
        if self._timer:
            self._timer.cancel()
        if self.fate == "half_open" and self.swallows and self.server:
            # The client gave up; the server is not told: it has to find out by itself.
            self.proxy.swallowed.append(self.server)
            self.server = None
        for end in (self.client, self.server):
            if end and end.transport:
                if clean and not self.swallows:
                    end.transport.close()  # what was sent before arrives
                else:
                    end.transport.abort()
                end.transport = None
        self.client = self.server = None
        self.proxy.pairs.discard(self)


class Proxy:
    """Listens on a port of its own for one server."""

    def __init__(
        self, target: int, seed: int, on_swallow: Callable[[int], None] = lambda _port: None
    ) -> None:
        self.port = free_port()
        self.target = target
        self.random = random.Random(seed)
        self.weather = CALM
        self.on_swallow = on_swallow
        self.pairs: set[_Pair] = set()
        self.swallowed: list[_End] = []  # server ends whose client has long gone
        self.cuts: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _End(_Pair(self), is_client=True), "127.0.0.1", self.port, backlog=1024
        )

    def spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count(self, fate: str) -> None:
        self.cuts[fate] = self.cuts.get(fate, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.cuts.values())

    def cut_all(self) -> int:
        pairs = list(self.pairs)
        for pair in pairs:
            self.count("kicked")
            pair.cut()
        return len(pairs)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for pair in list(self.pairs):
            pair.cut()
        for end in self.swallowed:
            if end.transport:
                end.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)
