"""Two hundred open pages, twenty comments a second for thirty seconds: all end up the same."""

import asyncio
import random
import time
from contextlib import AsyncExitStack

import pytest

from tests import world
from tests.client import Person, Socket
from tests.conftest import MakeSite
from tests.page import PageModel

PAGES = 200
SESSIONS = 20
PER_SECOND = 20
SECONDS = 30
PATIENCE = 60  # s; the machine may have other work, and this is about what, not when


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_two_hundred_pages_equal_the_database_after_thirty_seconds_of_comments(
    make_site: MakeSite, backend: str
) -> None:
    processes = 2 if backend == "postgres" else 1
    site = make_site(backend=backend, processes=processes, RATE_VIEWER="off", RATE_ADDRESS="off")
    slug, dice = site.video(), random.Random(20)
    people = [Person(site, server=n % processes).open(slug) for n in range(SESSIONS - 1)]
    people.append(Person(site).signed_in("mona").open(slug))
    async with AsyncExitStack() as stack:
        sockets = []
        for n in range(PAGES):
            person = people[n % SESSIONS]
            page = PageModel()
            tab = person.socket(slug, person.page.cursor, page=page)
            sockets.append(await stack.enter_async_context(tab))
            sockets[-1].patience = PATIENCE
        moderating = [s for n, s in enumerate(sockets) if n % SESSIONS == SESSIONS - 1]
        asked: list[asyncio.Task[None]] = []
        removed: set[int] = set()

        async def comment(socket: Socket, n: int) -> None:
            answer = await socket.say(f"comment {n}")
            assert answer.is_ack, f"{answer}; {site.database_log}"
            assert answer.number is not None
            if n % 10 == 0:  # and a moderator removes some, and restores some of those
                removed.add(answer.number)
                mona = dice.choice(moderating)
                assert (await mona.ask("remove", number=answer.number)).is_ack
                if n % 20 == 0:
                    assert (await mona.ask("restore", number=answer.number)).is_ack

        started = time.monotonic()
        for n in range(PER_SECOND * SECONDS):
            await asyncio.sleep(started + n / PER_SECOND - time.monotonic())
            asked.append(asyncio.create_task(comment(dice.choice(sockets), n)))
        await asyncio.gather(*asked)
        head = site.call(world.stream_of, slug)["head"]
        for socket in sockets:
            await socket.reaches(head)

        truth = {
            staff: [
                (c["number"], c["change"], c["state"], c["author"], c["name"], c["body"])
                for c in site.call(world.comments_of, slug, staff=staff)
            ]
            for staff in (False, True)
        }
        assert len(truth[True]) == PER_SECOND * SECONDS
        assert len(removed) == PER_SECOND * SECONDS / 10
        for socket in sockets:
            shown = [
                (r.number, r.change, r.state, r.author, r.name, r.body) for r in socket.page.shown
            ]
            assert shown == truth[socket in moderating]
            assert socket.page.resets == 0
    assert not site.tracebacks
