"""The operator's page in admin: the figures of this process, and what in them wants a look."""

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from prometheus_client.core import Metric

from comments import stream
from comments.fanout import BLIND_AT_MOST, fanout
from streamsite.observe import jobs
from streamsite.observe.counts import Histogram, counts
from streamsite.observe.metrics import groups
from streamsite.observe.redis_load import LIMITS
from streamsite.observe.sampling import Sample, sampler

LAG_AT_MOST = 0.25  # seconds of the event loop's lag that nobody feels
JOBS_WAIT_AT_MOST = 120  # seconds for which a job may wait while others are done
WIDTH, HEIGHT = 240, 48  # of a curve, in its own units
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Card:
    """One number of now, and its curve over the last minutes."""

    name: str
    value: str
    unit: str
    line: str  # the points of an SVG polyline; empty while there are too few


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    text: str
    labels: str
    value: str


def page() -> dict[str, Any]:
    """The context of `admin/figures.html`."""
    samples = list(sampler.samples)
    jobs.watched.look_now()
    return {
        "title": _("Figures"),
        "process": f"{socket.gethostname()}, {os.getpid()}",
        "since": datetime.fromtimestamp(sampler.started_at, UTC),
        "several": settings.REDIS is not None,
        "cards": _cards(samples),
        "findings": list(_findings()),
        "groups": [(_title(name), list(_rows(group))) for name, group in groups().items()],
    }


def _title(group: str) -> str:
    titles = {
        "people": _("People"),
        "comments": _("Comments"),
        "work": _("Background work"),
        "fan-out": _("Fan-out"),
        "database": _("Database"),
        "redis": _("Redis"),
    }
    return titles[group]


def _cards(samples: Sequence[Sample]) -> list[Card]:
    viewers = sum(len(hub.seats) for hub in list(fanout.hubs.values()))
    posted, refused, delay = [], [], []
    for before, after in pairwise(samples):
        minutes = max(after.at - before.at, 0.001) / MINUTE
        delivered = after.delivered - before.delivered
        seconds = after.delivered_seconds - before.delivered_seconds
        posted.append((after.posted - before.posted) / minutes)
        refused.append((after.refused - before.refused) / minutes)
        delay.append(1000 * seconds / delivered if delivered else 0.0)
    lag = [1000 * sample.loop_lag for sample in samples]
    per_minute, milliseconds = _("a minute"), _("ms")
    return [
        Card(_("Viewers here"), str(viewers), "", line([s.viewers for s in samples])),
        Card(_("Comments"), _last(posted), per_minute, line(posted)),
        Card(_("Refused"), _last(refused), per_minute, line(refused)),
        Card(_("From number to socket"), _last(delay), milliseconds, line(delay)),
        Card(_("Event loop's lag"), _last(lag), milliseconds, line(lag)),
    ]


def _last(values: Sequence[float]) -> str:
    return f"{values[-1]:.0f}" if values else "–"


def line(values: Sequence[float]) -> str:
    """The points of a curve from 0 at the bottom to the largest value at the top."""
    if len(values) < 2:
        return ""
    top, step = max(*values, 1.0), WIDTH / (len(values) - 1)
    return " ".join(
        f"{n * step:.1f},{HEIGHT - 2 - value / top * (HEIGHT - 4):.1f}"
        for n, value in enumerate(values)
    )


def _findings() -> Iterator[str]:
    """What wants a look now, each with where to read on; docs/operating.md has the same names."""
    if fanout.blind_for > BLIND_AT_MOST:
        yield _("The safety poll has not succeeded for %d s: the database does not answer.") % (
            fanout.blind_for
        )
    if sampler.loop_lag > LAG_AT_MOST:
        yield _("The event loop lags by %d ms: this process has too much to do.") % (
            1000 * sampler.loop_lag
        )
    if counts.latency_seconds.count and quantile(counts.latency_seconds, 0.99) > 1.0:
        yield _("Since the start 1 of 100 comments took longer than a second to the sockets.")
    if stream.publish_errors:
        yield _("%d publications have failed since the start.") % stream.publish_errors
    if jobs.watched.queue and jobs.watched.queue.oldest > JOBS_WAIT_AT_MOST:
        yield _("A job waits for %d s: no worker runs, or all have too much to do.") % (
            jobs.watched.queue.oldest
        )
    for load in sampler.redis:
        if not load.up:
            yield _("Redis %s does not answer.") % load.server
            continue
        for what, share in load.shares.items():
            least, advice = LIMITS[what]
            if share >= least:
                yield f"Redis {load.server}: {what} {share:.0%}, {advice}."


def quantile(histogram: Histogram, part: float) -> float:
    """The upper end of the bucket that the value of this rank is in; infinite past the last."""
    rank, total = part * histogram.count, 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        total += count
        if total >= rank:
            return bound
    return float("inf")


def _rows(families: Iterator[Metric]) -> Iterator[Row]:
    for family in families:
        for sample in family.samples:
            name = sample.name.removeprefix("streamsite_")
            labels = ", ".join(value for key, value in sample.labels.items() if key != "le")
            if family.type != "histogram":
                yield Row(name, family.documentation, labels, _number(sample.value))
        if family.type == "histogram":
            yield from _of_histogram(family)


def _of_histogram(family: Metric) -> Iterator[Row]:
    name = family.name.removeprefix("streamsite_")
    histogram: Histogram = getattr(counts, name)
    text = family.documentation
    yield Row(name, text, _("how many"), _number(histogram.count))
    if histogram.count:
        mean = histogram.sum / histogram.count
        yield Row(name, text, _("mean"), _number(mean))
        for part, told in ((0.5, _("half at most")), (0.99, _("99 of 100 at most"))):
            yield Row(name, text, told, _number(quantile(histogram, part)))


def _number(value: float) -> str:
    if value == int(value) if abs(value) < 1e15 else False:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}" if value != float("inf") else "∞"
