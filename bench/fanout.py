"""Fan-out: what a delivered comment costs the server, and how late it is.

`python -m bench.fanout [--quick] [WORK …]` measures some of it and prints. Each work runs its
contestants in turn, several rounds (A B A B), each round with servers that were just started.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from bench.contestants import (
    Broadcast,
    Contestant,
    Maker,
    Nchan,
    NodeWs,
    Ours,
    Tutorial,
    settle,
)
from bench.load import Audience, NotWholeError, connect
from bench.measure import LOAD_CORE, cpu_seconds, percentile, resident_kib, stay_on
from tests.servers import Databases

type Result = dict[str, Any]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def deliver(
    contestant: Contestant, audience: Audience, rate: float, seconds: float, patience: float = 120.0
) -> Result:
    """One window: comments at a rate, until all have arrived everywhere."""
    tally = audience.tally
    tally.begin()
    before, wall, sent = cpu_seconds(contestant.pids), time.perf_counter(), audience.sent
    await audience.post(rate, seconds)
    posted = time.perf_counter() - wall
    late = await audience.arrive(patience)
    cpu = cpu_seconds(contestant.pids) - before
    assert tally.delivered == (audience.sent - sent) * len(audience.viewers), "counted otherwise"
    return {
        "cpu_us": cpu / tally.delivered * 1e6,
        "cpu_share": cpu / (time.perf_counter() - wall),
        "p50_ms": percentile(tally.histogram, 0.5),
        "p99_ms": percentile(tally.histogram, 0.99),
        "behind_s": late,
        "posted_in_s": posted,
        "wire_bytes": tally.wire_bytes / tally.delivered,
        "comments_per_frame": tally.delivered / tally.frames,
        "delivered": tally.delivered,
        "rss_mib": resident_kib(contestant.pids) / 1024,
    }


async def rates_with(
    contestant: Contestant, viewers: int, rates: dict[float, float], *, deflate: bool
) -> dict[str, Result]:
    """Connect once, then a window for each rate (comments/s: seconds)."""
    idle = resident_kib(contestant.pids)
    audience = await connect(
        contestant.doors(viewers), contestant.tally(), contestant.say, deflate=deflate
    )
    await asyncio.sleep(2)
    found: dict[str, Result] = {}
    per_viewer = (resident_kib(contestant.pids) - idle) / viewers
    for rate, seconds in rates.items():
        await deliver(contestant, audience, rate, min(2.0, 20 / rate))  # warm
        found[f"{rate:g}/s"] = result = await deliver(contestant, audience, rate, seconds)
        result["kib_per_viewer"] = per_viewer
        say(
            f"    {contestant.name}: {viewers} viewers, {rate:g}/s: {result['cpu_us']:.2f} us,"
            f" p99 {result['p99_ms']:.0f} ms, {result['behind_s']:.1f} s behind"
        )
    await audience.leave()
    return found


def in_turn(makers: list[Maker], rounds: int, work: Callable[[Contestant], Any]) -> dict[str, Any]:
    """Each contestant's results of each round: A B A B. A peer that fails is told, not hidden."""
    found: dict[str, list[Any]] = {}
    for number in range(rounds):
        say(f"  round {number + 1} of {rounds}")
        for make in makers:
            contestant = make()
            try:
                settle()
                found.setdefault(contestant.name, []).append(uvloop.run(work(contestant)))
            except NotWholeError as wrong:
                if isinstance(contestant, Ours):
                    raise
                say(f"    {contestant.name}: {wrong}")
                found.setdefault(contestant.name, []).append({"failed": str(wrong)})
            finally:
                contestant.stop()
    return found


# --- the works ----------------------------------------------------------------------------------


