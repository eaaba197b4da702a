"""How far one machine goes, and what breaks first beyond it: a model, and two simulations.

`python bench/scaling.py` prints the tables of docs/scaling.md: the same numbers each time, in
seconds. Everything that was measured or assumed is in `Inputs`, with where it is from: measure on
your machines, change it there, and look again.
"""

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from comments.pace import APART, Pace

SEED = 20261128


@dataclass(frozen=True)
class Inputs:
    """Seconds, bytes and counts. "Bench": docs/performance.md of 28 November 2026, one process on
    one core of a 2-core machine, load on the other one, loopback. "Measured": on the same machine.
    """

    # --- of this product
    write: float = 12e-6  # CPU per frame and socket, the kernel's part with it (bench: 10 to 16)
    connect: float = 385e-6  # CPU per socket that opens (bench)
    page: float = 8.1e-3  # per page of a video with 50 comments (bench)
    post: float = 1.5e-3  # CPU of the process per comment, 50 a second, each alone (measured)
    posts_of_a_video: float = 3000.0  # comments a second that one video takes (bench; its row)
    socket_bytes: int = 35 * 1024  # memory per socket (bench)
    process_bytes: int = 95 * 1024 * 1024  # memory of a process with nobody (bench)
    comment_bytes: int = 90  # on the wire per comment in a frame of many (42 to 90 were measured)
    frame_bytes: int = 120  # and per frame: TCP, IP, WebSocket, cursor
    poll: float = 2.0  # of the safety poll (POLL_SECONDS)
    presence: float = 2.0  # between two messages of a process that tell its viewers (hub.tick)
    publish_at_most: float = 0.5  # before a publication is given up (LAYER_SECONDS)
    connections: int = 21  # to PostgreSQL, per process (streamsite/env.py)
    opened_together: int = 64  # sockets that share their queries at most (AT_ONCE)
    queries_to_open: int = 4  # of such a batch
    backlog: int = 2048  # connections that wait to be accepted (hypercorn.toml)
    first_delay: float = 2.0  # a browser comes back within it; doubled each time (link.js)
    longest_delay: float = 30.0
    # --- of engines and machines
    redis_subscriber: float = (
        5.8e-6  # CPU of Redis per message and subscriber (measured: 4.9 to 5.8)
    )
    redis_message: float = 20e-6  # and per message
    database_queries: float = 20_000.0  # a second of one PostgreSQL (assumed)
    database_connections: int = 500  # that one PostgreSQL holds well (assumed)
    network: float = 10e9 / 8  # bytes a second of a host (assumed: 10 Gbit/s)
    cores: int = 16  # of a host; all but two run a process each (assumed)
    memory: int = 64 * 1024**3  # of a host (assumed)
    latency: float = 0.5e-3  # one way within the data centre (assumed)
    # --- of people
    readable: float = 50.0  # comments a second of one video, kept to that by the limits
    says: float = 1 / 600  # comments a second of one viewer
    arrive: float = 300.0  # in which everybody comes when it begins
    busy: float = 0.5  # the part of a core that a process may use in quiet times


@dataclass(frozen=True)
class Need:
    """What so many viewers of one video need; `shares` are parts of what there is, 1 = all."""

    viewers: int
    comments: float  # a second
    processes: int
    hosts: int
    bytes_out: float  # a second, all hosts
    shares: dict[str, float]

    @property
    def breaks_first(self) -> list[tuple[str, float]]:
        """What there is not enough of, the worst first; where all suffices, what is fullest."""
        order = sorted(self.shares.items(), key=lambda share: -share[1])
        return [share for share in order if share[1] >= 1] or order[:1]


