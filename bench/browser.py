"""`python -m bench.browser`: Chromium in front of a stream of 50 comments a second for two minutes.

A page on a real server, its reader at the bottom, then reading back, then at the bottom again. From
the page and from Chromium's own tools: how many rows there are, the longest task, the heap after a
collection, and whether what is being read stays where it is.
"""

import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from bench.db_posting import Poster, connect
from bench.db_site import pin, running, say
from bench.measure import LOAD_CORE, SERVER_CORE, on_core
from tests.browser.conftest import WIDE, launch
from tests.client import Person
from tests.servers import Site

RATE = 50  # comments a second
POSTERS = 25
SECONDS, QUICK_SECONDS = 120, 20
WARM_SECONDS = 10
ROWS_AT_MOST = 250
TASK_MS_AT_MOST = 100
# What collection leaves may differ by this much: code that was compiled late, caches of the engine.
HEAP_GROWTH_AT_MOST = 1.1
HELD_WITHIN_PX = 1.0

# Before any script of the page: every task over 50 ms, and twice a second the rows.
WATCH = """
window.bench = {tasks: [], rows: 0, moved: 0, at: null};
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) bench.tasks.push([entry.startTime, entry.duration]);
}).observe({type: "longtask", buffered: true});
setInterval(() => {
  const list = document.getElementById("comments");
  if (list) bench.rows = Math.max(bench.rows, list.childElementCount);
}, 100);
"""
# The row in the middle of what is seen, and how far it ever is from where it was.
HOLD = """
() => {
  const scroller = document.getElementById("stream");
  const box = scroller.getBoundingClientRect();
  const middle = box.top + box.height / 2;
  const row = [...document.querySelectorAll("#comments > li:not([hidden])")].find(
    found => found.getBoundingClientRect().bottom > middle);
  const top = row.getBoundingClientRect().top;
  bench.held = row.id;
  bench.frames = 0;
  bench.reading = true;
  const look = () => {
    if (!bench.reading) return;
    const now = row.isConnected ? row.getBoundingClientRect().top : Infinity;
    bench.moved = Math.max(bench.moved, Math.abs(now - top));
    bench.frames += 1;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


@dataclass
class Seen:
    """What one run showed. Heaps in bytes, after a collection, with the number of rows then."""

    heaps: list[int] = field(default_factory=list)
    heap_rows: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    rows: int = 0
    tasks: list[float] = field(default_factory=list)  # ms, those over 50
    moved: float = 0.0  # px
    frames: int = 0  # in which that was looked at
    posted: int = 0


class Crowd(threading.Thread):
    """Posts RATE comments a second from POSTERS people, on its own event loop."""

    def __init__(self, site: Site, slug: str) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.slug = slug
        self.people = [Person(site).open(slug) for _ in range(POSTERS)]
        self.sent = 0
        self.posters: list[Poster] = []
        self.ended = threading.Event()

    def run(self) -> None:
        os.sched_setaffinity(threading.get_native_id(), {LOAD_CORE})
        asyncio.run(self._post())

    async def _post(self) -> None:
        self.posters = await connect(self.site, self.slug, self.people)
        started = time.perf_counter()
        while not self.ended.is_set():
            poster = self.posters[self.sent % POSTERS]
            self.sent += 1
            poster.idle.clear()
            poster.send(f"Comment {self.sent}: the one about the third movement, at 12:40.")
            await asyncio.sleep(started + self.sent / RATE - time.perf_counter())
        async with asyncio.timeout(15):
            await asyncio.gather(*(poster.idle.wait() for poster in self.posters))
        for poster in self.posters:
            poster.transport.disconnect()

    def stop(self) -> None:
        """Wait for the last answer. Raises where a comment was refused."""
        self.ended.set()
        self.join(30)
        refused = [answer for poster in self.posters for answer in poster.refused]
        acked = sum(poster.acked for poster in self.posters)
        if refused or acked != self.sent:
            raise RuntimeError(f"{acked} of {self.sent} were acknowledged: {refused[:3]}")


def measure(seconds: float) -> Seen:
    """A page that follows for a third of the time, is read back in, and follows again."""
    variables = {"RATE_VIEWER": "1000/10", "RATE_ADDRESS": "1000/10"}
    with running("sqlite", **variables) as site, sync_playwright() as player:
        slug = site.video()
        crowd = Crowd(site, slug)
        with on_core(LOAD_CORE):  # Chromium inherits it
            browser = launch(player, "--js-flags=--expose-gc")
        page = browser.new_context(**WIDE).new_page()
        page.add_init_script(WATCH)
        page.goto(f"{site.origin}/videos/{slug}/")
        page.wait_for_selector("#panel[data-link=open]", state="attached")
        pin(site.servers[0].process.pid, SERVER_CORE)
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.enable")
        session.send("Performance.enable")
        seen = Seen()
        crowd.start()
        # The heap grows until the list is full, and while the engine compiles what runs often.
        _until(page, "bench.rows >= 200")
        _wait(page, WARM_SECONDS, "to warm up")
        _collect(session, page, seen)
        _wait(page, seconds / 3, "at the bottom")
        _collect(session, page, seen)
        _read_back(page, seconds / 3, seen)
        _wait(page, seconds / 3, "at the bottom again")
        crowd.stop()
        _until(
            page,
            f"Number(document.getElementById('comments').dataset.cursor.split('-')[1])"
            f" >= {crowd.sent}",
        )
        _collect(session, page, seen)
        bench = page.evaluate("bench")
        seen.rows = bench["rows"]
        seen.moved, seen.frames = bench["moved"], bench["frames"]
        # A collection that was asked for is a task of ours, not of the page.
        seen.tasks = [
            duration
            for start, duration in bench["tasks"]
            if not any(start < until and start + duration > since for since, until in _collections)
        ]
        seen.posted = crowd.sent
        browser.close()
        return seen


_collections: list[tuple[float, float]] = []


def _collect(session: CDPSession, page: Page, seen: Seen) -> None:
    since = page.evaluate("performance.now()")
    for _ in range(2):  # what the first one finalises, the second one frees
        session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    _collections.append((since - 1, page.evaluate("performance.now()") + 1))
    seen.heaps.append(int(usage["usedSize"]))
    seen.heap_rows.append(page.evaluate("document.getElementById('comments').childElementCount"))
    metrics = session.send("Performance.getMetrics")["metrics"]
    seen.nodes.append(int(next(m["value"] for m in metrics if m["name"] == "Nodes")))
    say(f"  heap {seen.heaps[-1] / 2**20:.2f} MiB, {seen.heap_rows[-1]} rows")


def _until(page: Page, condition: str, seconds: float = 60.0) -> None:
    """Playwright's own wait evaluates a text in the page, which its policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {seconds:.0f} s: {condition}")
        page.wait_for_timeout(50)


