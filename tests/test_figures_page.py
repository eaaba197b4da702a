"""The operator's page in admin: the figures of /metrics, for superusers alone."""

from collections.abc import Sequence

import pytest

from streamsite.observe import figures
from streamsite.observe.counts import Histogram
from tests import world
from tests.client import Person
from tests.figures import scrape
from tests.servers import Site

PATH = "/admin/figures/"


def test_only_superusers_see_it(sqlite_site: Site) -> None:
    site = sqlite_site
    site.call(world.make_account, "operator-without-rights", is_staff=True)
    anybody = Person(site).get(PATH)
    assert (anybody.status, "/login/" in anybody.headers["location"]) == (302, True)
    assert Person(site).signed_in("alice").get(PATH).status == 302
    staff = Person(site).signed_in("operator-without-rights")
    assert staff.get(PATH).status == 403
    assert PATH not in staff.get("/admin/").text
    root = Person(site).signed_in("root")
    assert PATH in root.get("/admin/").text
    page = root.get(PATH)
    assert page.status == 200
    assert "no-store" in page.headers["cache-control"]


async def test_it_shows_what_metrics_says(postgres_site: Site) -> None:
    site = postgres_site
    slug = site.video()
    person, root = Person(site).open(slug), Person(site).signed_in("root")
    async with person.socket(slug) as socket:
        assert (await socket.say("hello")).is_ack
        await socket.sees("hello")
        page = root.get(PATH)
        said = scrape(site)
    shown = page.text
    names = {key[0] for key in said}
    ours = {n for n in names if not n.startswith(("python_", "process_"))}
    for name in ours:
        histogram = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        assert f"<code>{name}</code>" in shown or f"<code>{histogram}</code>" in shown, name
    assert f"<td>{slug}</td>" in shown
    assert site.valkey is not None
    assert f"127.0.0.1:{site.valkey.port}" in shown


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([], ""),
        ([3], ""),
        ([0, 10], "0.0,46.0 240.0,2.0"),
        ([0.0, 0.0, 0.5], "0.0,46.0 120.0,46.0 240.0,24.0"),
    ],
)
def test_a_curve_goes_from_nothing_to_its_highest(values: Sequence[float], points: str) -> None:
    assert figures.line(values) == points


def test_a_quantile_is_the_end_of_its_bucket() -> None:
    histogram = Histogram(1, 10, 100)
    for value, times in ((0.5, 50), (7, 49), (1000, 1)):
        histogram.observe(value, times)
    assert [figures.quantile(histogram, part) for part in (0.5, 0.51, 0.99, 1)] == [
        1, 10, 10, float("inf"),
    ]  # fmt: skip
