"""The database's part: commit order under storms, and histories drawn by hypothesis."""

import asyncio
import signal
import time
import uuid
from collections.abc import Callable

import pytest

from tests import world
from tests.client import Person, Socket
from tests.faults import sequences, truth
from tests.faults.conftest import MakeFaultSite
from tests.faults.plans import DurableDatabases, FaultSite, is_stopped, seed_of_this_run
from tests.page import Answer
from tests.servers import Site

# Shorter than `lock_timeout`, so that who waits behind a frozen writer is served, not refused.
ENDED_SOON = "?options=-c%20idle_in_transaction_session_timeout%3D2s"


def test_a_polling_reader_misses_nothing_of_hundreds_of_interleaved_commits(
    fault_site: FaultSite,
) -> None:
    changes, missed, disorder = fault_site.call(truth.interleavings, fault_site.video(), 2, 5, 40)
    assert changes >= 400
    assert (missed, disorder) == (0, 0)


def test_an_old_page_and_its_frames_are_a_fresh_page(sqlite_site: Site) -> None:
    slug = sqlite_site.video()
    assert sqlite_site.call(sequences.check, slug, 100, seed_of_this_run()) >= 100


@pytest.fixture
def frozen_site(make_fault_site: MakeFaultSite, durable: DurableDatabases) -> FaultSite:
    """Two processes on a PostgreSQL that ends who stays in a transaction for 2 s without a word."""
    url = durable.new_postgres() + ENDED_SOON
    return make_fault_site(backend="postgres", processes=2, DATABASE_URL=url)


@pytest.mark.parametrize("door", ["socket", "form"])
async def test_a_process_that_freezes_in_a_transaction_is_cut_off_and_answers_when_it_thaws(
    frozen_site: FaultSite, door: str
) -> None:
    """PostgreSQL ends the frozen session: others post on, nothing of it stays, its key is free."""
    site, slug, key = frozen_site, frozen_site.video(), str(uuid.uuid4())
    caught, other = Person(site, server=0).open(slug), Person(site, server=1).open(slug)
    frozen = site.servers[0].process

    async def post(socket: Socket) -> Answer | None:
        """What the comment that is caught is answered; None where the form says it is stored."""
        if door == "socket":
            return await socket.say("caught", key=key)
        response = await asyncio.to_thread(caught.say, slug, "caught", key)
        return None if response.status == 303 else response.refusal

    async with caught.socket(slug) as near, other.socket(slug) as far:
        assert (await near.say("before")).is_ack
        frozen.send_signal(signal.SIGUSR2)
        site.state(0)  # it has taken the signal: the next post freezes it
        posting = asyncio.create_task(post(near))
        try:
            await until(lambda: is_stopped(frozen.pid))
            assert (await far.say("meanwhile")).is_ack
            assert is_stopped(frozen.pid)
            assert await asyncio.to_thread(bodies, site, slug) == ["before", "meanwhile"]
        finally:
            frozen.send_signal(signal.SIGCONT)
        answer = await posting
        assert answer is not None
        assert answer.code == "try_again"
        assert answer.retry_after
        again = await post(near)
        assert again is None or again.is_ack
        assert (await near.say("and it works on")).is_ack
        expected = ["before", "meanwhile", "caught", "and it works on"]
        for socket in (near, far):
            await socket.sees(expected[-1])
            assert socket.page.bodies == expected
    rows = (await asyncio.to_thread(site.call, truth.everything, slug))["rows"]
    assert [row[3] for row in rows] == expected
    assert [row[0] for row in rows] == [1, 2, 3, 4], "no number is lost"
    assert [row[2] for row in rows].count(key) == 1
    assert site.servers[0].status("/readyz") == 200
    assert not site.tracebacks


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def bodies(site: Site, slug: str) -> list[str]:
    return [comment["body"] for comment in site.call(world.comments_of, slug)]
