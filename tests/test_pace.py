"""A quiet room's comments go out at once, a busy one's four times a second and together."""

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest

from comments.pace import APART, AT_ONCE, Pace
from tests.client import Person
from tests.conftest import MakeSite


def flushes(arrivals: Iterable[float], took: float = 0.0) -> list[float]:
    """When a room is flushed whose changes come at these seconds."""
    pace, found = Pace(), list[float]()
    for at in arrivals:
        if found and found[-1] >= at:
            continue  # went with that flush
        found.append(max(at, pace.next))
        pace.flushed(found[-1], took)
    return found


@pytest.mark.parametrize("rate", [0.1, 1, 2, 3.9])
def test_up_to_four_a_second_go_out_at_once(rate: float) -> None:
    arrivals = [100 + number / rate for number in range(200)]
    assert flushes(arrivals) == arrivals


def test_after_a_quiet_time_a_few_go_out_at_once_and_then_evenly() -> None:
    arrivals = [100 + number / 1000 for number in range(2000)]
    found = flushes(arrivals)
    assert found[:AT_ONCE] == arrivals[:AT_ONCE]
    assert found[AT_ONCE:] == pytest.approx([100 + APART * n for n in range(1, 9)])
    again = flushes([*arrivals, *(at + 4 for at in arrivals)])
    assert again[len(found) :] == pytest.approx([at + 4 for at in found])


def test_a_flush_that_takes_long_leaves_a_fifth_of_the_processor() -> None:
    found = flushes((100 + number / 50 for number in range(500)), took=0.4)
    assert [b - a for a, b in pairwise(found)] == pytest.approx([0.5] * (len(found) - 1))


async def test_a_busy_room_is_sent_together_what_came_since(make_site: MakeSite) -> None:
    site = make_site(RATE_VIEWER="off")
    slug = site.video()
    ann, ben = Person(site).open(slug), Person(site).open(slug)
    async with ann.socket(slug) as posting, ben.socket(slug) as reading:
        await reading.until(lambda: ben.page.room, "the room")
        started = time.monotonic()
        for number in range(40):
            assert (await posting.say(f"line {number}")).is_ack
        await reading.reaches(40)
        took = time.monotonic() - started
        frames = [frame for frame in reading.frames if "<li" in frame]
    assert len(frames) <= AT_ONCE + took / APART + 1
    assert len(frames) < 40, "the machine was too slow to tell"
    assert ben.page.bodies[-40:] == [f"line {number}" for number in range(40)]
