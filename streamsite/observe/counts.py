"""What this process has done, in plain numbers: counted where it happens, read when somebody asks.

The fan-out counts once a flush or a frame, never once a socket. What only the event loop counts is
a plain int; what threads count too is a Tally. `streamsite.observe.metrics` makes metrics of them.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from threading import Lock


class Histogram:
    """How often values fell into each bucket. For one thread; about a microsecond a value."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, *bounds: float) -> None:
        """`bounds`: the upper end of each bucket, ascending; one without end follows the last."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        return sum(self.counts)


class Tally:
    """Counts by labels, exact whichever threads count."""

    def __init__(self, *known: str) -> None:
        """`known` single labels are there from the start: Prometheus sees no rise from nothing."""
        self._lock = Lock()
        self._counts: Counter[tuple[str, ...]] = Counter({(label,): 0 for label in known})

    def add(self, *labels: str, times: int = 1) -> None:
        with self._lock:
            self._counts[labels] += times

    def read(self) -> dict[tuple[str, ...], int]:
        with self._lock:
            return dict(self._counts)

    @property
    def total(self) -> int:
        return sum(self.read().values())


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counts:
    """All of it, since the process started."""

    def __init__(self) -> None:
        # Counted by the event loop alone.
        self.flush_seconds = Histogram(0.0001, 0.00025, 0.0005, *SECONDS[:-3])
        self.latency_seconds = Histogram(*SECONDS)
        self.doorbell_seconds = Histogram(*SECONDS)
        self.frame_bytes = Histogram(128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
        self.frames_sent = 0
        self.without_room = 0
        self.heals = 0
        self.healed_changes = 0
        self.polls_ahead = 0
        self.histories = 0
        self.windows = 0
        self.ring_misses = 0
        self.catch_ups_failed = 0
        self.sockets_opened = 0
        # Told of each flush, where that is traced: seconds, changes, video, sockets.
        self.tell_flush: Callable[[float, int, str, int], None] | None = None
        # Counted by threads too.
        self.peers_cut = Tally("silent", "not_reading", "closing")  # why
        self.sockets_refused = Tally("origin", "session", "address", "process")  # why
        self.actions = Tally()  # door, action, outcome
        self.changes = Tally("posted", "moderated")  # kind
        self.redis_warnings = Tally(
            *("memory", "clients", "output_buffer", "processor", "backlog"),
            *("evicted", "rejected", "disconnected"),
        )  # what

    def reached_sockets(
        self, took: float, given: list[tuple[float, int]], video: str, sockets: int
    ) -> None:
        """A flush that took so many seconds, to so many sockets of a video; `given`: when numbers
        were given that it brought to them, and how many then."""
        self.flush_seconds.observe(took)
        now = time.time()
        for at, how_many in given:
            # Between hosts the clocks may differ a little.
            self.latency_seconds.observe(max(0.0, now - at), how_many)
        if self.tell_flush:
            self.tell_flush(took, sum(how_many for _at, how_many in given), video, sockets)


counts = Counts()
