"""Fixtures: people and a video in this process, and whole sites in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache

from comments.identity import Actor, actor_of_account
from comments.models import Stream, Viewer
from tests import world
from tests.client import Person
from tests.faults.tls import Authority
from tests.servers import Databases, Site
from videos.models import Video

# --- Order --------------------------------------------------------------------------------------

# The files that take longest, the longest first: workers take whole files, and none of these may be
# what all others have to wait for at the end. Of what is not listed each takes some seconds.
LONG = (
    "browser/test_interruptions", "browser/test_together", "faults/test_peers",
    "faults/test_nothing_lost_nothing_doubled", "faults/test_layers", "browser/test_access",
    "browser/test_reading", "test_rules_at_every_door", "test_settings", "faults/test_database",
    "faults/test_authority", "test_everybody_sees_the_same", "browser/test_pointing",
    "browser/test_proxies", "test_connections", "faults/test_silence", "faults/test_ending",
    "test_identity", "test_hub", "faults/test_the_checker_bites", "test_bad_input", "test_jobs",
    "browser/test_tls", "browser/test_desk", "test_metrics", "test_http2", "test_moderation",
    "test_posting", "test_admission", "test_safeguards_bite", "test_logs",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    places = {f"{tests / name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(str(item.path), len(LONG)))


# --- Sites: one of each kind per worker, shared by all tests ------------------------------------

type MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    found = Databases(tmp_path_factory.mktemp("databases"))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def sqlite_site(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One process, SQLite, the in-memory layer; the limits as they are by default."""
    yield from _running(Site(databases, tmp_path_factory.mktemp("site"), RATE_ADDRESS="12/10"))


@pytest.fixture(scope="session")
def postgres_site(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two processes on PostgreSQL and Valkey."""
    folder = tmp_path_factory.mktemp("site")
    yield from _running(
        Site(databases, folder, backend="postgres", processes=2, RATE_ADDRESS="12/10")
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "authority")


@pytest.fixture(scope="session")
def tls(authority: Authority) -> dict[str, Any]:
    """What a site of this machine is given to speak TLS, and so HTTP/2."""
    pair = str(authority.issue("127.0.0.1"))
    return {"TLS_CERT": pair, "TLS_KEY": pair}


@pytest.fixture(scope="session")
def secure_site(
    databases: Databases, tls: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """As sqlite_site, by https."""
    folder = tmp_path_factory.mktemp("site")
    yield from _running(Site(databases, folder, RATE_ADDRESS="12/10", **tls))


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest) -> Site:
    """The shared site, once on each kind of data."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    return found


@pytest.fixture
def make_site(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSite]:
    """Sites for one test alone: `make_site(backend="postgres", processes=2, RATE_VIEWER="off")`."""
    yield from _making(databases, tmp_path_factory)


@pytest.fixture(scope="module")
def make_site_for_module(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSite]:
    """As make_site, for the tests of one file."""
    yield from _making(databases, tmp_path_factory)


def _making(databases: Databases, folders: pytest.TempPathFactory) -> Iterator[MakeSite]:
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(Site(databases, folders.mktemp("site"), **options))
        return made[-1]

    yield make
    for found in made:
        found.kill()


def _running(found: Site) -> Iterator[Site]:
    yield found
    found.kill()
    assert not found.tracebacks


@pytest.fixture
def somebody(site: Site) -> Callable[..., Person]:
    """`somebody()` is a new anonymous person; `somebody("mona")` one who is signed in."""

    def enter(account: str = "", *, server: int | None = None, address: str = "") -> Person:
        where = len(site.servers) - 1 if server is None else server
        person = Person(site, server=where, address=address or None)
        return person.signed_in(account) if account else person

    return enter


# --- People and a video in this process ---------------------------------------------------------


@pytest.fixture
def people(transactional_db: None) -> None:
    cache.clear()
    world.make_people()


@pytest.fixture
def stream(people: None) -> Stream:
    """The stream of a live video that mona moderates."""
    return Stream.objects.select_related("video").get(pk=world.make_video("talk"))


@pytest.fixture
def video(stream: Stream) -> Video:
    return stream.video


@pytest.fixture
def alice(people: None) -> Actor:
    """A viewer with an account."""
    return actor_of_account(User.objects.get(username="alice"))


@pytest.fixture
def mona(people: None) -> Actor:
    """A moderator of this video."""
    return actor_of_account(User.objects.get(username="mona"))


@pytest.fixture
def max(people: None) -> Actor:
    """A moderator of another video."""
    return actor_of_account(User.objects.get(username="max"))


@pytest.fixture
def root(people: None) -> Actor:
    """A superuser."""
    return actor_of_account(User.objects.get(username="root"))


@pytest.fixture
def anon(people: None) -> Actor:
    """A viewer with a session only."""
    return Actor(Viewer.objects.create(name="Anon"), address="somewhere")
