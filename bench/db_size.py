"""A video with 1,000,000 comments against one with 1,000: in one database, at the same doors.

Page view and older page are GETs, a post goes through the socket and back, and the catch-up is what
a page 100 changes behind makes the service read. Each is done for the small and the large video in
turn. The ratio is of the medians.
"""

import asyncio
import http.client
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.db_posting import LIMITS, Poster, connect, spread
from bench.db_site import TITLES, pin, running, say
from bench.measure import LOAD_CORE, SERVER_CORE, on_core
from tests.client import Person
from tests.servers import Site

SMALL, LARGE = 1_000, 1_000_000
BAR = 1.3
AUTHORS = 1_000  # viewers who wrote them
BEHIND = 100  # changes that a page lacks which catches up
WORKS = ("page view", "older page", "catch-up", "post")


# --- What runs where the data is -----------------------------------------------------------------


def fill(slug: str, count: int) -> None:
    """Give a video that has none `count` comments, every 50th of them removed: in SQL, quickly."""
    from django.db import connection, transaction

    from comments.models import Stream, Viewer

    stream = Stream.objects.get(video__slug=slug)
    if Viewer.objects.count() < AUTHORS:
        Viewer.objects.bulk_create(Viewer() for _ in range(AUTHORS))
    first = Viewer.objects.order_by("pk").values_list("pk", flat=True)[0]
    is_sqlite = connection.vendor == "sqlite"
    series = (
        "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < %s)"
        if is_sqlite
        else "WITH series(n) AS (SELECT generate_series(1, %s))"
    )
    key = "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"
    # The last of them a day ago, one a second.
    at = (
        "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', (n - %s - 86400) || ' seconds')"
        if is_sqlite
        else "now() + make_interval(secs => n - %s - 86400)"
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""{series}
            INSERT INTO comments_comment (stream_id, number, change, author_id, key, author_name,
                badge, body, address, state, removed_by, posted_at)
            SELECT %s, n, n, %s + n %% %s, {key}, 'Quiet Heron', '',
                'Comment number ' || n || ': nobody reads them all.', 'address' || (n %% 500),
                CASE n %% 50 WHEN 0 THEN 'removed' ELSE 'visible' END,
                CASE n %% 50 WHEN 0 THEN 'mona' ELSE '' END, {at}
            FROM series""",  # noqa: S608
            [count, stream.pk, first, AUTHORS, count],
        )
        Stream.objects.filter(pk=stream.pk).update(head=count)


def analyze() -> None:
    """Let the planner know what is there, as autovacuum (or a nightly ANALYZE) would."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM ANALYZE")


def catch_up_ms(slugs: list[str], times: int) -> list[list[float]]:
    """ms that `services/catch_up` takes for a page BEHIND changes back, of each video in turn."""
    from comments.models import Stream
    from comments.stream import Cursor, catch_up

    streams = [Stream.objects.get(video__slug=slug) for slug in slugs]
    took: list[list[float]] = [[] for _ in slugs]
    for number in range(times + 3):
        for stream, found in zip(streams, took, strict=True):
            started = time.perf_counter()
            batch = catch_up(stream.pk, Cursor(stream.epoch, stream.head - BEHIND))
            if number >= 3:  # the first ones fill caches
                found.append(1000 * (time.perf_counter() - started))
            if len(batch.changes) != BEHIND:
                raise RuntimeError(f"{len(batch.changes)} changes")
    return took


