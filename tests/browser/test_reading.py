"""Reading back through a long history while comments arrive; and texts that want to be more."""

import re
import unicodedata
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests import world
from tests.browser import past
from tests.browser.conftest import PHONE, WIDE, Enter
from tests.browser.people import Visitor, eventually
from tests.client import Person
from tests.servers import Site


def scrolls_to_the_top(visitor: Visitor) -> None:
    visitor.stream.focus()
    visitor.page.keyboard.press("Home")


def reads_back_to_the_first(visitor: Visitor) -> None:
    """Scroll up until there is nothing older."""
    older = visitor.page.locator("#older")
    while older.is_visible():
        first = visitor.numbers[0]
        scrolls_to_the_top(visitor)
        eventually(
            lambda: visitor.numbers[0] < first,  # noqa: B023  called at once
            lambda: f"older than {visitor.numbers[0]}",
            visitor.page,
        )


def stands_still(visitor: Visitor) -> None:
    """Until scrolling has come to rest."""
    visitor.stream.evaluate(
        """stream => new Promise(done => {
            let last = NaN;
            const look = () => {
                if (stream.scrollTop === last) return done();
                last = stream.scrollTop;
                setTimeout(look, 100);
            };
            look();
        })"""
    )


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_reading_back_holds_its_place_to_the_pixel_while_comments_arrive(
    enter: Enter, site: Site, slug: str, ben: Person, mona: Person, screen: dict[str, Any]
) -> None:
    site.call(past.write, slug, 50)
    ann = enter(**screen).open(slug)
    pill = ann.page.locator("#new-comments")
    ann.is_at_the_bottom()
    ann.row_of("comment 25").scroll_into_view_if_needed()
    stands_still(ann)
    before = ann.top_of("comment 25")

    for number in range(1, 8):
        ben.say(slug, f"new {number}")
    expect(pill).to_have_text("↓ 7 new comments")
    assert ann.top_of("comment 25") == before
    # What goes away above does not move it either.
    mona.act(slug, "remove", number="3")
    expect(ann.row(3)).to_be_hidden()
    assert ann.top_of("comment 25") == before
    mona.act(slug, "restore", number="3")
    expect(ann.row(3)).not_to_have_attribute("hidden", "")
    assert ann.top_of("comment 25") == before

    pill.click()
    expect(pill).to_be_hidden()
    expect(ann.row_of("new 7")).to_be_in_viewport(ratio=1)
    ann.is_at_the_bottom()
    ben.say(slug, "one more")
    expect(ann.row_of("one more")).to_be_in_viewport(ratio=1)
    ann.is_at_the_bottom()
    expect(pill).to_be_hidden()


def test_history_is_read_back_to_the_first_comment_in_order_and_in_place(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 210)
    ann = enter().open(slug)
    assert ann.numbers == list(range(161, 211))
    expect(ann.page.locator("#older")).to_be_attached()

    # Where one page joins the next, what is read stays where it is.
    ann.row_of("comment 165").scroll_into_view_if_needed()
    stands_still(ann)
    before = ann.top_of("comment 165")
    first = ann.numbers[0]
    if first == 161:  # not loaded ahead of the reader already
        ann.page.locator("#older").evaluate("older => older.click()")
        eventually(lambda: ann.numbers[0] < first, lambda: "an older page", ann.page)
    assert ann.top_of("comment 165") == pytest.approx(before, abs=0.5)

    reads_back_to_the_first(ann)
    assert ann.numbers == list(range(1, 211))
    expect(ann.row_of("comment 1")).to_be_attached()
    scrolls_to_the_top(ann)
    expect(ann.row_of("comment 1")).to_be_in_viewport(ratio=1)


