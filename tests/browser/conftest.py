"""Debian's Chromium, and a site for each file of tests."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, expect, sync_playwright

from tests import world
from tests.browser.line import Line
from tests.browser.people import Visitor
from tests.client import Person
from tests.servers import Databases, Site, environment, free_port, manage

type Enter = Callable[..., Visitor]

ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
SECONDS = 10.0

expect.set_options(timeout=SECONDS * 1000)


# As people meet it (DEBUG off, but http), without limits on how fast one comments.
VARIABLES: dict[str, Any] = {
    "DEBUG": "off",
    "HTTPS": "off",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "127.0.0.1",
    "RATE_VIEWER": "off",
    "RATE_ADDRESS": "off",
    "DEMO_PASSWORD": world.PASSWORD,
}


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files, gathered."""
    folder = tmp_path_factory.mktemp("static")
    done = manage(environment(folder, **VARIABLES), "collectstatic", "--noinput")
    assert done.returncode == 0, done.stdout
    return folder / "data" / "static"


@pytest.fixture(scope="module")
def site(
    databases: Databases, static: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A running site with the demo's videos in it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(static, folder / "data" / "static")
    found = Site(databases, folder, **VARIABLES)
    found.call(world.set_account, "mona", first_name="Mona")
    code, printed = found.command("seed_demo", "--force")
    assert code == 0, printed
    yield found
    found.kill()
    assert not found.tracebacks


# Of the module, not of the session: while it runs, Playwright's event loop counts as running in
# this thread, which Django and pytest-asyncio would take for async code of ours.
@pytest.fixture(scope="module")
def player() -> Iterator[Playwright]:
    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="module")
def chromium(player: Playwright) -> Iterator[Browser]:
    browser = launch(player)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def with_page_cache(player: Playwright) -> Iterator[Browser]:
    """With the back/forward cache, which people have and Playwright switches off."""
    browser = launch(player, ignore_default_args=["--disable-back-forward-cache"])
    yield browser
    browser.close()


@pytest.fixture
def with_tabs(player: Playwright) -> Iterator[BrowserContext]:
    """A browser in which a tab hides the one before it, as everybody's does: Playwright has every
    page believe that it is in front, but where it is told to leave a browser as it is."""
    port = free_port()
    with launch(player, f"--remote-debugging-port={port}"):
        browser = player.chromium.connect_over_cdp(f"http://127.0.0.1:{port}", no_defaults=True)
        yield browser.contexts[0]


def launch(player: Playwright, *arguments: str, **options: Any) -> Browser:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is not installed: bin/setup-chromium"
    return player.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments], **options)


@pytest.fixture
def enter(chromium: Browser, site: Site) -> Iterator[Enter]:
    """`enter()` is a new person; `enter("mona")` one who is signed in; `origin=` another way in,
    `browser=` another browser, `context=` one that is there; all else is for a new context."""
    people: list[Visitor] = []

    def come(
        account: str = "",
        *,
        origin: str = "",
        browser: Browser | None = None,
        context: BrowserContext | None = None,
        **options: Any,
    ) -> Visitor:
        context = context or (browser or chromium).new_context(**options)
        context.set_default_timeout(SECONDS * 1000)
        if account:
            person = Person(site).signed_in(account)
            context.add_cookies(
                [{"name": "sessionid", "value": person.session_key, "url": site.origin}]
            )
        people.append(Visitor(context, context.new_page(), origin or site.origin))
        return people[-1]

    yield come
    for visitor in people:
        visitor.context.close()
    problems = [problem for visitor in people for problem in visitor.problems]
    assert not problems, problems


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    """A network between a browser and the site that can be cut: `enter(origin=line.origin)`."""
    with Line(site.servers[0].port) as found:
        yield found


@pytest.fixture
def slug(site: Site) -> str:
    """A live video for one test, moderated by mona."""
    return site.video()


# A wide window, a phone, and the narrowest that still counts.
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 860}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}
NARROW: dict[str, Any] = PHONE | {"viewport": {"width": 320, "height": 568}}

__all__ = ["NARROW", "PHONE", "WIDE", "Enter", "launch"]


@pytest.fixture
def ben(site: Site, slug: str) -> Person:
    """Somebody else, without a browser, who goes on commenting."""
    return Person(site).open(slug)


@pytest.fixture
def mona(site: Site, slug: str) -> Person:
    """The video's moderator, without a browser."""
    return Person(site).signed_in("mona").open(slug)