def capacity(viewers: int, inputs: Inputs) -> Need:
    """The worst case for so many people: all watch one video."""
    comments = min(inputs.readable, viewers * inputs.says)
    flushes = min(comments, 1 / APART)
    per_socket = flushes * inputs.write
    # The processes share the work of posting; each has all the flushes for its own sockets.
    work = viewers * per_socket + comments * inputs.post
    processes = max(1, math.ceil(work / inputs.busy))
    hosts = math.ceil(processes / (inputs.cores - 2))
    bytes_out = viewers * (comments * inputs.comment_bytes + flushes * inputs.frame_bytes)
    memory = viewers * inputs.socket_bytes + processes * inputs.process_bytes
    told = 0.0 if processes == 1 else processes / inputs.presence  # messages a second
    to_everyone = inputs.redis_message + processes * inputs.redis_subscriber
    shares = {
        "processor of a process": work / processes,
        "processor at the beginning": viewers
        / inputs.arrive
        * (inputs.page + inputs.connect)
        / processes,
        "network of the hosts": bytes_out / hosts / inputs.network,
        "memory of the hosts": memory / hosts / inputs.memory,
        "row of the video": comments / inputs.posts_of_a_video,
        "Redis: comments": comments * to_everyone if processes > 1 else 0.0,
        "Redis: numbers of viewers": told * to_everyone,
        "PostgreSQL: connections": processes * inputs.connections / inputs.database_connections,
        # Everybody comes back at once, and every process works at nothing else.
        "PostgreSQL: queries of a return": processes
        * inputs.queries_to_open
        / (inputs.opened_together * inputs.connect)
        / inputs.database_queries,
    }
    return Need(viewers, comments, processes, hosts, bytes_out, shares)


@dataclass(frozen=True)
class Storm:
    """How a crowd came back to one process: seconds after which a part of it was in again."""

    sockets: int
    half: float
    nearly_all: float  # 99 of 100
    all: float
    attempts: float  # per browser
    longest_queue: int


