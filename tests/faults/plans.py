"""The faults, each a small coroutine, and the trials that put a crowd through them.

`times` says how often a fault strikes; how long a trial lasts follows from it. Every random choice
comes from the trial's seed: FAULT_SEED=<number> draws the same ones again.
"""

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

from tests.faults import truth
from tests.faults.crowd import SETTLE_SECONDS, WITH_REDIS, WITHOUT_REDIS, Crowd, Report
from tests.faults.proxy import CALM, Proxy, Weather
from tests.faults.viewers import BROWSER, HURRIED, Door, Manner
from tests.servers import Databases, Postgres, Site, wait_for

SHIM = "tests.faults.shim"
# Seconds after all have left that a server may still work for one: a call of the database that is
# given up, the handshake of closing that is cut.
GONE_AT_MOST = 30.0
UNLIMITED = {"RATE_VIEWER": "off", "RATE_ADDRESS": "off", "SOCKETS_PER_SESSION": "off"}


def seed_of_this_run() -> int:
    return int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))


# --- What trials run on -------------------------------------------------------------------------


class DurableDatabases(Databases):
    """As for all tests, but a commit is on record before it is acknowledged: these crash it."""

    def new_postgres(self) -> str:
        url = super().new_postgres()
        name = url.rpartition("/")[2]
        with self.postgres.connect("postgres") as connection:
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
        return url


class FaultSite(Site):
    """A Site whose servers can be told to ring badly, to freeze, and what they hold."""

    def __init__(self, databases: Databases, folder: Path, **options: Any) -> None:
        self.control = folder / "control"
        self.control.mkdir()
        given = {"DJANGO_SETTINGS_MODULE": SHIM, "FAULT_CONTROL": str(self.control), **UNLIMITED}
        super().__init__(databases, folder, **(given | options))
        self.databases = databases

    def ring(self, **mood: float) -> None:
        """Have the doorbell drop, double, shuffle, delay (doorbell.py); nothing: as it should."""
        draft = self.control / "doorbell.draft"
        draft.write_text(json.dumps(mood))
        draft.rename(self.control / "doorbell.json")

    def state(self, number: int = 0) -> dict[str, Any]:
        """Tasks, hubs and seats of a server, by its own count; files and memory by the kernel's."""
        pid = self.servers[number].process.pid
        path = self.control / f"state-{pid}.json"
        path.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR1)
        wait_for(path.exists, "the server tells its state")
        state: dict[str, Any] = json.loads(path.read_text())
        state["fds"] = len(os.listdir(f"/proc/{pid}/fd"))
        state["rss_kib"] = self.servers[number].resident_kib
        return state


@dataclass
class Trial:
    """One fault's run: the site, the crowd before it, and what stands between."""

    site: FaultSite
    crowd: Crowd
    random: random.Random
    proxies: list[Proxy] = field(default_factory=list)
    times: int = 1

    @property
    def report(self) -> Report:
        return self.crowd.report

    def struck(self) -> None:
        self.report.faults += 1

    async def pause(self, seconds: float) -> None:
        """About so long: what strikes regularly can miss what happens in between."""
        await asyncio.sleep(seconds * self.random.uniform(0.7, 1.3))

    def any_server(self) -> int:
        return self.random.randrange(len(self.site.servers))


type Fault = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """A fault, how often, under what load, and what is promised under it."""

    name: str
    fault: Fault
    times: int = 1
    seconds: float = 0.0  # at least
    viewers: int = 300
    rate: float = 20.0  # comments a second
    manner: Manner = BROWSER
    bound: float = WITH_REDIS  # of removals
    worst: float | None = None  # of deliveries
    proxied: bool = False
    settle: float = SETTLE_SECONDS
    is_lasting: bool = False  # it strikes once, for `times` seconds

    def shortly(self, times: int = 1, seconds: float = 0.0) -> "Plan":
        """The short form: a small crowd in a hurry."""
        return replace(self, times=times, seconds=seconds, viewers=40, rate=12.0, manner=HURRIED)


def carry_out(plan: Plan, site: FaultSite, seed: int | None = None) -> Report:
    """Run a plan to its end; the report. Raises only where the simulation itself is wrong."""
    seed = seed_of_this_run() if seed is None else seed
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_carry_out(plan, site, seed))


