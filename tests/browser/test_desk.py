"""The moderators' desk in a browser: asked for, followed without a reload, fetched, called off."""

import csv
import re
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import expect

from comments.models import Comment
from tests import world
from tests.browser.conftest import NARROW, Enter
from tests.browser.people import Visitor
from tests.browser.test_access import axe_finds_nothing
from tests.servers import Site, manage


def works(site: Site) -> None:
    """A worker comes, does what there is to do, and goes."""
    done = manage(site.variables, "db_worker", "--batch", "--no-startup-delay")
    assert done.returncode == 0, done.stdout


def fits(visitor: Visitor) -> None:
    visitor.page.wait_for_load_state()
    script = "document.documentElement.scrollWidth <= innerWidth"
    assert visitor.page.evaluate(script), "the page is wider than the window"


@pytest.fixture
def slug(site: Site) -> str:
    found = site.video("ended")
    site.call(world.write_many, found, 300, 2.0)
    return found


def test_an_export_is_asked_for_followed_and_fetched_and_another_called_off(
    enter: Enter, site: Site, slug: str, tmp_path: Path
) -> None:
    ann = enter().open(slug)
    expect(ann.page.get_by_role("link", name="Exports and report")).to_be_hidden()
    mona = enter("mona").open(slug)
    mona.page.get_by_role("link", name="Exports and report").click()
    mona.page.get_by_role("button", name="CSV").click()
    job = mona.page.locator(".job")
    expect(job).to_contain_text("waiting for its turn")
    # What is written into the page by hand is gone after a reload, and there is none.
    mona.page.evaluate("document.body.dataset.same = 'page'")
    site.call(world.set_job, slug, state="running", done=120, total=300)
    bar = mona.page.get_by_role("progressbar", name="CSV")
    expect(bar).to_have_attribute("value", "40")
    expect(job).to_contain_text("120 of 300")
    axe_finds_nothing(mona)
    site.call(world.set_job, slug, state="queued")
    works(site)
    link = job.get_by_role("link", name="Download")
    expect(link).to_be_visible()
    expect(mona.page.locator("#announce")).to_have_text("CSV is done.")
    expect(mona.page.locator("body")).to_have_attribute("data-same", "page")
    with mona.page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "comments.csv")
    with (tmp_path / "comments.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["body"] for row in csv.DictReader(file)] == [
            f"comment {number}" for number in range(1, 301)
        ]

    mona.page.get_by_role("button", name="WebVTT").click()
    mona.page.get_by_role("button", name="Cancel").click()
    expect(mona.page.locator(".job").first).to_contain_text("cancelled")
    works(site)
    assert [job["state"] for job in site.call(world.jobs_of, slug)] == ["done", "cancelled"]