def test_a_removal_that_overtakes_an_older_page_is_honoured(
    enter: Enter, site: Site, slug: str, mona: Person
) -> None:
    site.call(past.write, slug, 80)
    ann = enter().open(slug)
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        held.append((route, route.fetch()))

    ann.page.route("**/comments/?before=*", hold)
    ann.page.locator("#older").evaluate("older => older.click()")
    eventually(lambda: held, lambda: "the older page was asked for", ann.page)
    mona.act(slug, "remove", number="20")
    mona.act(slug, "remove", number="21")
    mona.act(slug, "restore", number="21")
    ann.reaches(site.call(world.stream_of, slug)["head"])
    [(route, response)] = held
    assert "comment 20<" in response.text()
    route.fulfill(response=response)
    ann.page.unroute("**/comments/?before=*")
    expect(ann.row_of("comment 1")).to_be_attached()
    expect(ann.row(20)).to_be_empty()
    expect(ann.row(20)).to_be_hidden()
    expect(ann.row_of("comment 21")).to_be_attached()
    assert ann.numbers == list(range(1, 81))


def test_an_older_page_that_does_not_come_is_said_and_can_be_asked_for_again(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 120)
    ann = enter().may_lose_the_network().open(slug)
    older = ann.page.locator("#older")
    ann.page.route("**/comments/?before=*", lambda route: route.abort())
    scrolls_to_the_top(ann)
    expect(older).to_have_text("Older comments could not be loaded. Try again.")
    ann.page.unroute("**/comments/?before=*")
    older.click()
    expect(ann.row_of("comment 21")).to_be_attached()
    expect(older).to_have_text("Older comments")
    reads_back_to_the_first(ann)
    assert ann.numbers == list(range(1, 121))


def test_a_list_that_has_grown_long_is_cut_back_and_still_reads_to_the_first(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 30)
    ann = enter().open(slug)
    for first in range(31, 331, 100):
        site.call(past.write, slug, 100, first)
        ann.reaches(first + 99)
    ann.sees("comment 330")
    expect(ann.row_of("comment 330")).to_be_in_viewport(ratio=1)
    ann.is_at_the_bottom()
    assert 200 <= len(ann.numbers) <= 220
    assert ann.numbers == list(range(331 - len(ann.numbers), 331))
    reads_back_to_the_first(ann)
    assert ann.numbers == list(range(1, 331))
    # Back at the bottom the list is short again.
    ann.stream.evaluate("stream => { stream.scrollTop = 0; }")
    stands_still(ann)
    site.call(past.write, slug, 1, 331)
    pill = ann.page.locator("#new-comments")
    expect(pill).to_have_text("↓ 1 new comment")
    pill.click()
    expect(ann.row_of("comment 331")).to_be_in_viewport(ratio=1)
    assert ann.numbers == list(range(132, 332))


def test_a_full_list_stays_short_while_it_is_read_back_in(
    enter: Enter, site: Site, slug: str, mona: Person
) -> None:
    site.call(past.write, slug, 30)
    ann = enter(**WIDE).open(slug)
    site.call(past.write, slug, 180, 31)
    ann.reaches(210)
    ann.row_of("comment 195").scroll_into_view_if_needed()
    ann.stream.evaluate("stream => stream.scrollBy(0, -300)")
    stands_still(ann)
    before = ann.top_of("comment 195")
    site.call(past.write, slug, 140, 211)
    ann.reaches(350)
    mona.act(slug, "remove", number="240")
    ann.reaches(351)
    pill = ann.page.locator("#new-comments")
    expect(pill).to_have_text("↓ 140 new comments")
    assert len(ann.numbers) <= 250
    assert ann.top_of("comment 195") == before

    # Who reads on finds each of them, in order; what changed while it waited is as it is now.
    seen = set(ann.numbers)
    while ann.numbers[-1] < 350:
        last = ann.numbers[-1]
        ann.stream.evaluate("stream => { stream.scrollTop = stream.scrollHeight; }")
        eventually(lambda: ann.numbers[-1] > last, lambda: f"more than {last}", ann.page)  # noqa: B023
        assert len(ann.numbers) <= 250
        assert ann.numbers == list(range(ann.numbers[0], ann.numbers[-1] + 1))
        seen.update(ann.numbers)
    assert seen >= set(range(195, 351))
    expect(ann.row(240)).to_be_hidden()
    ann.stream.evaluate("stream => { stream.scrollTop = stream.scrollHeight; }")
    expect(pill).to_be_hidden()
    site.call(past.write, slug, 1, 352)
    expect(ann.row_of("comment 352")).to_be_in_viewport(ratio=1)
    # And who goes straight to the newest has a whole list there.
    scrolls_to_the_top(ann)
    stands_still(ann)
    site.call(past.write, slug, 250, 353)
    expect(pill).to_have_text("↓ 250 new comments")
    pill.click()
    expect(ann.row_of("comment 602")).to_be_in_viewport(ratio=1)
    ann.is_at_the_bottom()
    assert ann.numbers == list(range(ann.numbers[-1] - 199, ann.numbers[-1] + 1))