def _wait(page: Page, seconds: float, where: str) -> None:
    page.wait_for_timeout(1000 * seconds)
    rows, tasks = page.evaluate("[bench.rows, bench.tasks.length]")
    say(f"  {seconds:.0f} s {where}: at most {rows} rows, {tasks} tasks over 50 ms")


def _read_back(page: Page, seconds: float, seen: Seen) -> None:
    """Scroll up as a person does, stay there, and go back to the newest."""
    page.hover("#stream")
    for _ in range(6):
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(100)
    page.evaluate(HOLD)
    _wait(page, seconds, "reading back")
    page.evaluate("bench.reading = false")
    page.click("#new-comments")


def run(quick: bool) -> dict[str, Any]:
    """The results for docs/performance.md."""
    seconds = QUICK_SECONDS if quick else SECONDS
    say(f"Chromium at {RATE} comments/s for {seconds} s")
    seen = measure(seconds)
    growth = max(seen.heaps[1:]) / seen.heaps[0]
    longest = max(seen.tasks, default=0.0)
    work = f"Chromium at {RATE} comments/s for {seconds} s"

    def line(what: str, bar: str, value: str, *, met: bool) -> dict[str, Any]:
        return {"work": f"{work}: {what}", "bar": bar, "value": value, "ratio": None, "met": met}

    mib = ", ".join(f"{heap / 2**20:.2f}" for heap in seen.heaps)
    rows = [
        line("rows", f"<= {ROWS_AT_MOST}", str(seen.rows), met=seen.rows <= ROWS_AT_MOST),
        line(
            "longest task",
            f"<= {TASK_MS_AT_MOST} ms",
            f"{longest:.0f} ms" if seen.tasks else "none over 50 ms",
            met=longest <= TASK_MS_AT_MOST,
        )
        | {"tasks_over_50_ms": seen.tasks},
        line(
            "heap after collection, at the start, in the middle, at the end",
            f"flat (<= {HEAP_GROWTH_AT_MOST}x)",
            f"{mib} MiB",
            met=growth <= HEAP_GROWTH_AT_MOST,
        )
        | {"heap_bytes": seen.heaps, "rows_then": seen.heap_rows, "dom_nodes": seen.nodes},
        line(
            "the row that is read moves by at most",
            f"<= {HELD_WITHIN_PX:.0f} px",
            f"{seen.moved:.1f} px in {seen.frames} frames",
            met=seen.moved <= HELD_WITHIN_PX and seen.frames > 0,
        ),
    ]
    rows[2]["ratio"] = round(growth, 3)
    note = (
        f"{seen.posted} comments came while the page was open. Chromium is headless and has core"
        f" {LOAD_CORE} together with who posts; a third of the time its reader was reading back."
    )
    return {"title": "In the browser", "rows": rows, "notes": [note]}


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv), indent=2))
