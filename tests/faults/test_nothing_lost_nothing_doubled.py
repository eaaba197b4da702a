"""The promise, under every fault, in short: `make soak` is the long form.

Each prints its report with its seed; FAULT_SEED=<seed> draws the same again.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults import peers, plans
from tests.faults.conftest import MakeFaultSite
from tests.faults.crowd import Report
from tests.faults.plans import FaultSite, Plan, carry_out
from tests.faults.proxy import Weather
from tests.faults.viewers import HURRIED

SHORT = [
    plans.BASELINE.shortly(seconds=3),
    plans.KILL.shortly(),
    replace(plans.FREEZE.shortly(), fault=plans.freeze_a_process(2.0)),
    replace(plans.FREEZE_IN_TRANSACTION.shortly(), fault=plans.freeze_in_a_transaction(2.0)),
    replace(plans.REDIS_EMPTY.shortly(), fault=plans.lose_redis(0.3)),
    replace(plans.REDIS_GONE.shortly(), fault=plans.lose_redis(3.0)),
    replace(plans.REDIS_HUNG.shortly(), fault=plans.hang_redis(3.0)),
    plans.POSTGRES.shortly(),
    replace(
        plans.CUTS.shortly(60),
        name="proxy: mid-frame, lost acks, half-open, flapping",
        fault=plans.bad_weather(Weather(0.25, 0.3, 0.1, 0.3, most_seconds=2.0)),
    ),
    replace(
        plans.DROPPED.shortly(4),
        name="doorbell: 50% dropped, doubled, shuffled",
        fault=plans.ring_badly(drop=0.5, double=0.5, shuffle=0.5),
    ),
    plans.KICKED.shortly(2),
    plans.ROLLING.shortly(),
    plans.BACKUP.shortly(2),
    peers.DEAF.shortly(20),
]


@pytest.mark.parametrize("plan", SHORT, ids=lambda plan: plan.name.replace(" ", "-"))
def test_every_page_ends_as_the_database_is(
    plan: Plan, fault_site: FaultSite, show: Callable[[Report], None]
) -> None:
    report = carry_out(plan, fault_site)
    show(report)
    assert report.holds, str(report)


# Nothing is said while nobody can write: that must not count as a dead link.
PATIENT = replace(HURRIED, silent_at_most=40.0, answer_within=20.0)


@pytest.mark.parametrize("plan", [plans.BUSY.shortly(), plans.LOCKED.shortly()])
def test_a_busy_sqlite_is_waited_for_and_then_refused(
    plan: Plan, make_fault_site: MakeFaultSite, show: Callable[[Report], None]
) -> None:
    report = carry_out(replace(plan, manner=PATIENT), make_fault_site())
    show(report)
    assert report.holds, str(report)
    assert bool(report.tried_again) == (plan.name == plans.LOCKED.name)
