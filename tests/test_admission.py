"""How many sockets are let in: per session, per address, per process."""

import time
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus

from tests.client import ClosedError, Person, Socket, new_address
from tests.conftest import MakeSite
from tests.page import PageModel
from tests.servers import Site


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
            assert await turned_away(second, slug)
            await seated(all_of_them, others[0], slug)
            await seated(all_of_them, others[1], slug)
            # The process has five: a handshake is answered so that a retry may go elsewhere.
            with pytest.raises(InvalidStatus) as refused:
                await seated(all_of_them, others[2], slug)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"]
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
        assert await turned_away(second, slug)
