"""A safeguard is taken out of the servers, and the checker says so."""

from dataclasses import replace

import pytest

from tests.faults import plans, truth
from tests.faults.conftest import MakeFaultSite
from tests.faults.crowd import Report
from tests.faults.plans import carry_out
from tests.faults.proxy import Weather

SEED = 3
LOSSY = replace(plans.DROPPED.shortly(3), fault=plans.ring_badly(drop=0.3), settle=4.0)
LOSING_ACKS = replace(
    plans.CUTS.shortly(15), fault=plans.bad_weather(Weather(lose_ack=0.8, most_seconds=1.0))
)
FAILING = replace(plans.BASELINE.shortly(seconds=4), worst=None, settle=12.0)


def run(make: MakeFaultSite, plan: plans.Plan, sabotage: str) -> Report:
    site = make(backend="postgres", processes=2, FAULT_SABOTAGE=sabotage)
    if "keys" in sabotage:
        site.call(truth.drop_the_keys_constraint)
    return carry_out(plan, site, SEED)


def test_without_gap_detection_comments_are_lost(make_fault_site: MakeFaultSite) -> None:
    report = run(make_fault_site, LOSSY, "gaps")
    assert report.lost > 0, report


def test_without_unique_keys_retries_are_stored_twice(make_fault_site: MakeFaultSite) -> None:
    report = run(make_fault_site, LOSING_ACKS, "keys")
    assert report.stored_twice > 0, report


def test_published_inside_the_transaction_what_is_rolled_back_is_seen(
    make_fault_site: MakeFaultSite,
) -> None:
    # A poll that meets the counter fallen back resets every page, which heals what was seen.
    for _attempt in range(4):
        report = run(make_fault_site, FAILING, "early,failing")
        if saw_what_is_not_stored(report):
            break
    assert saw_what_is_not_stored(report), report


def saw_what_is_not_stored(report: Report) -> bool:
    """A page shows it still, or stood beyond the database; another comment, which has its number
    now, is missing; or somebody tried to remove it."""
    signs = ("not stored", "was reset", "refused: not_found")
    return report.lost > 0 or any(sign in line for line in report.wrong for sign in signs)


def test_sockets_that_outlive_their_peers_are_told(
    make_fault_site: MakeFaultSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "GONE_AT_MOST", 3.0)
    report = run(make_fault_site, FAILING, "staying")
    assert any("applications left behind" in line for line in report.wrong), report


def test_published_after_the_commit_failing_transactions_cost_nothing(
    make_fault_site: MakeFaultSite,
) -> None:
    report = run(make_fault_site, FAILING, "failing")
    assert report.tried_again > 0
    assert report.holds, str(report)
