"""The long form of the fault tests: every fault at full size, and the table of it."""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tests.faults import peers, plans, sequences, truth
from tests.faults.crowd import Report
from tests.faults.plans import DurableDatabases, FaultSite, Plan, carry_out

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- the table of make soak -->\n", "<!-- its end -->\n"

PLANS = [
    plans.BASELINE,
    plans.KILL,
    plans.FREEZE,
    plans.FREEZE_IN_TRANSACTION,
    plans.REDIS_EMPTY,
    plans.REDIS_HUNG,
    plans.REDIS_GONE,
    plans.POSTGRES,
    plans.CUTS,
    plans.FLAPS,
    plans.DROPPED,
    plans.DOUBLED,
    plans.SHUFFLED,
    plans.DELAYED,
    plans.KICKED,
    plans.ROLLING,
    plans.BACKUP,
    peers.DEAF,
]
SQLITE = [
    replace(plans.BUSY, viewers=100, rate=10.0),
    replace(plans.LOCKED, viewers=100, rate=10.0),
]
COMMITS = 10_000
SEQUENCES = 5_000
COME_AND_GO = 20_000

_started = time.monotonic()


def say(line: object) -> None:
    print(f"[{time.monotonic() - _started:6.0f} s] {line}", flush=True)  # noqa: T201


# --- What is no plan with a crowd: each answers what was done, what it came to, whether it held --

type Line = tuple[str, str, str, bool]


def commits(site: FaultSite, seed: int) -> Line:
    slug, changes, missed, disorder = site.video(), 0, 0, 0
    while changes < COMMITS:
        found = site.call(truth.interleavings, slug, 2, 8, 60)
        changes, missed, disorder = changes + found[0], missed + found[1], disorder + found[2]
    result = f"missed by two polling readers {missed}, seen out of order {disorder}"
    return (
        "commit interleavings with polling readers",
        f"{changes} commits",
        result,
        not (missed or disorder),
    )


def histories(databases: DurableDatabases, folder: Path, seed: int) -> Line:
    with Beside(databases, folder) as site:
        done = site.call(sequences.check, site.video(), SEQUENCES, seed)
    result = "an old page and its frames are a fresh page in every one"
    return "hypothesis: histories of one stream", f"{done} sequences", result, done >= SEQUENCES


class Beside(FaultSite):
    """A site on SQLite in a folder of its own, for as long as a `with` lasts."""

    def __init__(self, databases: DurableDatabases, folder: Path) -> None:
        folder.mkdir()
        super().__init__(databases, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()


def come_and_go(site: FaultSite, seed: int) -> Line:
    slug = site.video()
    asyncio.run(peers.come_and_go(site, slug, 500))
    time.sleep(2.5)
    before = [site.state(n) for n in range(len(site.servers))]
    opened = asyncio.run(peers.come_and_go(site, slug, COME_AND_GO))
    left = peers.back_at_the_start(site, before)
    for line in left:
        say(line)
    grown = max(site.state(n)["rss_kib"] - was["rss_kib"] for n, was in enumerate(before))
    result = (
        "tasks, file descriptors, hubs and seats back at the start" if not left else "; ".join(left)
    )
    return (
        "connect and close",
        f"{COME_AND_GO} sockets ({opened} let through the handshake)",
        f"{result}; memory {grown / 1024:+.1f} MiB",
        not left and grown < 32 * 1024,
    )


def cut_off(site: FaultSite, seed: int) -> Line:
    slug, port = site.video(), site.servers[0].port

    async def all_three() -> tuple[float, float, float]:
        return await asyncio.gather(
            peers.silent(port, slug), peers.drip_headers(port), peers.drip_body(port, slug)
        )

    silent, headers, body = asyncio.run(all_three())
    result = (
        f"silent peer gone after {silent:.0f} s, dripping headers after {headers:.0f} s,"
        f" dripping body after {body:.0f} s"
    )
    return "silent and dripping peers", "1 each", result, silent <= 61 and headers < 40 > body


# --- The table ----------------------------------------------------------------------------------


def row(plan: Plan, report: Report) -> str:
    strikes = f"{plan.seconds or plan.times:.0f} s" if plan.is_lasting else f"{report.faults}"
    cells = [
        plan.name,
        strikes,
        f"{report.viewers}",
        f"{report.comments}",
        f"{report.removals}",
        *(f"{count}" for count in report.violations.values()),
        f"{report.p50 * 1000:.0f}",
        f"{report.p99 * 1000:.0f}",
        f"{report.worst:.2f}",
        f"{report.worst_removal:.2f}",
        f"{report.reconnects}",
        f"{report.resets}",
        "; ".join([*([report.noted] if report.noted else []), *report.wrong]),
    ]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| fault | times | viewers | comments | removals | lost | doubled | out of order |"
    " stale removals | stored twice | p50 ms | p99 ms | worst s | worst removal s |"
    " reconnects | resets | also |\n"
    f"|---|{'--:|' * 15}---|\n"
)


