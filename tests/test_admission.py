"""How many sockets are let in: per session, per address, per process."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus

from comments.fanout import POLL_SECONDS
from tests.browser.line import Line
from tests.client import ClosedError, Person, Socket, new_address
from tests.conftest import MakeSite
from tests.page import PageModel
from tests.servers import Databases, Site


@pytest.fixture
def tight(make_site: MakeSite) -> Site:
    """A site that lets in two sockets a session, three an address, five altogether."""
    return make_site(SOCKETS_PER_SESSION="2", SOCKETS_PER_ADDRESS="3", SOCKETS_PER_PROCESS="5")


async def seated(stack: AsyncExitStack, person: Person, slug: str) -> Socket:
    """A socket of a tab of its own that is shown the room."""
    page = PageModel()
    socket = await stack.enter_async_context(person.socket(slug, cursor="", page=page))
    await socket.until(lambda: page.room == "open", "the room")
    return socket


async def turned_away(person: Person, slug: str) -> str:
    """Who is one too many is let in, told why, and closed with 4408; the sentence."""
    async with person.socket(slug, cursor="", page=PageModel()) as socket:
        assert await socket.closed() == 4408
        (answer,) = socket.answers
        assert answer.code
        return answer.sentence


async def told_to_try_again(stack: AsyncExitStack, person: Person, slug: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await seated(stack, person, slug)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"]


async def test_each_cap_turns_away_who_is_one_too_many_and_lets_in_when_one_leaves(
    tight: Site,
) -> None:
    slug, address = tight.video(), new_address()
    first, second = (
        Person(tight, address=address).open(slug),
        Person(tight, address=address).open(slug),
    )
    others = [Person(tight).open(slug) for _ in range(3)]
    async with AsyncExitStack() as all_of_them:
        async with AsyncExitStack() as some:
            await seated(some, first, slug)
            await seated(some, first, slug)
            # The session has two.
            assert "open" in await turned_away(first, slug)
            await seated(some, second, slug)
            # The address has three; the second session itself has only one.
            await told_to_try_again(some, second, slug)
            await seated(all_of_them, others[0], slug)
            await seated(all_of_them, others[1], slug)
            # The process has five: a handshake is answered so that a retry may go elsewhere.
            await told_to_try_again(all_of_them, others[2], slug)
        # All of that address left.
        await seated_soon(all_of_them, first, slug)
        await seated(all_of_them, first, slug)
        await seated(all_of_them, second, slug)
    assert not tight.tracebacks


async def seated_soon(stack: AsyncExitStack, person: Person, slug: str) -> None:
    """Seated as soon as the server has noticed who left."""
    deadline = time.monotonic() + 10
    while True:
        try:
            await seated(stack, person, slug)
        except (ClosedError, InvalidStatus):
            assert time.monotonic() < deadline, "nobody is let in again"
        else:
            return


async def test_a_socket_that_is_cut_off_gives_its_place_back(tight: Site) -> None:
    slug = tight.video()
    person = Person(tight).open(slug)
    for _ in range(4):
        async with AsyncExitStack() as tabs:
            await seated_soon(tabs, person, slug)
            socket = await seated(tabs, person, slug)
            socket.connection.transport.abort()  # as when the network is gone
            await socket.closed()
    assert not tight.tracebacks


async def test_no_address_and_no_proxy_header_can_be_made_up(make_site: MakeSite) -> None:
    site = make_site(TRUSTED_PROXIES="0", SOCKETS_PER_ADDRESS="1")
    slug = site.video()
    first, second = Person(site).open(slug), Person(site).open(slug)  # both claim an address
    async with AsyncExitStack() as stack:
        await seated(stack, first, slug)
        await told_to_try_again(stack, second, slug)


# --- nothing is asked of the database for who is one too many ------------------------------------

PROMPTLY = 2.0  # seconds
SHOWS_WITHIN = 0.5  # seconds in which a question that no answer is waited for would be on the line


@pytest.fixture
def database_line(databases: Databases) -> Iterator[Line]:
    """All that a site says to PostgreSQL goes through here, and is counted."""
    with Line(databases.postgres.port) as found:
        yield found


async def until_the_poll_hangs(line: Line) -> None:
    """Until the process says nothing more to the database by itself: its one safety poll waits."""
    asked, since = line.asked, time.monotonic()
    deadline = since + 20
    while time.monotonic() - since < 2 * POLL_SECONDS:
        assert time.monotonic() < deadline, "the process goes on asking"
        await asyncio.sleep(0.05)
        if line.asked != asked:
            asked, since = line.asked, time.monotonic()


async def nothing_is_asked(line: Line, since: int) -> None:
    await asyncio.sleep(SHOWS_WITHIN)
    assert line.asked == since


async def test_who_is_one_too_many_is_answered_before_the_database_is_asked_anything(
    databases: Databases, database_line: Line, make_site: MakeSite
) -> None:
    """With a PostgreSQL that answers nothing, and every byte counted that is sent to it."""
    line, port = database_line, databases.postgres.port
    site = make_site(
        backend="postgres",
        DATABASE_URL=databases.new_postgres().replace(f":{port}/", f":{line.port}/"),
        SOCKETS_PER_SESSION="1",
        SOCKETS_PER_ADDRESS="2",
        SOCKETS_PER_PROCESS="3",
    )
    slug, address = site.video(), new_address()
    # With accounts: a session may come from the cache, but never who it belongs to.
    mona, max_, alice = (
        Person(site, address=address).sign_in(name) for name in ("mona", "max", "alice")
    )
    root, stranger = Person(site).sign_in("root"), Person(site).sign_in("alice")
    async with AsyncExitStack() as stack:
        await seated(stack, mona, slug)
        await seated(stack, max_, slug)
        line.swallow_answers()
        await until_the_poll_hangs(line)
        asked = line.asked
        async with asyncio.timeout(PROMPTLY):
            assert "open" in await turned_away(mona, slug)  # the session has one
        async with asyncio.timeout(PROMPTLY):
            await told_to_try_again(stack, alice, slug)  # the address has two
        await nothing_is_asked(line, since=asked)

        # Who may come in is asked about, and waits for the answer.
        coming = asyncio.create_task(seated(stack, root, slug))
        while line.asked == asked:
            assert not coming.done()
            await asyncio.sleep(0.05)
        await asyncio.sleep(SHOWS_WITHIN)
        asked = line.asked
        async with asyncio.timeout(PROMPTLY):
            await told_to_try_again(stack, stranger, slug)  # the process has three
        await nothing_is_asked(line, since=asked)
        assert not coming.done()
        coming.cancel()
        await asyncio.wait([coming])
