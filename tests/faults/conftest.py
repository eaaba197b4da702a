"""Sites that can be told to misbehave; a database server of their own, which is crashed."""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.crowd import Report
from tests.faults.plans import DurableDatabases, FaultSite

type MakeFaultSite = Callable[..., FaultSite]


@pytest.fixture(scope="session")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurableDatabases]:
    found = DurableDatabases(tmp_path_factory.mktemp("durable"))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def fault_site(
    durable: DurableDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultSite]:
    """Two processes on PostgreSQL and Valkey, shared by the faults."""
    site = FaultSite(durable, tmp_path_factory.mktemp("faults"), backend="postgres", processes=2)
    yield site
    site.kill()


@pytest.fixture
def make_fault_site(
    durable: DurableDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeFaultSite]:
    made: list[FaultSite] = []

    def make(**options: object) -> FaultSite:
        folder = tmp_path_factory.mktemp("faults")
        made.append(FaultSite(durable, folder, **options))
        return made[-1]

    yield make
    for site in made:
        site.kill()


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[Report], None]:
    """Print a report past the capture: the seed of every run is on record."""

    def show(report: Report) -> None:
        with capsys.disabled():
            print(f"\n{report}")  # noqa: T201

    return show