def machine() -> str:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{os.cpu_count()} cores, {kib / 1024**2:.0f} GiB of memory"


def write(rows: list[str], lines: list[Line], seed: int) -> None:
    took = (time.monotonic() - _started) / 60
    text = (
        f"`make soak` on {datetime.now(UTC):%d %B %Y}, {machine()} for servers, PostgreSQL, Valkey"
        f" and the crowd together, seed {seed}, {took:.0f} minutes.\n\n"
        + HEADER
        + "".join(f"{line}\n" for line in rows)
        + "\n| besides | how much | result |\n|---|---|---|\n"
        + "".join(f"{besides(line)}\n" for line in lines)
    )
    before, _table, after = parts()
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def rewrite(rows: list[str], lines: list[Line], seed: int) -> None:
    """After a run of some faults: their lines in the table, each with its day and seed."""
    before, table, after = parts()
    old = {first_cell(line): line for line in table.splitlines() if line.startswith("| ")}
    when = f"run again on {datetime.now(UTC):%d %B %Y}, seed {seed}"
    for line in rows + [besides(line) for line in lines]:
        name = first_cell(line)
        known = old.get(name)
        if known is None:
            say(f"not in the table, which only a whole run makes: {name}")
            continue
        noted = line.removesuffix(" |").rstrip()
        separator = " " if noted.endswith("|") else "; "
        table = table.replace(known, f"{noted}{separator}{when} |")
    DOCUMENT.write_text(f"{before}{BEGIN}{table}{END}{after}")


def besides(line: Line) -> str:
    name, much, result, held = line
    return f"| {name} | {much} | {result}{'' if held else ' (WRONG)'} |"


def first_cell(line: str) -> str:
    return line.split("|")[1].strip()


def parts() -> tuple[str, str, str]:
    """The document before, in and after the table."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    return before, table, after


def run(only: list[str], seed: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="streamsite-soak-"))
    databases = DurableDatabases(folder)
    rows: list[str] = []
    lines: list[Line] = []
    fine = True

    def chosen(name: str) -> bool:
        return not only or any(word.lower() in name.lower() for word in only)

    def attempt(site: FaultSite, some: list[Plan]) -> None:
        nonlocal fine
        for plan in some:
            if chosen(plan.name):
                say(f"{plan.name} …")
                try:
                    report = carry_out(plan, site, seed)
                except Exception as error:
                    report = Report(plan.name, seed, wrong=[f"{error!r:.300}"])
                say(report)
                rows.append(row(plan, report))
                fine = fine and report.holds

    def check(name: str, work: Callable[[], Line]) -> None:
        nonlocal fine
        if chosen(name):
            say(f"{name} …")
            try:
                lines.append(work())
            except Exception as error:
                lines.append((name, "", f"{error!r:.300}", False))
            say(" | ".join(lines[-1][:3]))
            fine = fine and lines[-1][3]

    sites: list[FaultSite] = []
    try:
        (folder / "site").mkdir()
        sites.append(FaultSite(databases, folder / "site", backend="postgres", processes=2))
        attempt(sites[0], PLANS)
        # It waits for a minute and costs nothing: beside the next one.
        waiting = threading.Thread(target=check, args=("silent", lambda: cut_off(sites[0], seed)))
        waiting.start()
        check("hypothesis", lambda: histories(databases, folder / "histories", seed))
        waiting.join()
        check("connect", lambda: come_and_go(sites[0], seed))
        check("commit", lambda: commits(sites[0], seed))
        if any(chosen(plan.name) for plan in SQLITE):
            with Beside(databases, folder / "sqlite") as site:
                attempt(site, SQLITE)
    finally:
        for found in sites:
            found.kill()
        databases.stop()
        shutil.rmtree(folder, ignore_errors=True)
    (rewrite if only else write)(rows, lines, seed)
    say(f"written to {DOCUMENT.name}")
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="faults whose name has such a word"
    )
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))
    )
    options = parser.parse_args()
    say(f"FAULT_SEED={options.seed}")
    held = run(options.only, options.seed)
    say("every promise held" if held else "A PROMISE WAS BROKEN: see above")
    sys.exit(0 if held else 1)
