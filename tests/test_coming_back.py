"""Everybody comes back at once, and the database hardly notices."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing

import pytest

from tests import world
from tests.client import Person
from tests.conftest import MakeSite
from tests.page import PageModel
from tests.servers import Databases

MANY = 60


@pytest.fixture
def statements(databases: Databases) -> Iterator[list[int]]:
    """Has PostgreSQL log each statement; where its log stood then."""
    postgres = databases.postgres

    def log(what: str) -> None:
        with closing(postgres.connect("postgres")) as connection:
            connection.execute(f"ALTER SYSTEM SET log_statement = {what}")
            connection.execute("SELECT pg_reload_conf()")

    log("'all'")
    try:
        yield [postgres.log.stat().st_size]
    finally:
        log("DEFAULT")


async def test_who_all_come_back_at_once_are_served_without_a_query_each(
    databases: Databases, make_site: MakeSite, statements: list[int]
) -> None:
    """With their sessions, and a few comments behind: what they missed comes from the ring."""
    site = make_site(backend="postgres", RATE_VIEWER="off")
    slug = site.video()
    people = [Person(site) for _ in range(MANY)]
    for person, key in zip(people, site.call(world.make_sessions, MANY), strict=True):
        person.cookies["sessionid"] = key
    stays = Person(site).open(slug)
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(stays.socket(slug))
        before = stays.page.cursor
        for number in range(10):
            assert (await socket.say(f"comment {number}")).is_ack
        await socket.reaches(10)

        async def come_back(person: Person) -> None:
            page = PageModel()
            one = await stack.enter_async_context(person.socket(slug, cursor=before, page=page))
            await one.reaches(10)

        log = databases.postgres.log
        statements[:] = [log.stat().st_size]
        await asyncio.gather(*map(come_back, people))
        with log.open(errors="replace") as lines:
            lines.seek(statements[0])
            asked = [line for line in lines if "SELECT" in line]
    # A few batches of sessions, and a safety poll or two.
    assert len(asked) <= MANY // 3, "".join(asked)
