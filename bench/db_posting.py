"""Accepted comments a second, against a bare ORM `create()` loop on the same database.

A: one process, one thread, autocommit, `create()` of a row with the columns of a comment in a table
without any index but its key. B: 50 sockets of 50 viewers; each sends its next comment when the one
before is acknowledged, which is after its commit. Both are durable in the same way, run in turn on
the same files, and have core 0 to themselves.
"""

import asyncio
import json
import logging
import statistics
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.db_site import TITLES, pin, running, say
from bench.measure import LOAD_CORE, SERVER_CORE, on_core
from tests import world
from tests.client import Person
from tests.servers import Remote, Site

SOCKETS = 50
BAR = 1.0
# On, as every rule is: each post is counted by viewer and by address. So high that it refuses none.
LIMITS = {"RATE_VIEWER": "1000/1", "RATE_ADDRESS": "1000/1"}
logging.getLogger("picows").setLevel(logging.WARNING)
BODY = "The third movement starts at 12:40, if you want to hear it again."


# --- A: what runs in the process that only writes rows ------------------------------------------


def make_table() -> None:
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(_plain_model())


def create_rows(seconds: float) -> float:
    """Rows a second that one thread creates, each committed by itself."""
    from django.db import connection
    from django.utils import timezone

    model = _plain_model()
    connection.ensure_connection()
    started = time.perf_counter()
    done = 0
    while time.perf_counter() - started < seconds:
        done += 1
        model.objects.create(
            stream=1,
            number=done,
            change=done,
            author=done % SOCKETS,
            key=uuid.uuid4(),
            author_name="Quiet Heron",
            badge="",
            body=BODY,
            address="0123456789abcdef0123456789abcdef",
            state="visible",
            removed_by="",
            posted_at=timezone.now(),
        )
    return done / (time.perf_counter() - started)


def _plain_model() -> Any:
    from django.apps import apps
    from django.db import models

    if "plainrow" in apps.all_models["bench"]:
        return apps.all_models["bench"]["plainrow"]

    class PlainRow(models.Model):
        """The columns of a comment, with nothing around them."""

        stream = models.BigIntegerField()
        number = models.BigIntegerField()
        change = models.BigIntegerField()
        author = models.BigIntegerField()
        key = models.UUIDField()
        author_name = models.CharField(max_length=200)
        badge = models.CharField(max_length=5)
        body = models.TextField()
        address = models.CharField(max_length=32)
        state = models.CharField(max_length=10)
        removed_by = models.CharField(max_length=200)
        posted_at = models.DateTimeField()

        class Meta:
            app_label = "bench"

        def __str__(self) -> str:
            return str(self.pk)

    return PlainRow


# --- B: who posts --------------------------------------------------------------------------------


class Poster(WSListener):
    """One socket: posts, waits for its acknowledgement, posts again, until it is told to stop."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, float] = {}  # keys that are not acknowledged, and when sent
        self.acked = 0
        self.refused: list[bytes] = []
        self.delays: list[float] = []
        self.going = False
        self.idle = asyncio.Event()
        self.gone = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.gone.set()
        self.idle.set()

    def start(self) -> None:
        self.going = True
        self.idle.clear()
        self._post()

    def _post(self) -> None:
        self.send(BODY)

    def send(self, body: str) -> None:
        key = str(uuid.uuid4())
        self.waiting[key.encode()] = time.perf_counter()
        fields = {"action": "post", "body": body, "key": key}
        self.transport.send(WSMsgType.TEXT, json.dumps(fields).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        if b" data-refused=" in payload:
            self.refused.append(payload)
        elif (at := payload.find(b' data-ack="')) >= 0:
            sent_at = self.waiting.pop(payload[at + 11 : at + 47])
            self.acked += 1
            self.delays.append(time.perf_counter() - sent_at)
        else:
            return  # what others wrote
        if self.going:
            self._post()
        elif not self.waiting:
            self.idle.set()


async def connect(site: Site, slug: str, people: list[Person]) -> list[Poster]:
    """A socket for each of them, at the end of the video's comments."""
    posters = []
    for person in people:
        headers = {
            "Origin": site.origin,
            "Cookie": person.cookie_header,
            "X-Forwarded-For": person.address,
        }
        poster = Poster()
        await ws_connect(
            lambda poster=poster: poster,
            site.ws_url(slug, person.page.cursor),
            extra_headers=headers,
        )
        posters.append(poster)
    return posters


