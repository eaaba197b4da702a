"""PostgreSQL that goes silent without a word, and a safety poll that nothing may end."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests import test_hub
from tests.browser.line import Line
from tests.client import Person
from tests.conftest import MakeSite
from tests.faults.conftest import MakeFaultSite
from tests.faults.truth import waits_for_a_lock
from tests.figures import scrape
from tests.servers import Databases, Remote, Site, wait_for


class Behind:
    """A site that has its database behind a line; `beside` reaches it without."""

    def __init__(self, databases: Databases, make_site: MakeSite, line: Line) -> None:
        self.line = line
        self.url = databases.new_postgres()
        through = self.url.replace(f":{databases.postgres.port}/", f":{line.port}/")
        self.site: Site = make_site(backend="postgres", DATABASE_URL=through, RATE_VIEWER="off")
        variables = self.site.variables | {"DATABASE_URL": self.url}
        self.beside = Remote(variables, self.site.folder / "beside.log")

    def is_waited_for(self) -> bool:
        return waits_for_a_lock(self.url)


@pytest.fixture
def behind(databases: Databases, make_site: MakeSite) -> Iterator[Behind]:
    with Line(databases.postgres.port) as line:
        found = Behind(databases, make_site, line)
        yield found
        found.beside.close()


async def test_connections_that_die_without_a_word_are_left_for_new_ones(behind: Behind) -> None:
    """A host that failed over behind its address: what was open is dead, what is new works."""
    site, slug = behind.site, behind.site.video()
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        assert (await socket.say("before")).is_ack
        behind.line.silence()
        await asyncio.to_thread(behind.beside.call, test_hub.say, slug, 1)
        posting = asyncio.create_task(socket.say("after"))
        await socket.sees("line 0", seconds=12)  # the safety poll has a connection that works
        answer = await posting
        assert answer.is_ack or (await socket.say("after", key=answer.key)).is_ack
        await socket.sees("after")
    assert person.page.bodies.count("after") == 1
    page = await asyncio.to_thread(Person(site).open, slug)
    assert sorted(page.page.bodies) == ["after", "before", "line 0"]
    wait_for(lambda: site.servers[0].status("/readyz") == 200, "it is ready")
    assert not site.tracebacks


async def test_a_database_that_hangs_is_told_and_keeps_nobody_from_ending(behind: Behind) -> None:
    site, slug = behind.site, behind.site.video()
    server = site.servers[0]
    person, other = Person(site).open(slug), Person(site).open(slug)

    def not_ready() -> dict[str, Any] | None:
        response = person.get("/readyz")
        told: dict[str, Any] = json.loads(response.text)
        return told if response.status == 503 and told.get("stream") is False else None

    async with person.socket(slug) as socket:
        socket.patience = 20
        async with other.socket(slug):
            await socket.until(lambda: person.page.watching == 2, "two viewers")
            with psycopg.connect(behind.url) as holder:
                holder.execute("SELECT FROM comments_stream FOR UPDATE")
                posting = asyncio.create_task(socket.say("caught in it"))
                await asyncio.to_thread(wait_for, behind.is_waited_for, "a post waits")
                behind.line.silence(new=True)
                hung_at = time.monotonic()
            told = None
            while told is None:
                assert time.monotonic() - hung_at < 25
                told = await asyncio.to_thread(not_ready)
            assert told == {
                "ready": False, "database": False, "channel_layer": True, "stream": False,
            }  # fmt: skip
            # The figures that need no database do not wait for it either.
            asked_at = time.monotonic()
            said = await asyncio.to_thread(scrape, site)
            assert time.monotonic() - asked_at < 3
            assert said["safety_poll_age_seconds",] > 10
            assert ("jobs", "queued") not in said
        # What needs no database goes on meanwhile.
        await socket.until(lambda: person.page.watching == 1, "one viewer", seconds=6)
        assert (await posting).code == "try_again"
        assert time.monotonic() - hung_at < 22, "after 12 s, and 5 s for another connection"
        # And with a page and a post that wait for it, the process ends.
        again = asyncio.create_task(socket.say("and again"))
        await asyncio.sleep(0)  # it is sent
        with closing(server.connection(20)) as page:
            page.request("GET", f"/videos/{slug}/")
            for _ in range(3):  # it is accepted, and read, before what came after it is answered
                assert await socket.answers_a_ping()
            so_far = len(site.log())
            server.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            code = await asyncio.to_thread(server.process.wait, 15)
            assert time.monotonic() - started < 10
            assert (await again).code == "try_again"
            assert await socket.closed() == 1012
            try:
                is_cut = (await asyncio.to_thread(page.getresponse)).status != 503
            except OSError:
                is_cut = True
        is_given_up = "an action found the database failing: UnansweredError" in site.log()[so_far:]
        assert code == (is_cut or is_given_up), "0: nobody was left without an answer"


async def test_a_mistake_in_one_video_does_not_end_the_safety_poll(
    make_fault_site: MakeFaultSite,
) -> None:
    site = make_fault_site(FAULT_SABOTAGE="poll")
    slugs = [site.video(), site.video()]
    people = [Person(site).open(slug) for slug in slugs]
    async with people[0].socket(slugs[0]) as one, people[1].socket(slugs[1]) as two:
        await one.until(lambda: people[0].page.room, "the room")
        await two.until(lambda: people[1].page.room, "the room")
        told = "a part of the safety poll failed"
        await asyncio.to_thread(wait_for, lambda: told in site.log(), told)
        for slug, socket in zip(slugs, (one, two), strict=True):
            await asyncio.to_thread(site.call, test_hub.say, slug, 1)
            await socket.sees("line 0", seconds=5)
    assert "ZeroDivisionError" in site.tracebacks