async def _carry_out(plan: Plan, site: FaultSite, seed: int) -> Report:
    crowd = Crowd(site, plan.name, seed, manner=plan.manner, bound=plan.bound)
    trial = Trial(site, crowd, random.Random(seed), times=plan.times)
    started = time.monotonic()
    try:
        if plan.proxied:
            for number, server in enumerate(site.servers):
                proxy = Proxy(server.port, seed + number, crowd.dead_links.add)
                await proxy.start()
                trial.proxies.append(proxy)
            crowd.doors = [Door(proxy.port, n) for n, proxy in enumerate(trial.proxies)]
        await crowd.gather(plan.viewers)
        await _strike(plan, trial)
        await crowd.settle(plan.settle)
        report = await crowd.compare()
        report.seconds = time.monotonic() - started
        if plan.worst is not None and report.worst > plan.worst + crowd.lag_since(0):
            crowd.wrong(f"the worst delivery took {report.worst:.2f} s, over {plan.worst} s")
    finally:
        await crowd.leave()
        for proxy in trial.proxies:
            await proxy.stop()
    if left := await asyncio.to_thread(left_behind, site):
        crowd.wrong(left)
    return report


def left_behind(site: FaultSite) -> str:
    """Which servers still work for a socket or a request long after all have left; empty: none."""
    deadline = time.monotonic() + GONE_AT_MOST
    while True:
        kinds = [site.state(number)["kinds"] for number in range(len(site.servers))]
        working = [f"{n}: {held['_handle']}" for n, held in enumerate(kinds) if "_handle" in held]
        if not working or time.monotonic() > deadline:
            return f"applications left behind, by server: {working}" if working else ""
        time.sleep(0.2)


async def _strike(plan: Plan, trial: Trial) -> None:
    """The load goes on from before the first fault until after the last."""
    talking = asyncio.create_task(trial.crowd.talk(plan.rate))
    started = time.monotonic()
    try:
        await asyncio.sleep(min(1.0, 3 / plan.rate))
        await plan.fault(trial)
        await asyncio.sleep(max(0.0, plan.seconds - (time.monotonic() - started)))
    finally:
        talking.cancel()
        await asyncio.wait([talking])
    if not talking.cancelled() and (error := talking.exception()):
        raise error


# --- Faults -------------------------------------------------------------------------------------


async def nothing(trial: Trial) -> None:
    pass


async def kill_a_process(trial: Trial) -> None:
    """kill -9 every 10 s; started again at once."""
    for n in range(trial.times):
        if n:
            await trial.pause(7)
        trial.struck()
        number = trial.any_server()
        await asyncio.to_thread(trial.site.restart, number, by=signal.SIGKILL)


def freeze_a_process(seconds: float = 8.0) -> Fault:
    async def freeze(trial: Trial) -> None:
        for n in range(trial.times):
            if n:
                await trial.pause(3)
            number = trial.any_server()
            process = trial.site.servers[number].process
            trial.struck()
            blind = trial.crowd.blind(number)
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                trial.crowd.sees_again(blind)
                process.send_signal(signal.SIGCONT)

    return freeze