class Works:
    """What is measured. Each method returns raw results, by contestant and round."""

    def __init__(self, databases: Databases, *, quick: bool, rounds: int) -> None:
        self.databases = databases
        self.quick = quick
        self.rounds = 1 if quick else rounds
        self.seconds = 4.0 if quick else 10.0

    def ours(self, **how: Any) -> Maker:
        return lambda: Ours(self.databases, **how)

    def viewers_4000(self) -> Result:
        viewers = 1000 if self.quick else 4000
        rates = {1.0: 2 * self.seconds, 10.0: self.seconds, 50.0: self.seconds}
        return in_turn(
            [self.ours(), Nchan, NodeWs, Broadcast],
            self.rounds,
            lambda one: rates_with(one, viewers, rates, deflate=False),
        )

    def tutorial(self) -> Result:
        chats = [
            lambda server=server, layer=layer: Tutorial(server, layer)
            for server in Tutorial.COMMANDS
            for layer in ("pubsub", "core")
        ]
        return in_turn(
            [self.ours(), *chats],
            self.rounds,
            lambda one: rates_with(one, 500, {10.0: self.seconds}, deflate=False),
        )

    def few(self) -> Result:
        return in_turn(
            [self.ours()],
            self.rounds,
            lambda one: rates_with(one, 200, {2.0: 2 * self.seconds}, deflate=False),
        )

    def deflate(self) -> Result:
        """The same, with and without an offer of permessage-deflate."""
        viewers = 1000 if self.quick else 4000
        rates = {10.0: self.seconds, 50.0: self.seconds}
        found: Result = {"plain": [], "deflated": []}
        for number in range(self.rounds):
            say(f"  round {number + 1} of {self.rounds}")
            for name in found:
                one = in_turn(
                    [self.ours()],
                    1,
                    partial(rates_with, viewers=viewers, rates=rates, deflate=name == "deflated"),
                )
                found[name] += one[Ours.name]
        return found

    def two_processes(self) -> Result:
        viewers = 500 if self.quick else 2000
        found: Result = {"one": [], "two": []}
        for number in range(self.rounds):
            say(f"  round {number + 1} of {self.rounds}")
            for processes, name in enumerate(found, 1):
                one = in_turn(
                    [self.ours(backend="postgres", processes=processes)],
                    1,
                    lambda ours: rates_with(ours, viewers, {10.0: self.seconds}, deflate=False),
                )
                found[name] += one[Ours.name]
        return found

    def ten_thousand(self) -> Result:
        viewers, seconds = (2000, 10.0) if self.quick else (10_000, 60.0)
        return in_turn(
            [self.ours()],
            1,
            lambda one: rates_with(one, viewers, {10.0: seconds}, deflate=True),
        )

    def connects(self) -> Result:
        """CPU of one connect: ours with session, account and resume; the peers' with nothing."""
        count = 500 if self.quick else 2000

        def signed_in() -> Contestant:
            ours = Ours(self.databases)
            ours.name = "streamsite, all signed in"
            return ours

        async def enter(one: Contestant) -> Result:
            doors = (
                one.doors(count, signed_in=count)
                if isinstance(one, Ours) and "signed" in one.name
                else one.doors(count)
            )
            warm = await connect(doors[:20], one.tally(), one.say)
            await warm.leave()
            await asyncio.sleep(1)
            before, wall = cpu_seconds(one.pids), time.perf_counter()
            audience = await connect(doors[20:], one.tally(), one.say)
            await asyncio.sleep(1)
            took = cpu_seconds(one.pids) - before
            result = {
                "cpu_us": took / (count - 20) * 1e6,
                "seconds": time.perf_counter() - wall - 1,
            }
            say(f"    {one.name}: {result['cpu_us']:.0f} us per connect")
            await audience.leave()
            return result

        return in_turn([self.ours(), signed_in, Tutorial, NodeWs, Nchan], self.rounds, enter)

    def over_viewers(self) -> Result:
        counts = (100, 300, 1000, 3000) + (() if self.quick else (10_000,))
        found = {}
        for count in counts:
            one = in_turn(
                [self.ours()],
                1,
                partial(rates_with, viewers=count, rates={10.0: self.seconds}, deflate=False),
            )
            found[str(count)] = one[Ours.name][0]["10/s"]
        return found

    def over_rates(self) -> Result:
        rates = dict.fromkeys((1.0, 3.0, 10.0, 30.0, 100.0, 200.0), self.seconds)
        one = in_turn([self.ours()], 1, lambda ours: rates_with(ours, 1000, rates, deflate=False))
        found: Result = one[Ours.name][0]
        return found


ALL = (
    "viewers_4000",
    "tutorial",
    "few",
    "deflate",
    "connects",
    "two_processes",
    "ten_thousand",
    "over_viewers",
    "over_rates",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="*", default=ALL, metavar="WORK", help=", ".join(ALL))
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, one round")
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.works, quick=chosen.quick), indent=1))


def run(works: Sequence[str], *, quick: bool, rounds: int = 3) -> Result:
    """Measure some of the works: their raw results by name."""
    stay_on(LOAD_CORE)
    with tempfile.TemporaryDirectory(prefix="streamsite-bench-") as folder:
        databases = Databases(Path(folder))
        try:
            found = {}
            for name in works:
                say(name)
                found[name] = getattr(Works(databases, quick=quick, rounds=rounds), name)()
            return found
        finally:
            databases.stop()


if __name__ == "__main__":
    main()