def test_comments_read_back_page_by_page_without_scripts(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 120)
    ann = enter(java_script_enabled=False)
    ann.go(f"/videos/{slug}/")
    seen = ann.numbers
    while (older := ann.page.get_by_role("link", name="Older comments")).is_visible():
        older.click()
        seen = ann.numbers + seen
    assert seen == list(range(1, 121))


GROWS = """(list, count) => {
    for (let left = count; left; left -= 1) {
        const row = list.lastElementChild.cloneNode(true);
        row.dataset.number = Number(row.dataset.number) + 1;
        row.id = `c-${row.dataset.number}`;
        list.append(row);
    }
}"""

LISTENS = """said => {
    window.said = [];
    new MutationObserver(() => window.said.push(said.textContent))
        .observe(said, { childList: true });
}"""


def test_a_busy_stream_is_announced_ever_less_often(enter: Enter, site: Site, slug: str) -> None:
    site.call(past.write, slug, 1)
    ann = enter()
    clock = ann.page.clock
    clock.install()
    ann.open(slug)
    comments = ann.page.locator("#comments")
    ann.page.locator("#announce").evaluate(LISTENS)
    for _ in range(16):  # 80 s, 2 comments/s
        comments.evaluate(GROWS, 10)
        clock.run_for(5_000)
    said = ann.page.evaluate("window.said")
    assert said[0] == "10 new comments"
    # 5, 15, 35 and 75 s after the page came.
    assert len(said) in (4, 5), said
    # After a quiet minute each is read again.
    clock.run_for(200_000)
    comments.evaluate(GROWS, 1)
    clock.run_for(5_500)
    assert ann.page.evaluate("window.said.at(-1)") == "Past Writer: comment 1"


def test_a_link_to_a_comment_shows_it_marked(enter: Enter, site: Site, slug: str) -> None:
    site.call(past.write, slug, 50)
    ann = enter()
    ann.go(f"/videos/{slug}/#c-9")
    ann.is_live()
    expect(ann.row(9)).to_be_in_viewport(ratio=1)
    expect(ann.row(9)).to_have_class(re.compile("is-named"))


# --- hostile texts --------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert`1`//",
    '"><script>alert(1)</script>',
    "'\"><img src=x onerror=alert(1)>",
    "</li></ol><h1>out</h1>",
    "</bdi></span><b>bold</b>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>press</a>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    'https://example.org/"onmouseover="alert(1)',
    "https://example.org/'><script>alert(1)</script>",
    "http://javascript:alert(1)@example.org",
    "<hx-partial hx-target='body'>gone</hx-partial>",
    '<hx-partial hx-target="#comments" hx-swap="innerHTML" data-cursor="00000000-9">x</hx-partial>',
    '<li id="c-1" data-number="1" hidden></li>',
    "<div hx-get=/accounts/logout/ hx-trigger=load>x</div>",
    "<div hx-on:click=alert(1) data-hx-get=/>x</div>",
    '<p data-ack="1"></p><p data-refused="1">no</p>',
    ' data-cursor="00000000-1" ',
    "<template><script>alert(1)</script></template>",
    "<math><mtext></table><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt; &amp; &#60;b&#62; &nbsp;",
    "{{ 7|add:7 }} {% debug %} ${7*7} #{7*7}",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\\u003cscript\\u003e \\x3cb\\x3e",
    '{"action": "remove", "number": 1}',
    "<style>*{display:none}</style>",
    "<base href=//example.org><form action=//example.org>",
    "<meta http-equiv=refresh content=0;url=//example.org>",
    "نص من اليمين <b>x</b> ׳עברית׳",
    "z̷̧̢̛a̸l̵g̶o " + "q" + "\u0301" * 40,
    "👩‍👩‍👧‍👦🏴‍☠️🇧🇩 " + "𝓦𝓲𝓭𝓮﷽﷽﷽",
    "w" * 300,
]