def plans(slug: str) -> list[tuple[str, str]]:
    """How the database answers each statement that these doors ask about comments."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from comments import limits, services
    from comments.identity import Actor
    from comments.models import Stream, Viewer
    from comments.stream import Cursor, catch_up, older_than, window_comments

    stream = Stream.objects.get(video__slug=slug)
    actor = Actor(Viewer.objects.create(), address="address7")
    middle = stream.head // 2
    doors: list[tuple[str, Callable[[], object]]] = [
        ("page view", lambda: window_comments(stream, staff=False)),
        (
            "older page",
            lambda: older_than(
                stream, window_comments(stream, staff=False, before=middle), staff=False
            ),
        ),
        ("older page of staff", lambda: window_comments(stream, staff=True, before=middle)),
        ("catch-up", lambda: catch_up(stream.pk, Cursor(stream.epoch, stream.head - BEHIND))),
        ("post", lambda: services.post(actor, stream.pk, "planned", str(uuid.uuid4()))),
        ("flood limits", lambda: limits.flood_per_address(["address7"])),
    ]
    found = []
    for name, door in doors:
        with CaptureQueriesContext(connection) as asked:
            door()
        sql = [query["sql"].replace('"', "") for query in asked.captured_queries]
        found += [(name, _plan(text)) for text in sql if "FROM comments_comment" in text]
    return list(dict.fromkeys(found))


def _plan(sql: str) -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%', '%%')}")
            return "\n".join(row[3] for row in cursor.fetchall())
        cursor.execute(f"EXPLAIN (COSTS OFF) {sql.replace('%', '%%')}")
        return "\n".join(row[0] for row in cursor.fetchall())


# --- What goes through the doors ------------------------------------------------------------------


@dataclass
class Times:
    """ms of each work, for the small and for the large video."""

    small: dict[str, list[float]] = field(default_factory=dict)
    large: dict[str, list[float]] = field(default_factory=dict)
    plans: list[tuple[str, str]] = field(default_factory=list)
    filled: float = 0.0  # s


def measure(backend: str, times: int, large: int = LARGE) -> Times:
    """All works on one database, `times` each."""
    with running(backend, **LIMITS) as site:
        small_slug, large_slug = slugs = [site.video(), site.video()]
        started = time.perf_counter()
        site.call(fill, small_slug, SMALL)
        site.call(fill, large_slug, large)
        site.call(analyze)
        found = Times(filled=time.perf_counter() - started)
        say(f"  {TITLES[backend]}: filled in {found.filled:.0f} s")
        people = [Person(site).open(slug) for slug in slugs]  # at the end of what is there
        with on_core(LOAD_CORE):
            _both(found, "page view", _gets(people, [f"/videos/{slug}/" for slug in slugs], times))
            older = [
                f"/videos/{slug}/comments/?before={count // 2}"
                for slug, count in zip(slugs, (SMALL, large), strict=True)
            ]
            _both(found, "older page", _gets(people, older, times))
            _both(found, "post", asyncio.run(_posts(site, slugs, people, times)))
        remote = site.call(_pid)
        pin(remote, SERVER_CORE)
        _both(found, "catch-up", site.call(catch_up_ms, slugs, times))
        found.plans = [(name, plan) for name, plan in site.call(plans, large_slug)]
        return found


def _pid() -> int:
    import os

    return os.getpid()


def _both(found: Times, work: str, took: list[list[float]]) -> None:
    found.small[work], found.large[work] = took
    small, large = statistics.median(took[0]), statistics.median(took[1])
    say(f"  {work}: {small:.2f} ms, {large:.2f} ms, {large / small:.2f}x")


def _gets(people: list[Person], paths: list[str], times: int) -> list[list[float]]:
    """Of each path in turn, by its person, over one connection as browsers keep it."""
    port = people[0].site.servers[0].port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    took: list[list[float]] = [[] for _ in paths]
    for number in range(times + 3):
        for person, path, found in zip(people, paths, took, strict=True):
            headers = {"Cookie": person.cookie_header, "X-Forwarded-For": person.address}
            started = time.perf_counter()
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
            if number >= 3:
                found.append(1000 * (time.perf_counter() - started))
            if answer.status != 200 or text.count(b'<li class="comment"') < 50:
                raise RuntimeError(f"{path}: {answer.status}, or not 50 comments")
    connection.close()
    return took


async def _posts(
    site: Site, slugs: list[str], people: list[Person], times: int
) -> list[list[float]]:
    """From sent to acknowledged, of one socket for each video, in turn."""
    posters = [
        (await connect(site, slug, [person]))[0] for slug, person in zip(slugs, people, strict=True)
    ]
    took: list[list[float]] = [[] for _ in slugs]
    for number in range(times + 3):
        for poster, found in zip(posters, took, strict=True):
            delay = await _post_once(poster)
            if number >= 3:
                found.append(1000 * delay)
    for poster in posters:
        poster.transport.disconnect()
    return took


async def _post_once(poster: Poster) -> float:
    poster.start()
    poster.going = False  # after this one
    async with asyncio.timeout(15):
        await poster.idle.wait()
    if poster.refused or poster.gone.is_set():
        raise RuntimeError(f"not posted: {poster.refused}")
    return poster.delays[-1]


def rows(backend: str, found: Times) -> list[dict[str, Any]]:
    """The lines of the table."""
    lines = []
    for work in WORKS:
        small, large = statistics.median(found.small[work]), statistics.median(found.large[work])
        ratio = large / small
        lines.append(
            {
                "work": f"{work} at 1,000,000 comments against 1,000 ({TITLES[backend]})",
                "bar": f"<= {BAR}x",
                "value": f"{large:.2f} ms against {small:.2f} ms",
                "ratio": round(ratio, 3),
                "met": ratio <= BAR,
                "ms_at_1000": spread(found.small[work]),
                "ms_at_1000000": spread(found.large[work]),
                "times": len(found.small[work]),
            }
        )
    return lines


def notes(backend: str, found: Times) -> str:
    """The query plans, as Markdown: each once, with all that is answered by it."""
    names: dict[str, list[str]] = {}
    for name, plan in found.plans:
        names.setdefault(plan, []).append(name)
    parts = [f"Query plans of {TITLES[backend]} at 1,000,000 comments:"]
    for plan, asked in names.items():
        parts.append(f"{', '.join(dict.fromkeys(asked))}:\n\n```text\n{plan}\n```")
    return "\n\n".join(parts)