def storm(
    sockets: int, inputs: Inputs, *, away: float = 0.0, at_once: bool = False, share: float = 1.0
) -> Storm:
    """Browsers that lost a process come back to it, or to others that are as good.

    `away`: seconds in which every attempt is refused. `at_once`: without the random delay that
    link.js draws. `share`: the part of the processor that is left for them.
    """
    random_ = random.Random(SEED)
    cost = inputs.connect / share

    def delay(failures: int) -> float:
        ceiling = min(inputs.longest_delay, inputs.first_delay * 2**failures)
        if at_once:
            return ceiling if failures else 0.0
        return random_.uniform(0, ceiling)

    attempts = [(delay(0), number, 0) for number in range(sockets)]
    heapq.heapify(attempts)
    free_at, longest, tried = 0.0, 0, 0
    back: list[float] = []
    while attempts:
        now, number, failures = heapq.heappop(attempts)
        tried += 1
        waiting = max(0.0, free_at - now) / cost
        longest = max(longest, int(waiting))
        if now < away:
            heapq.heappush(attempts, (now + delay(failures + 1), number, failures + 1))
        elif waiting > inputs.backlog:
            # The kernel drops the SYN; the browser's own kernel sends it again: 1 s, 2 s, 4 s ...
            heapq.heappush(attempts, (now + 2 ** min(failures, 5), number, failures + 1))
        else:
            free_at = max(free_at, now) + cost
            back.append(free_at)
    back.sort()
    return Storm(
        sockets,
        back[len(back) // 2],
        back[int(len(back) * 0.99)],
        back[-1],
        tried / sockets,
        longest,
    )


@dataclass(frozen=True)
class Spread:
    """How comments reached the sockets of all processes: seconds from the number on."""

    processes: int
    redis: float  # how busy, 1 = all the time; above it the messages queue up
    by_poll: float  # the part of (comment, process) that no message brought in time
    p50: float
    p99: float
    longest: float


def fan_out(
    processes: int, sockets: int, inputs: Inputs, *, seconds: float = 10.0, presence: bool = True
) -> Spread:
    """Comments of one video through one Redis to all processes, each with so many sockets."""
    random_ = random.Random(SEED)
    messages = sorted(_messages(processes, inputs, seconds, random_, presence=presence))
    to_everyone = inputs.redis_message + processes * inputs.redis_subscriber
    free_at, rung = 0.0, []
    for at, is_comment in messages:
        sent_at = max(free_at, at + inputs.latency)
        free_at = sent_at + to_everyone
        if is_comment:
            rung.append((at, sent_at))
    flush = sockets * inputs.write
    delays: list[float] = []
    polled = 0
    for number in range(processes):
        # Redis writes to its subscribers one after the other.
        behind = inputs.redis_message + number * inputs.redis_subscriber + inputs.latency
        poll_at = random_.uniform(0, inputs.poll)
        arrivals = []
        for at, sent_at in rung:
            doorbell = sent_at + behind
            # The poll finds what no message has told.
            poll = poll_at + math.ceil(max(0.0, at - poll_at) / inputs.poll) * inputs.poll
            polled += poll < doorbell
            arrivals.append((min(doorbell, poll), at))
        delays += _flushed(sorted(arrivals), flush)
    delays.sort()
    return Spread(
        processes,
        len(messages) * to_everyone / seconds,
        polled / max(1, len(delays)),
        delays[len(delays) // 2],
        delays[int(len(delays) * 0.99)],
        delays[-1],
    )


def _messages(
    processes: int, inputs: Inputs, seconds: float, random_: random.Random, *, presence: bool
) -> Iterator[tuple[float, bool]]:
    """When messages are sent, and whether each is a comment: as people write, at random."""
    at = random_.expovariate(inputs.readable)
    while at < seconds:
        yield at, True
        at += random_.expovariate(inputs.readable)
    if not presence:
        return
    for _ in range(processes):
        at = random_.uniform(0, inputs.presence)
        while at < seconds:
            yield at, False
            at += inputs.presence


def _flushed(arrivals: list[tuple[float, float]], flush: float) -> Iterator[float]:
    """One process: at once when idle, else together with what comes until the next flush."""
    pace, waiting = Pace(), list(reversed(arrivals))
    while waiting:
        started = max(pace.next, waiting[-1][0])
        while waiting and waiting[-1][0] <= started:
            yield started + flush - waiting.pop()[1]
        pace.flushed(started, flush)


def tables(inputs: Inputs) -> Iterator[str]:
    """The tables of docs/scaling.md, line by line."""
    yield "| viewers of one video | comments/s | processes | hosts | Gbit/s | breaks, or is full |"
    yield "|--:|--:|--:|--:|--:|---|"
    for power in range(2, 8):
        need = capacity(10**power, inputs)
        told = ", ".join(f"{what} {share:.0%}" for what, share in need.breaks_first)
        yield (
            f"| {need.viewers:,} | {need.comments:.1f} | {need.processes} | {need.hosts}"
            f" | {need.bytes_out * 8 / 1e9:.2f} | {told} |"
        )
    yield ""
    yield "| sockets come back to one process | half | 99% | all | attempts each | longest queue |"
    yield "|---|--:|--:|--:|--:|--:|"
    crowd = sockets_of_a_process(inputs)
    for told, result in (
        (f"{crowd:,}, at once to a process that is there", storm(crowd, inputs)),
        (f"{crowd:,}, while it also serves others", storm(crowd, inputs, share=1 - inputs.busy)),
        (f"{crowd:,}, and it is away for 5 s", storm(crowd, inputs, away=5)),
        (f"{crowd:,}, and it is away for 60 s", storm(crowd, inputs, away=60)),
        ("20,000 (SOCKETS_PER_PROCESS)", storm(20_000, inputs)),
        (f"{crowd:,}, if browsers drew no delay", storm(crowd, inputs, at_once=True)),
    ):
        yield (
            f"| {told} | {result.half:.1f} s | {result.nearly_all:.1f} s | {result.all:.1f} s"
            f" | {result.attempts:.2f} | {result.longest_queue:,} |"
        )
    yield ""
    yield "| processes | viewers | Redis busy | brought by the poll | p50 | p99 | longest |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for processes, presence in ((1, True), (10, True), (100, True), (300, True), (1000, True),
                                (1000, False)):  # fmt: skip
        spread = fan_out(processes, crowd, inputs, presence=presence)
        note = "" if presence else ", without numbers of viewers"
        yield (
            f"| {processes}{note} | {processes * crowd:,} | {spread.redis:.0%}"
            f" | {spread.by_poll:.0%} | {spread.p50 * 1000:.0f} ms | {spread.p99 * 1000:.0f} ms"
            f" | {spread.longest * 1000:.0f} ms |"
        )


def sockets_of_a_process(inputs: Inputs) -> int:
    """So many in a video that is as fast as can be read keep a process as busy as it may be."""
    flushes = min(inputs.readable, 1 / APART)
    return int(inputs.busy / (flushes * inputs.write) / 1000) * 1000


if __name__ == "__main__":
    for line in tables(Inputs()):
        print(line)
