"""The figures of this process as metrics of Prometheus; docs/operating.md says what each means.

A custom collector: nothing is kept here, so asking costs the askers and nobody else.
"""

from collections.abc import Iterable, Iterator, Mapping

from django.conf import settings
from django.db import connection
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from comments import stream, threads
from comments.fanout import fanout
from streamsite.observe import jobs
from streamsite.observe.counts import Histogram, Tally, counts
from streamsite.observe.redis_load import Load
from streamsite.observe.sampling import sampler
from streamsite.websocket import LiveStream

VIDEOS_AT_MOST = 20  # that have a label of their own
OTHERS = "(other)"  # no slug is written like that

type Labelled = Mapping[tuple[str, ...], float]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"streamsite_{name}", text, value=value)


def _gauges(name: str, text: str, labels: list[str], values: Labelled) -> Metric:
    family = GaugeMetricFamily(f"streamsite_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"streamsite_{name}", text, value=value)


def _counters(name: str, text: str, labels: list[str], values: Labelled) -> Metric:
    family = CounterMetricFamily(f"streamsite_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _tally(name: str, text: str, labels: list[str], tally: Tally) -> Metric:
    return _counters(name, text, labels, tally.read())


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, total = [], 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return HistogramMetricFamily(
        f"streamsite_{name}", text, buckets=buckets, sum_value=histogram.sum
    )


def viewers_per_video() -> dict[tuple[str, ...], float]:
    """Viewers here of the videos that have most of them, and of all others together."""
    seats = sorted(((len(hub.seats), hub.slug) for hub in list(fanout.hubs.values())), reverse=True)
    found: dict[tuple[str, ...], float] = {(slug,): n for n, slug in seats[:VIDEOS_AT_MOST]}
    if rest := seats[VIDEOS_AT_MOST:]:
        found[OTHERS,] = sum(n for n, _slug in rest)
    return found


def _people() -> Iterator[Metric]:
    yield _gauge("sockets", "WebSockets that are open.", len(LiveStream.live))
    limit = settings.SOCKETS_PER_PROCESS or float("inf")
    yield _gauge("sockets_limit", "SOCKETS_PER_PROCESS.", limit)
    yield _gauges("viewers", "Seats in the hub of each video.", ["video"], viewers_per_video())
    yield _gauge("rooms", "Videos that are followed here.", len(fanout.hubs))
    yield _counter("sockets_opened", "WebSockets that were accepted.", counts.sockets_opened)
    yield _tally(
        "sockets_refused", "Handshakes that were turned away.", ["why"], counts.sockets_refused
    )
    yield _tally(
        "peers_cut", "Connections cut for their peer's silence.", ["why"], counts.peers_cut
    )


def _comments() -> Iterator[Metric]:
    yield _tally(
        "actions",
        "Answers to actions: ok, or the code of the refusal.",
        ["door", "action", "outcome"],
        counts.actions,
    )
    mistakes = sum(n for (*_, outcome), n in counts.actions.read().items() if outcome == "error")
    yield _counter("mistakes", "Actions that met a mistake of ours (outcome error).", mistakes)
    yield _tally("changes", "Numbered changes that were committed here.", ["kind"], counts.changes)
    yield _counter("publish_errors", "Publications that failed.", stream.publish_errors)


def _work() -> Iterator[Metric]:
    queue = jobs.watched.queue
    if queue is None:
        return
    states: dict[tuple[str, ...], float] = {(state,): n for state, n in queue.states.items()}
    yield _gauges("jobs", "Jobs that wait for a worker, or that one is at.", ["state"], states)
    yield _gauge("jobs_oldest_seconds", "How long the oldest that waits does.", queue.oldest)


def _fan_out() -> Iterator[Metric]:
    yield _histogram("flush_seconds", "Time of one flush to its sockets.", counts.flush_seconds)
    yield _histogram(
        "latency_seconds", "From a change's number to the sockets.", counts.latency_seconds
    )
    yield _histogram(
        "doorbell_seconds", "From sending a message to its hub.", counts.doorbell_seconds
    )
    yield _histogram("frame_bytes", "Frames made, as on the wire.", counts.frame_bytes)
    yield _counter("frames_sent", "Frames that hubs wrote to sockets.", counts.frames_sent)
    yield _counter("without_room", "Sockets skipped by a flush.", counts.without_room)
    yield _counter("heals", "Reads of what hubs lacked.", counts.heals)
    yield _counter("healed_changes", "Changes found by such reads.", counts.healed_changes)
    yield _counter("polls_ahead", "Safety polls ahead of the doorbell.", counts.polls_ahead)
    yield _counter("histories", "Histories replaced by another epoch.", counts.histories)
    yield _counter("windows", "Windows sent whole to sockets (resets).", counts.windows)
    yield _counter("ring_misses", "Sockets behind the ring.", counts.ring_misses)
    yield _counter("catch_ups_failed", "Sockets closed 1013: no catch-up.", counts.catch_ups_failed)
    yield _gauge("safety_poll_age_seconds", "Since the last look succeeded.", fanout.blind_for)
    yield _gauge("loop_lag_seconds", "Worst lag of the event loop lately.", sampler.loop_lag)
    yield _gauge("draining", "1 while the process ends.", fanout.draining)


POOL: dict[str, tuple[bool, str]] = {  # psycopg's name: whether it counts, and what
    "pool_size": (False, "Connections of the pool."),
    "pool_available": (False, "Connections of the pool that are idle."),
    "pool_max": (False, "Connections that the pool may have."),
    "requests_waiting": (False, "Who waits for a connection now."),
    "requests_num": (True, "Connections asked for."),
    "requests_queued": (True, "Connections that had to be waited for."),
    "requests_errors": (True, "Connections that did not come in time."),
    "connections_errors": (True, "Attempts to connect that failed."),
}


def _database() -> Iterator[Metric]:
    waiting: dict[tuple[str, ...], float] = {(pool.kind,): pool.waiting for pool in threads.ALL}
    yield _gauges("database_waiting", "Calls that wait for a thread.", ["threads"], waiting)
    yield _counter("database_given_up", "Calls given up at the end.", threads.given_up)
    kept = getattr(connection, "pool", None)
    if kept is None:
        return  # SQLite has none
    stats: dict[str, int] = kept.get_stats()
    for name, (counted, text) in POOL.items():
        metric = "database_pool_" + name.removeprefix("pool_")
        yield (_counter if counted else _gauge)(metric, text, stats.get(name, 0))


REDIS: dict[str, tuple[bool, str, str]] = {  # ours: whether it counts, INFO's name, and what
    "memory_bytes": (False, "used_memory", "Memory in use."),
    "memory_limit_bytes": (False, "maxmemory", "maxmemory; 0 without."),
    "clients": (False, "connected_clients", "Connections."),
    "clients_limit": (False, "maxclients", "Connections that it takes."),
    "operations_per_second": (False, "instantaneous_ops_per_sec", "Commands per second."),
    "output_buffer_bytes": (False, "client_recent_max_output_buffer", "Largest output buffer."),
    "pubsub_channels": (False, "pubsub_channels", "Channels with subscribers."),
    "evicted_keys": (True, "evicted_keys", "Keys thrown away for want of memory."),
    "rejected_connections": (True, "rejected_connections", "Connections over maxclients."),
    "disconnected_subscribers": (
        True,
        "client_output_buffer_limit_disconnections",
        "Clients cut for their output buffer.",
    ),
}


def _redis(loads: list[Load]) -> Iterator[Metric]:
    up: dict[tuple[str, ...], float] = {(load.server,): load.up for load in loads}
    yield _gauges("redis_up", "Whether the server answered last.", ["server"], up)
    seen = [load for load in loads if load.up]
    took: dict[tuple[str, ...], float] = {(load.server,): load.answered_in for load in seen}
    yield _gauges("redis_answer_seconds", "How long INFO took.", ["server"], took)
    for name, (counted, source, text) in REDIS.items():
        values: dict[tuple[str, ...], float] = {
            (load.server,): load.number(source) for load in seen
        }
        make = _counters if counted else _gauges
        yield make(f"redis_{name}", text, ["server"], values)
    limits: dict[tuple[str, ...], float] = {
        (load.server,): load.output_buffer_limit for load in seen
    }
    yield _gauges("redis_output_buffer_limit_bytes", "Its limit.", ["server"], limits)
    shares: dict[tuple[str, ...], float] = {
        (load.server, what): share for load in seen for what, share in load.shares.items()
    }
    yield _gauges("redis_share", "Parts of limits, 1 at the limit.", ["server", "of"], shares)
    yield _tally("redis_warnings", "Times past a threshold.", ["what"], counts.redis_warnings)


def groups() -> dict[str, Iterator[Metric]]:
    """Everything that is particular to this product, in parts."""
    return {
        "people": _people(),
        "comments": _comments(),
        "work": _work(),
        "fan-out": _fan_out(),
        "database": _database(),
        "redis": _redis(sampler.redis),
    }


class StreamCollector(Collector):
    """All groups, for the registry."""

    def collect(self) -> Iterable[Metric]:
        for group in groups().values():
            yield from group


registry = CollectorRegistry()
registry.register(StreamCollector())
for _collector in (ProcessCollector, PlatformCollector, GCCollector):
    _collector(registry=registry)
