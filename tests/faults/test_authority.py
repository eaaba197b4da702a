"""Who loses an authority loses it on open sockets, too: at the next action, and within 3 s."""

import asyncio
import signal
import time

import pytest

from tests import world
from tests.client import ClosedError, Person, Socket
from tests.faults import truth
from tests.faults.conftest import MakeFaultSite
from tests.faults.plans import FaultSite, _valkey_process

SECONDS = 3.0
LOSSES = ("sign out", "new password", "demotion", "deactivation")


@pytest.fixture(params=["with Redis", "without Redis"])
def site(request: pytest.FixtureRequest, make_fault_site: MakeFaultSite) -> FaultSite:
    site = make_fault_site(backend="postgres", processes=2)
    if request.param == "without Redis":
        process = _valkey_process(site)
        process.kill()
        process.wait()
    return site


def lose(site: FaultSite, slug: str, person: Person, loss: str) -> None:
    name = loss.replace(" ", "-")
    if loss == "sign out":
        person.sign_out()
    elif loss == "new password":
        site.call(truth.set_password, name, "another-long-phrase-9")
    elif loss == "demotion":
        site.call(truth.demote, slug, name)
    else:
        site.call(world.set_account, name, is_active=False)


async def test_it_is_gone_from_open_sockets(site: FaultSite) -> None:
    slug = site.video()
    await asyncio.to_thread(make_moderators, site, slug)
    people = {
        loss: Person(site, server=n % 2).signed_in(loss.replace(" ", "-")).open(slug)
        for n, loss in enumerate(LOSSES)
    }
    await asyncio.gather(*(lives_through(site, slug, people[loss], loss) for loss in LOSSES))


def make_moderators(site: FaultSite, slug: str) -> None:
    for loss in LOSSES:
        site.call(world.make_account, loss.replace(" ", "-"))
        site.call(truth.promote, slug, loss.replace(" ", "-"))


async def lives_through(site: FaultSite, slug: str, person: Person, loss: str) -> None:
    cookies = dict(person.cookies)
    async with person.socket(slug) as socket:
        assert (await socket.say(f"before the {loss}")).is_ack
        await socket.until(lambda: person.page.staff, "the tools of a moderator")
        lose(site, slug, person, loss)
        started = time.monotonic()
        assert not await may_moderate(socket), f"the next action after the {loss}"
        if loss == "demotion":
            await socket.until(lambda: not person.page.staff, "a viewer's page")
        else:
            assert await socket.closed() == 1012
        assert time.monotonic() - started < SECONDS + 0.5
    person.cookies = cookies
    async with person.socket(slug) as socket:
        assert not await may_moderate(socket), f"after coming back from the {loss}"


async def may_moderate(socket: Socket) -> bool:
    try:
        return (await socket.ask("restore", number=1)).is_ack
    except ClosedError:
        return False


async def test_who_signs_out_while_redis_hangs_is_signed_out_when_it_goes_on(
    make_fault_site: MakeFaultSite,
) -> None:
    """Redis still has the session then: whoever kept the cookie must not be let in by it."""
    site = make_fault_site(backend="postgres")
    slug = site.video()
    mona = Person(site).signed_in("mona").open(slug)
    cookies = dict(mona.cookies)
    async with mona.socket(slug) as socket:
        assert (await socket.say("before")).is_ack
        process = _valkey_process(site)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.to_thread(mona.sign_out)
        finally:
            process.send_signal(signal.SIGCONT)
        assert not await may_moderate(socket)
    mona.cookies = cookies
    async with mona.socket(slug) as socket:
        assert not await may_moderate(socket)
        # Whatever a page was opened as, it is closed or demoted by the next poll.
        await asyncio.sleep(SECONDS)
        assert not socket.is_open or not mona.page.staff