async def _post_for(posters: list[Poster], seconds: float) -> float:
    """Acknowledged comments a second over a while."""
    before = sum(poster.acked for poster in posters)
    started = time.perf_counter()
    if any(poster.gone.is_set() for poster in posters):
        raise RuntimeError("the server has closed a socket")
    for poster in posters:
        poster.start()
    await asyncio.sleep(seconds)
    rate = (sum(poster.acked for poster in posters) - before) / (time.perf_counter() - started)
    for poster in posters:
        poster.going = False
    async with asyncio.timeout(15):
        await asyncio.gather(*(poster.idle.wait() for poster in posters))
    return rate


# --- A, B, A, B … --------------------------------------------------------------------------------


@dataclass
class Rates:
    """Rows or comments a second, one for each round."""

    bare: list[float]
    ours: list[float]
    delays: list[float]  # seconds from sent to acknowledged


def measure(backend: str, rounds: int, seconds: float) -> Rates:
    with running(backend, **LIMITS) as site:
        slug = site.video()
        people = [Person(site).open(slug) for _ in range(SOCKETS)]
        with closing(Remote(site.variables, site.folder / "bare.log")) as bare:
            bare.call(make_table)
            pin(bare.process.pid, SERVER_CORE)
            with on_core(LOAD_CORE):
                rates, acked = asyncio.run(_rounds(site, slug, people, bare, rounds, seconds))
        stands = site.call(world.stream_of, slug)["head"]
        if stands != acked:
            raise RuntimeError(f"{acked} were acknowledged, {stands} are in the database")
        return rates


async def _rounds(
    site: Site, slug: str, people: list[Person], bare: Remote, rounds: int, seconds: float
) -> tuple[Rates, int]:
    posters = await connect(site, slug, people)
    rates = Rates([], [], [])
    await _post_for(posters, 1.0)
    await asyncio.to_thread(bare.call, create_rows, 0.5)
    for poster in posters:
        poster.delays.clear()
    for number in range(1, rounds + 1):
        rates.bare.append(await asyncio.to_thread(bare.call, create_rows, seconds))
        rates.ours.append(await _post_for(posters, seconds))
        say(
            f"  {TITLES[site.backend]} round {number} of {rounds}:"
            f" create() {rates.bare[-1]:.0f}/s, comments {rates.ours[-1]:.0f}/s"
        )
    lost = [poster for poster in posters if poster.gone.is_set()]
    refused = [answer for poster in posters for answer in poster.refused]
    if lost or refused:
        raise RuntimeError(f"{len(lost)} sockets were closed, {len(refused)} posts refused")
    rates.delays = sorted(delay for poster in posters for delay in poster.delays)
    for poster in posters:
        poster.transport.disconnect()
    return rates, sum(poster.acked for poster in posters)


def row(backend: str, rates: Rates) -> dict[str, Any]:
    """One line of the table."""
    bare, ours = statistics.median(rates.bare), statistics.median(rates.ours)
    ratio = ours / bare
    return {
        "work": f"accepted comments/s through {SOCKETS} sockets, durable, every rule on"
        f" ({TITLES[backend]}), against a bare ORM create() loop",
        "bar": f">= {BAR:.1f}x",
        "value": f"{ours:.0f}/s against {bare:.0f}/s",
        "ratio": round(ratio, 3),
        "met": ratio >= BAR,
        "comments_per_s": spread(rates.ours),
        "creates_per_s": spread(rates.bare),
        "ack_ms_median": round(1000 * statistics.median(rates.delays), 1),
        "ack_ms_p99": round(1000 * rates.delays[int(0.99 * len(rates.delays))], 1),
        "rounds": len(rates.ours),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most of several rounds."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }
