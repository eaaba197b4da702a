"""The capacity model: docs/scaling.md says what it says, and it behaves as its parts do."""

from dataclasses import replace

from bench.scaling import Inputs, capacity, fan_out, sockets_of_a_process, storm, tables
from comments import batches, fanout, layer
from tests.servers import ROOT

INPUTS = Inputs()


def test_the_document_has_the_models_tables() -> None:
    document = (ROOT / "docs" / "scaling.md").read_text()
    for table in "\n".join(tables(INPUTS)).split("\n\n"):
        assert table in document


def test_its_constants_are_those_of_the_program() -> None:
    assert INPUTS.poll == fanout.POLL_SECONDS
    assert INPUTS.publish_at_most == layer.LAYER_SECONDS
    assert INPUTS.connections == 20 + 1, "the pool, and the lock: streamsite/env.py, lifespan.py"
    assert INPUTS.opened_together == batches.AT_ONCE
    assert f"backlog = {INPUTS.backlog}" in (ROOT / "hypercorn.toml").read_text()
    link = (ROOT / "static" / "js" / "comments" / "link.js").read_text()
    assert "FIRST_DELAY = 1000;" in link
    assert "2 ** (failures + 1)" in link
    assert "LONGEST_DELAY = 30_000;" in link
    assert (INPUTS.first_delay, INPUTS.longest_delay) == (2.0, 30.0)


def test_everybody_comes_back_however_long_it_takes() -> None:
    short, long = (storm(1000, INPUTS, away=seconds) for seconds in (0, 60))
    assert 1000 * INPUTS.connect < short.all < INPUTS.first_delay + 1000 * INPUTS.connect + 0.1
    assert 60 < long.half < long.nearly_all <= long.all < 60 + INPUTS.longest_delay + 1
    assert short.attempts == 1
    assert long.attempts > 4
    # Who comes all at once fills the queue and is turned away; a random delay is what prevents it.
    herd, spread = storm(5000, INPUTS, at_once=True), storm(5000, INPUTS)
    assert herd.longest_queue == INPUTS.backlog > spread.longest_queue
    assert herd.attempts > spread.attempts == 1


def test_a_quiet_process_is_reached_at_once_and_a_full_redis_by_the_poll() -> None:
    alone = fan_out(1, 10, replace(INPUTS, readable=0.5), seconds=60)
    quickest = INPUTS.latency * 2 + INPUTS.redis_message
    assert quickest < alone.p50 < quickest + 0.001
    full = fan_out(50, 10, replace(INPUTS, redis_subscriber=1e-3))
    assert full.redis > 1
    assert full.by_poll > 0.5
    assert full.longest < INPUTS.poll + 0.5
    assert fan_out(50, 10, INPUTS, presence=False).redis < fan_out(50, 10, INPUTS).redis < 0.1


def test_needs_grow_with_the_crowd_and_what_is_short_comes_first() -> None:
    needs = [capacity(10**power, INPUTS) for power in range(2, 8)]
    assert [need.processes for need in needs] == sorted(need.processes for need in needs)
    for need in needs:
        assert need.shares["processor of a process"] <= INPUTS.busy
        shares = [share for _what, share in need.breaks_first]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == 1 or min(shares) >= 1
    # 12 µs, four times a second, for half a core.
    assert sockets_of_a_process(INPUTS) == 10_000