# Everything a row may hold, as one string; whatever else is there is an element too many.
STRUCTURE = """() => [...document.querySelectorAll("#comments > li")].map(row => ({
    body: row.querySelector(".comment-body").textContent,
    name: row.querySelector(".comment-author").textContent,
    strange: [...row.querySelectorAll("*")].filter(element => !element.matches(
        ".comment > bdi.comment-author, .comment > span.visually-hidden, "
        + ".comment > span.comment-body, .comment > time.comment-time, "
        + ".comment-body > a[href^='http'][rel='nofollow noopener ugc'][target='_blank'], "
        + ".row-menu-button, .row-menu-button > span"
    )).map(element => element.outerHTML),
    attributes: [...row.querySelectorAll("*")].flatMap(element => element.getAttributeNames())
        .filter(name => name.startsWith("on") || name.includes("hx-")),
}))"""


def stored(text: str) -> str:
    """As a hostile text is kept: marks stacked no higher than any script needs."""
    composed = unicodedata.normalize("NFC", text).strip()
    return re.sub("(\u0301{6})\u0301+", r"\1", composed)


def holds_the_texts_and_nothing_else(page: Page, names: list[str]) -> None:
    found: list[dict[str, Any]] = page.evaluate(STRUCTURE)
    assert [row["body"] for row in found] == [stored(text) for text in HOSTILE]
    assert [row["name"] for row in found] == names
    assert [row["strange"] + row["attributes"] for row in found] == [[]] * len(HOSTILE)
    expect(page.locator("#comments")).to_have_count(1)
    assert page.title().startswith("Video video-")


def test_hostile_texts_are_shown_as_they_were_typed(enter: Enter, site: Site, slug: str) -> None:
    ann = enter().open(slug)
    # A name is at most 30 characters, and kept in its simplest form.
    names = [text[:30].strip() if text.isascii() else "somebody" for text in HOSTILE]
    site.call(past.write_as, slug, list(zip(names, HOSTILE, strict=True)))
    expect(ann.rows).to_have_count(len(HOSTILE))
    holds_the_texts_and_nothing_else(ann.page, names)
    fits = "stream => stream.scrollWidth <= stream.clientWidth"
    assert ann.stream.evaluate(fits)
    ann.page.reload()
    ann.is_live()
    holds_the_texts_and_nothing_else(ann.page, names)
    plain = enter(java_script_enabled=False)
    plain.go(f"/videos/{slug}/")
    holds_the_texts_and_nothing_else(plain.page, names)


def test_hostile_texts_stay_text_in_the_composer_and_as_ones_own_name(
    enter: Enter, slug: str
) -> None:
    ann, ben = enter().open(slug), enter().open(slug)
    name = "<img src=x onerror=alert(1)>"
    ann.page.locator("#rename-open").click()
    ann.page.get_by_label("Your name").fill(name)
    ann.page.get_by_role("button", name="Save").click()
    expect(ann.page.locator("#my-name")).to_have_text(name)
    for text in HOSTILE[:6]:
        ann.says(text)
    ben.sees(HOSTILE[5])
    for visitor in (ann, ben):
        found: list[dict[str, Any]] = visitor.page.evaluate(STRUCTURE)
        assert [row["body"] for row in found] == HOSTILE[:6]
        assert {row["name"] for row in found} == {name}
        assert [row["strange"] for row in found] == [[]] * 6
    expect(ann.page.locator(".composer img, #pending img")).to_have_count(0)