def is_stopped(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


def freeze_in_a_transaction(seconds: float = 8.0) -> Fault:
    """A server is frozen while it holds the stream's row: nobody can post until it is let go."""

    async def freeze(trial: Trial) -> None:
        for n in range(trial.times):
            if n:
                await trial.pause(3)
            number = trial.any_server()
            process = trial.site.servers[number].process
            process.send_signal(signal.SIGUSR2)
            while not is_stopped(process.pid):
                await asyncio.sleep(0.01)
            trial.struck()
            blind = trial.crowd.blind(number)
            try:
                await asyncio.sleep(seconds)
            finally:
                trial.crowd.sees_again(blind)
                process.send_signal(signal.SIGCONT)

    return freeze


def _valkey_process(site: Site) -> "subprocess.Popen[bytes]":
    assert site.valkey is not None
    process: subprocess.Popen[bytes] | None = site.valkey._process
    assert process is not None
    return process


def lose_redis(away: float, pause: float = 4.0) -> Fault:
    """Redis is killed, and comes back empty after so many seconds."""

    async def lose(trial: Trial) -> None:
        for n in range(trial.times):
            if n:
                await trial.pause(pause)
            assert trial.site.valkey is not None
            port = trial.site.valkey.port
            process = _valkey_process(trial.site)
            trial.struck()
            process.kill()
            await asyncio.to_thread(process.wait)
            try:
                await asyncio.sleep(away)
            finally:
                await asyncio.to_thread(trial.site.start_valkey, port)

    return lose


def hang_redis(seconds: float, pause: float = 4.0) -> Fault:
    async def hang(trial: Trial) -> None:
        for n in range(trial.times):
            if n:
                await trial.pause(pause)
            process = _valkey_process(trial.site)
            trial.struck()
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                process.send_signal(signal.SIGCONT)

    return hang


def crash(postgres: Postgres, away: float) -> None:
    """As `pg_ctl restart -m immediate`: no checkpoint, no goodbye; it recovers from its log."""
    arguments = postgres.process.args
    postgres.process.send_signal(signal.SIGQUIT)
    postgres.process.wait(20)
    time.sleep(away)
    with postgres.log.open("ab") as log:
        postgres.process = subprocess.Popen(
            arguments, cwd=postgres.folder, stdout=log, stderr=subprocess.STDOUT, **postgres._as
        )
    wait_for(postgres._answers, "PostgreSQL answers again", 40)


async def crash_postgres(trial: Trial) -> None:
    for n in range(trial.times):
        if n:
            await trial.pause(10)
        trial.struck()
        blind = trial.crowd.blind(None)
        away = trial.random.uniform(0, 4)
        await asyncio.to_thread(crash, trial.site.databases.postgres, away)
        trial.crowd.sees_again(blind)


def bad_weather(weather: Weather) -> Fault:
    """Until the proxies have cut so many connections."""

    async def blow(trial: Trial) -> None:
        for proxy in trial.proxies:
            proxy.weather = weather
            proxy.cut_all()  # so that every connection is under the new weather
            proxy.cuts.clear()
        deadline = time.monotonic() + 60 + trial.times / 5
        while sum(proxy.total for proxy in trial.proxies) < trial.times:
            assert time.monotonic() < deadline, "the proxies cut too little"
            await asyncio.sleep(0.1)
        for proxy in trial.proxies:
            proxy.weather = CALM
        cuts = sum((Counter(proxy.cuts) for proxy in trial.proxies), Counter[str]())
        trial.report.faults = cuts.total()
        trial.report.noted = ", ".join(f"{n} {fate.replace('_', ' ')}" for fate, n in cuts.items())

    return blow


async def kick_everybody(trial: Trial) -> None:
    slowest = 0.0
    for n in range(trial.times):
        if n:
            await trial.pause(4)
        kicked_at = time.time()
        for proxy in trial.proxies:
            proxy.cut_all()
        trial.struck()
        await trial.crowd.until(
            lambda at=kicked_at: all(viewer.seated_at > at for viewer in trial.crowd.viewers),  # type: ignore[misc]
            "everybody is back",
            30,
        )
        slowest = max(slowest, time.time() - kicked_at)
    trial.report.noted = f"all back in {slowest:.1f} s at most"


def ring_badly(**mood: float) -> Fault:
    async def ring(trial: Trial) -> None:
        trial.site.ring(seed=trial.crowd.seed, **mood)
        trial.struck()
        try:
            await asyncio.sleep(trial.times)
        finally:
            trial.site.ring()

    return ring


def lock_sqlite(seconds: float) -> Fault:
    """Somebody else writes for so long: 5 s are waited for, then posts are refused, and retried."""

    async def lock(trial: Trial) -> None:
        for n in range(trial.times):
            if n:
                await trial.pause(3)
            trial.struck()
            await asyncio.to_thread(trial.site.call, truth.hold_the_write_lock, seconds)

    return lock


async def restore_a_backup(trial: Trial) -> None:
    """The database is replaced by an older one under open pages; `new_epochs` as the docs say.

    Once without that command, where the smaller head alone must be noticed.
    """
    crowd, site = trial.crowd, trial.site
    slowest = 0.0
    for n in range(trial.times):
        await asyncio.sleep(2)
        await crowd.be_quiet()
        kept = (await crowd.ask(truth.head_of, crowd.slug))[1] // 2
        crowd.forget_beyond(kept)
        trial.struck()
        started = time.monotonic()
        found = await crowd.ask(truth.restore_backup, crowd.slug, kept)
        if n % 2:
            code, printed = await asyncio.to_thread(site.command, "new_epochs")
            assert code == 0, printed
            found = await crowd.ask(truth.head_of, crowd.slug)
        await crowd.until(
            lambda found=found: all([v.page.epoch, v.page.change] == found for v in crowd.viewers),  # type: ignore[misc]
            "every page shows the restored history",
            30,
        )
        slowest = max(slowest, time.monotonic() - started)
        crowd.go_on()
    if slowest > WITHOUT_REDIS + crowd.lag_since(0):
        crowd.wrong(f"a page took {slowest:.1f} s to see the restored history")
    trial.report.noted = f"all pages follow in {slowest:.1f} s"


async def restart_in_turn(trial: Trial) -> None:
    """SIGTERM to one process after the other, each started again: exit code 0 within 10 s."""
    slowest = 0.0
    for n in range(trial.times):
        for number, server in enumerate(trial.site.servers):
            if n or number:
                await trial.pause(2)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            try:
                code = await asyncio.to_thread(server.process.wait, 15)
            except subprocess.TimeoutExpired:
                code = None
            took = time.monotonic() - started
            slowest = max(slowest, took)
            if code != 0 or took > 10:
                why = trial.site.log(number).splitlines()[-1]
                trial.crowd.wrong(f"a server ended with {code} after {took:.1f} s: {why}")
            await asyncio.to_thread(trial.site.restart, number)
        trial.struck()
    trial.report.noted = f"slowest end {slowest:.1f} s"


WEATHER = Weather(cut_mid_frame=0.25, lose_ack=0.3, half_open=0.05, flap=0.3)
FLAPPING = Weather(flap=0.3, least_seconds=0.1, most_seconds=1.5)

BASELINE = Plan("baseline", nothing, seconds=120, worst=1.0, is_lasting=True)
KILL = Plan("kill -9 of a process every 10 s", kill_a_process, times=10)
FREEZE = Plan("SIGSTOP of a process for 8 s", freeze_a_process(), times=5)
FREEZE_IN_TRANSACTION = Plan(
    "SIGSTOP for 8 s inside a transaction", freeze_in_a_transaction(), times=5
)
REDIS_EMPTY = Plan(
    "Redis killed, back empty", lose_redis(1.0, 6.0), times=5, bound=WITHOUT_REDIS, worst=3.0
)
REDIS_HUNG = Plan("Redis hung for 8 s", hang_redis(8.0), times=5, bound=WITHOUT_REDIS, worst=3.0)
REDIS_GONE = Plan("Redis gone for 20 s", lose_redis(20.0), times=5, bound=WITHOUT_REDIS, worst=3.0)
POSTGRES = Plan("PostgreSQL restart -m immediate, up to 4 s away", crash_postgres, times=3)
CUTS = Plan("proxy: mid-frame, lost acks, half-open", bad_weather(WEATHER), 1000, proxied=True)
FLAPS = Plan("proxy: 30% flapping", bad_weather(FLAPPING), 300, proxied=True)
DROPPED = Plan(
    "doorbell: 50% dropped",
    ring_badly(drop=0.5),
    60,
    is_lasting=True,
    bound=WITHOUT_REDIS,
    worst=3.0,
)
DOUBLED = Plan("doorbell: 50% doubled", ring_badly(double=0.5), 60, is_lasting=True)
SHUFFLED = Plan("doorbell: 50% shuffled", ring_badly(shuffle=0.5), 60, is_lasting=True)
DELAYED = Plan(
    "doorbell: delayed by 5 s",
    ring_badly(delay=5.0),
    60,
    is_lasting=True,
    bound=WITHOUT_REDIS,
    worst=3.0,
)
KICKED = Plan("everybody kicked at once", kick_everybody, times=20, proxied=True)
ROLLING = Plan("rolling restart under load", restart_in_turn, times=5)
BACKUP = Plan("a backup is restored under open pages", restore_a_backup, times=2)
BUSY = Plan("SQLite: locked for 3 s", lock_sqlite(3.0), times=3)
LOCKED = Plan("SQLite: locked for 8 s, over its bound", lock_sqlite(8.0), times=3)