def test_the_report_shows_its_plot_to_every_eye_and_leads_to_the_moment(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(world.watch, slug, [40, 80, 160, 120])
    site.call(world.set_source, slug, "https://videos.example/recording.mp4")
    mona = enter("mona", **NARROW)
    mona.go(f"/videos/{slug}/report/")
    expect(mona.page.get_by_role("button", name="Make it")).to_have_text("Make it")
    mona.go(f"/videos/{slug}/desk/")
    make = mona.page.get_by_role("button", name="Make it")
    expect(make).to_have_text("Make it")
    make.click()
    works(site)
    mona.go(f"/videos/{slug}/desk/")
    expect(make).to_have_text("Make it anew")
    mona.page.get_by_role("link", name="Open the report").last.click()
    expect(mona.page.locator(".figures")).to_contain_text("300")
    # 300 comments, 2 s apart: 29 in the first minute, 30 in each of the others, one in the last.
    rows = mona.page.locator("details").first.locator("tbody tr")
    counts = [int(text) for text in rows.locator("td:nth-of-type(1)").all_text_contents()]
    assert counts == [29, *[30] * 9, 1]
    expect(mona.page.get_by_role("img", name="Comments per minute")).to_be_visible()
    heights = mona.page.locator(".plot-bar[y]").evaluate_all(
        "bars => bars.map(bar => Number(bar.getAttribute('height')))"
    )
    assert heights == [count * 1000 // 30 for count in counts]
    expect(mona.page.get_by_role("rowheader", name="comment", exact=True)).to_be_visible()
    # Viewers stand over the same times: the first four of eleven minutes.
    curve = mona.page.get_by_role("img", name="Viewers over time")
    expect(curve).to_be_visible()
    mona.page.wait_for_load_state()  # a click returns before the next page has its stylesheets
    across = "of => [of.getBoundingClientRect().x, of.getBoundingClientRect().width]"
    left, width = curve.evaluate(across)
    assert [left, width] == mona.page.locator("svg.plot-area").first.evaluate(across)
    _left, drawn = curve.locator(".plot-line").evaluate(across)
    assert drawn == pytest.approx(width * 4 / 11, abs=3)
    told = mona.page.locator("details").nth(1).locator("tbody td").all_text_contents()
    assert told == ["40", "80", "160", "120"]
    expect(mona.page.get_by_text("Most at once: 160, at 0 h 02.")).to_be_visible()
    link = mona.page.get_by_role("link", name="0 h 02").first
    expect(link).to_have_attribute("href", f"/videos/{slug}/#t=120")
    fits(mona)
    axe_finds_nothing(mona)
    # The first of the busiest is read from its beginning, and on.
    mona.page.get_by_role("link", name="Read them").first.click()
    expect(mona.page.get_by_role("heading", level=1)).to_contain_text("(0 h 01 of the video)")
    expect(mona.page.locator("#comments > li").first).to_have_id("c-30")
    fits(mona)
    axe_finds_nothing(mona)
    mona.page.get_by_role("link", name="Newer comments").click()
    expect(mona.page.locator("#comments > li").first).to_have_id("c-80")
    mona.go(f"/videos/{slug}/comments/")
    expect(mona.page.get_by_role("link", name="Older comments")).to_be_visible()
    expect(mona.page.get_by_role("link", name="Newer comments")).to_have_count(0)
    mona.go(f"/videos/{slug}/desk/")
    fits(mona)
    axe_finds_nothing(mona)


def test_a_link_to_a_moment_of_a_recording_begins_there(enter: Enter) -> None:
    ann = enter()
    ann.go("/videos/past-demo/#t=3")
    at = "player => player.currentTime"
    player = ann.page.locator("video")
    expect(player).to_have_js_property("readyState", 4)
    assert player.evaluate(at) == 3


def say_words(slug: str) -> None:
    """Have the comments use twenty words, so that the report is longer than a page."""
    comments = list(Comment.objects.filter(stream__video__slug=slug))
    for comment in comments:
        comment.body = " ".join(f"wo{chr(97 + place)}rd" for place in range(comment.number % 21))
    Comment.objects.bulk_update(comments, ["body"])


def printed(visitor: Visitor) -> list[list[tuple[float, float, float]]]:
    """The words of each sheet of A4: size (px), left and baseline. Each begins a line in a page's
    stream, as Chromium writes PDF."""
    margin = dict.fromkeys(("top", "right", "bottom", "left"), "10mm")
    paper = visitor.page.pdf(format="A4", margin=margin)  # type: ignore[arg-type]
    sheets = re.findall(rb"/Type /Page\b.*?/Contents (\d+) 0 R", paper, re.DOTALL)
    found = []
    for sheet in sheets:
        [packed] = re.findall(rb"\n%s 0 obj\n.*?stream\n(.*?)\nendstream" % sheet, paper, re.DOTALL)
        words = re.findall(
            r"([\d.]+) Tf\n1 0 0 -1 ([\d.]+) ([\d.]+) Tm", zlib.decompress(packed).decode("latin-1")
        )
        found.append([(float(size), float(x), float(y)) for size, x, y in words])
    return found


def test_a_printed_report_has_numbers_at_their_lines_and_no_empty_sheet_or_link(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(say_words, slug)
    site.call(world.watch, slug, [40, 80, 160, 120])
    mona = enter("mona")
    mona.go(f"/videos/{slug}/report/")
    mona.page.get_by_role("button", name="Make it").click()
    works(site)
    mona.go(f"/videos/{slug}/report/")
    mona.page.wait_for_load_state()
    first, second = printed(mona)
    # The plots are 240 px high; what is small and left of them are their numbers. The words of an
    # SVG, which are the times, are placed from its corner.
    numbers = [y for size, x, y in first if size == 12 and x < 60 and y > 100]
    assert len(numbers) == 6
    steps = [b - a for a, b in pairwise(numbers)]
    assert [steps[0], steps[1], steps[3], steps[4]] == [120] * 4
    key = min(y for size, _x, y in first if size == 13 and y > numbers[2])
    assert key - numbers[2] > 36, "the key stands on the times"
    # A title is on the sheet of its first row; moments and twenty words share the second.
    assert max(first, key=lambda word: word[2])[0] < 20, "a title stays behind alone"
    assert len(second) > 40
    mona.page.emulate_media(media="print")
    expect(mona.page.get_by_text("Read them").first).to_be_hidden()
    lines = "links => links.map(link => getComputedStyle(link).textDecorationLine)"
    assert set(mona.page.locator(".desk a").evaluate_all(lines)) == {"none"}
