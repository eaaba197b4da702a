"""The same page without scripts, without a mouse, on small screens, in large type, for everyone."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Playwright, Route, expect

from tests import world
from tests.browser import past
from tests.browser.conftest import NARROW, PHONE, WIDE, Enter, launch
from tests.browser.people import Visitor, eventually
from tests.client import Person
from tests.servers import Site

# --- without scripts ------------------------------------------------------------------------------


@pytest.fixture
def plain(enter: Enter) -> Visitor:
    """Somebody whose browser runs no scripts."""
    return enter(java_script_enabled=False)


def test_without_scripts_one_reads_posts_and_takes_a_name(
    plain: Visitor, enter: Enter, slug: str
) -> None:
    ben = enter().open(slug)
    ben.says("from ben")
    plain.go(f"/videos/{slug}/")
    plain.sees("from ben")
    plain.page.get_by_role("textbox", name="Your name").fill("Plain Jane")
    plain.box.fill("from a plain form")
    plain.page.get_by_role("button", name="Send").click()
    row = plain.sees("from a plain form")
    expect(row).to_be_in_viewport()
    expect(plain.page).to_have_url(re.compile(rf"/videos/{slug}/\?posted=2#c-2$"))
    expect(plain.page.get_by_role("textbox", name="Your name")).to_have_value("Plain Jane")
    expect(plain.box).to_have_value("")
    expect(ben.sees("from a plain form").locator(".comment-author")).to_have_text("Plain Jane")


def test_without_scripts_a_refused_text_comes_back_with_the_reason(
    plain: Visitor, site: Site
) -> None:
    plain.may_be_refused(400).may_be_refused(409)
    slug = site.video(max_length=20)
    plain.go(f"/videos/{slug}/")
    plain.page.get_by_role("textbox", name="Your name").fill("Plain Jane")
    plain.box.fill("this is far too long for here")
    plain.page.get_by_role("button", name="Send").click()
    expect(plain.notice).to_have_text("This is 9 characters too long; 20 is the most.")
    expect(plain.box).to_have_value("this is far too long for here")
    expect(plain.page.get_by_role("textbox", name="Your name")).to_have_value("Plain Jane")
    plain.box.fill("short enough")
    plain.page.get_by_role("button", name="Send").click()
    plain.sees("short enough")

    # A room that closes while one writes.
    plain.box.fill("too late")
    site.call(world.set_stream, slug, accepting=False)
    plain.page.get_by_role("button", name="Send").click()
    expect(plain.page.get_by_text("Comments are closed. Your text is kept.")).to_be_visible()
    expect(plain.box).to_be_visible()
    expect(plain.box).to_have_value("too late")
    expect(plain.box).not_to_be_editable()


def test_without_scripts_going_back_and_sending_again_does_not_double(
    enter: Enter, with_page_cache: Browser, site: Site, slug: str
) -> None:
    plain = enter(browser=with_page_cache, java_script_enabled=False)
    plain.go(f"/videos/{slug}/")
    plain.box.fill("only once")
    plain.page.get_by_role("button", name="Send").click()
    plain.sees("only once")
    plain.page.go_back(wait_until="commit")
    expect(plain.box).to_have_value("only once")
    plain.page.get_by_role("button", name="Send").click()
    plain.sees("only once")
    assert plain.bodies == ["only once"]
    assert len(site.call(past.keys_of, slug, "only once")) == 1


def test_without_scripts_the_newest_comment_is_in_view(
    plain: Visitor, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 60)
    plain.go(f"/videos/{slug}/")
    expect(plain.row_of("comment 60")).to_be_in_viewport(ratio=1)
    expect(plain.row_of("comment 11")).not_to_be_in_viewport()
    older = plain.page.get_by_role("link", name="Older comments")
    older.scroll_into_view_if_needed()
    expect(older).to_be_in_viewport(ratio=1)
    # Nothing stands between the name and a button that only scripts show.
    expect(plain.page.locator(".composer-dot")).to_be_hidden()


def test_before_scripts_run_the_newest_comment_is_in_view_and_stays_where_it_is(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 60)
    for newest, scrolled in (("comment 60", 0), ("comment 45", -300)):
        ann = enter(**PHONE)
        held: list[Route] = []
        ann.page.route("**/js/comments/main*", lambda route: held.append(route))  # noqa: B023
        ann.page.goto(f"{ann.origin}/videos/{slug}/", wait_until="commit")
        eventually(lambda: held, lambda: "the script is asked for", ann.page)  # noqa: B023
        expect(ann.row_of("comment 60")).to_be_in_viewport(ratio=1)
        ann.stream.evaluate("(stream, top) => { stream.scrollTop += top; }", scrolled)
        expect(ann.row_of(newest)).to_be_in_viewport(ratio=1)
        before = ann.top_of(newest)
        held[0].continue_()
        ann.is_live()
        assert ann.top_of(newest) == pytest.approx(before, abs=0.5)


def test_without_scripts_a_long_text_that_is_refused_is_in_view(plain: Visitor, slug: str) -> None:
    plain.may_be_refused(400)
    plain.go(f"/videos/{slug}/")
    name, line = plain.page.locator(".composer-name"), plain.page.locator(".composer-as")
    left = "element => { const range = document.createRange(); range.selectNodeContents(element);"
    left += " return range.getBoundingClientRect().left; }"
    assert name.evaluate(left) == line.evaluate(left)
    low = plain.box.evaluate("box => box.offsetHeight")
    plain.box.fill("words " * 100)
    plain.page.get_by_role("button", name="Send").click()
    expect(plain.notice).to_be_visible()
    assert plain.box.evaluate("box => box.offsetHeight") > 3 * low


def test_without_scripts_a_moderator_reads_who_removed_a_comment(
    enter: Enter, slug: str, ben: Person, mona: Person
) -> None:
    ben.say(slug, "hers")
    mona.act(slug, "remove", number="1")
    plain = enter("mona", java_script_enabled=False)
    plain.go(f"/videos/{slug}/")
    expect(plain.row(1).locator(".comment-removal")).to_have_text("Removed by Mona")


# --- without a mouse ------------------------------------------------------------------------------

FOCUS = """() => {
    const at = document.activeElement;
    // The ring of the box is around its frame, that of the stream is drawn over its rows.
    const ring = { body: at.closest(".composer-box"), stream: at.closest(".stream") }[at.id] ?? at;
    const { outlineStyle, outlineWidth } = getComputedStyle(
        ring, at.id === "stream" ? "::after" : null);
    return {
        id: at.id,
        words: at.textContent.trim().slice(0, 40),
        visible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 1,
    };
}"""


def focus(visitor: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = visitor.page.evaluate(FOCUS)
    return found


def tabs_to(visitor: Visitor, target: str, key: str = "Tab") -> list[str]:
    """Press the key until the target has the focus, which must be seen at every stop; the stops."""
    stops: list[str] = []
    while len(stops) < 20:
        visitor.page.keyboard.press(key)
        at = focus(visitor)
        stops.append(at["id"] or at["words"])
        assert at["visible"], f"no focus to be seen at {at}"
        if at["id"] == target:
            return stops
    raise AssertionError(f"{target} is not reached: {stops}")


def test_with_the_keyboard_alone_one_comments_reads_and_removes(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 20)
    site.call(past.write_as, slug, [("Linda", "see https://example.org/a")])
    site.call(past.write, slug, 40, 21)
    ann = enter().open(slug)
    keyboard = ann.page.keyboard
    stops = tabs_to(ann, "body")
    assert stops[:2] == ["Skip to the content", "To the comment box"]
    # Nothing on the way scrolls the stream from its end.
    assert stops[-3:] == ["stream", "rename-open", "body"]
    ann.is_at_the_bottom()
    assert ann.numbers == list(range(12, 62))

    keyboard.type("one line")
    keyboard.press("Shift+Enter")
    keyboard.type("and another")
    expect(ann.box).to_have_value("one line\nand another")
    keyboard.press("Enter")
    expect(ann.box).to_have_value("")
    mine = ann.rows.last
    expect(mine.locator(".comment-body")).to_have_text("one line and another")
    expect(mine).to_have_class(re.compile("is-mine"))
    # It is shown in the two lines in which it was written.
    assert mine.locator(".comment-body").inner_text() == "one line\nand another"
    expect(ann.box).to_be_focused()

    tabs_to(ann, "stream", "Shift+Tab")
    keyboard.press("k")
    expect(mine).to_have_class(re.compile("is-selected"))
    for key, body in (("k", "comment 60"), ("k", "comment 59"), ("j", "comment 60")):
        keyboard.press(key)
        expect(ann.row_of(body)).to_have_class(re.compile("is-selected"))
    expect(ann.page.locator(".is-selected")).to_have_count(1)
    # No action is offered at other people's comments.
    keyboard.press("Enter")
    expect(ann.menu).to_be_hidden()
    for _ in range(30):
        keyboard.press("ArrowUp")
    expect(ann.row_of("comment 30")).to_be_in_viewport(ratio=1)
    expect(ann.row_of("comment 30")).to_have_class(re.compile("is-selected"))
    # Tab leads to a chosen comment's links, not past what is older, which would scroll there.
    for key in [*"kkkkkkkkkk", "Tab"]:
        keyboard.press(key)
    assert focus(ann)["words"] == "https://example.org/a"
    # Who has gone up and chosen none is offered what is older.
    keyboard.press("Shift+Tab")
    expect(ann.stream).to_be_focused()
    ann.stream.evaluate("stream => stream.scrollBy(0, -1)")
    keyboard.press("Escape")
    expect(ann.page.locator(".is-selected")).to_have_count(0)


def test_the_menu_is_opened_walked_and_left_by_keys(enter: Enter, slug: str) -> None:
    mona = enter("mona").open(slug)
    keyboard = mona.page.keyboard
    mona.says("one")
    number = mona.says("two")
    tabs_to(mona, "stream", "Shift+Tab")
    keyboard.press("k")
    keyboard.press("Enter")
    item = mona.menu.get_by_role("menuitem", name="Remove")
    expect(item).to_be_focused()
    expect(item).to_have_attribute("aria-keyshortcuts", "d")
    expect(item.locator("kbd")).to_have_text("d")
    expect(mona.menu.get_by_text("next, previous")).to_be_visible()
    expect(mona.stream).to_have_accessible_description(re.compile("^Keys: j .* d to remove it"))
    assert focus(mona)["visible"]
    for key in ("ArrowDown", "ArrowUp"):
        keyboard.press(key)
        expect(mona.menu.locator(":focus")).to_be_visible()
    keyboard.press("Escape")
    expect(mona.menu).to_be_hidden()
    expect(mona.stream).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Enter")
    expect(mona.row(number).locator(".comment-removal")).to_contain_text("Removed by Mona")
    expect(mona.menu).to_be_hidden()
    expect(mona.stream).to_be_focused()
    keyboard.press("u")
    expect(mona.row(number).locator(".comment-removal")).to_have_count(0)
    keyboard.press("d")
    expect(mona.row(number).locator(".comment-removal")).to_be_visible()
    keyboard.press("Tab")
    expect(mona.row(number).get_by_role("button", name="undo")).to_be_focused()
    keyboard.press("Enter")
    expect(mona.row(number).locator(".comment-removal")).to_have_count(0)
    expect(mona.stream).to_be_focused()


def test_a_resting_mouse_does_not_take_the_selection_from_the_keys(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 50)
    mona = enter("mona").open(slug)
    mona.row_of("comment 45").hover()
    mona.stream.focus()
    for number in range(44, 19, -1):
        mona.page.keyboard.press("k")
        expect(mona.row_of(f"comment {number}")).to_have_class(re.compile("is-selected"))


def test_the_focus_is_kept_when_the_last_older_page_takes_its_link_away(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 60)
    ann = enter().open(slug)
    ann.page.locator("#older").focus()
    ann.page.keyboard.press("Enter")
    expect(ann.row_of("comment 1")).to_be_attached()
    expect(ann.page.locator("#older")).to_be_hidden()
    expect(ann.stream).to_be_focused()


def test_a_name_is_changed_by_keys(enter: Enter, slug: str) -> None:
    ann = enter().open(slug)
    keyboard = ann.page.keyboard
    for key in ("Tab", "Tab", "Enter"):  # the second link is "To the comment box"
        keyboard.press(key)
    expect(ann.box).to_be_focused()
    tabs_to(ann, "rename-open", "Shift+Tab")
    keyboard.press("Enter")
    expect(ann.page.get_by_label("Your name")).to_be_focused()
    keyboard.press("Escape")
    expect(ann.page.locator("#rename-open")).to_be_focused()
    keyboard.press("Enter")
    keyboard.type("Keys Only")
    keyboard.press("Enter")
    expect(ann.page.locator("#my-name")).to_have_text("Keys Only")
    expect(ann.page.locator("#rename-open")).to_be_focused()
    tabs_to(ann, "body")
    ann.says("under my name")
    expect(ann.row_of("under my name").locator(".comment-author")).to_have_text("Keys Only")


# --- screens of every size ------------------------------------------------------------------------

# What reaches over the window's edge and is not cut off with an ellipsis.
OVERFLOW = """() => [...document.querySelectorAll("body *")].filter(element => {
    const { right, width } = element.getBoundingClientRect();
    return width > 1 && right > document.documentElement.clientWidth + 0.5
        && element.checkVisibility()
        && !element.closest(".visually-hidden, .skip-link, .video-since");
}).map(element => element.outerHTML.slice(0, 120))"""
# Everything that can be pressed, but for links within a sentence (WCAG 2.5.8 leaves them out).
TARGETS = """() => [...document.querySelectorAll("a, button, summary, textarea, input, select")]
    .filter(element => element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
        && element.type !== "hidden"
        && !element.closest(".comment-body, .visually-hidden, .watch-description, p, .skip-link"))
    .map(element => {
        // A card is one link, from edge to edge.
        const { width, height } = (element.closest(".card") ?? element).getBoundingClientRect();
        return { name: element.id || element.className || element.outerHTML.slice(0, 80),
                 least: Math.min(width, height), width, height };
    })"""


def fits_its_screen(page: Page) -> None:
    page.wait_for_load_state()
    assert page.evaluate(OVERFLOW) == []
    width = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0


def is_whole_in_view(locator: Locator) -> None:
    expect(locator).to_be_in_viewport(ratio=0.99)


@pytest.fixture(scope="module")
def in_large_type(player: Playwright) -> Iterator[Browser]:
    """A browser whose owner has set its letters to twice their size."""
    browser = launch(player, "--blink-settings=defaultFontSize=32")
    yield browser
    browser.close()


def everything_is_in_view(visitor: Visitor) -> None:
    visitor.open("live-demo")
    address = "https://example.org/a/rather/long/address/that/has/no/end/at/all"
    visitor.sends(f"a comment with {address} and more {uuid.uuid4()}")
    expect(visitor.pending).to_have_count(0)
    expect(visitor.box).to_have_value("")
    expect(visitor.rows.last).to_be_in_viewport()
    fits_its_screen(visitor.page)
    for selector in (".composer-box", "#send", "#rename-open", "video"):
        is_whole_in_view(visitor.page.locator(selector))


@pytest.mark.parametrize("screen", [WIDE, PHONE, NARROW], ids=["wide", "phone", "320px"])
def test_video_comments_and_composer_are_in_view_on_every_screen(
    enter: Enter, screen: dict[str, Any]
) -> None:
    ann = enter(**screen)
    everything_is_in_view(ann)
    ann.box.blur()  # with it goes the keyboard of a phone, and the bar is back
    targets: list[dict[str, Any]] = ann.page.evaluate(TARGETS)
    main = [target for target in targets if target["name"] in ("send", "account-link")]
    assert len(main) == 3
    assert [target for target in targets if target["least"] < 24] == []
    least = 44 if "has_touch" in screen else 24
    assert [target for target in main if target["least"] < least] == []


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_in_large_type_everything_is_in_view_still(
    enter: Enter, in_large_type: Browser, screen: dict[str, Any]
) -> None:
    ann = enter(browser=in_large_type, **screen)
    everything_is_in_view(ann)
    assert ann.page.evaluate("() => getComputedStyle(document.documentElement).fontSize") == "32px"
    if screen is PHONE:
        ann.box.blur()
        assert ann.page.locator(".watch-title").evaluate("title => title.clientWidth") > 320
        is_cut = "since => since.scrollWidth > since.clientWidth"
        assert not ann.page.locator(".video-since").evaluate(is_cut)


def test_a_wide_window_at_twice_its_size_loses_nothing(enter: Enter) -> None:
    ann = enter(**WIDE).open("live-demo")
    for width, height in ((720, 430), (640, 360)):
        ann.page.set_viewport_size({"width": width, "height": height})
        fits_its_screen(ann.page)
        for selector in ("video", "h1", "#video-state .state-badge", ".composer-box"):
            is_whole_in_view(ann.page.locator(selector))
        for name in ("Upcoming", "Sign in"):
            is_whole_in_view(ann.page.get_by_role("link", name=name))
    # At four times its size the page scrolls, and comments have room still.
    for width, height in ((360, 215), (427, 240), (1280, 256)):
        ann.page.set_viewport_size({"width": width, "height": height})
        assert room_for_comments(ann) >= 140
        fits_its_screen(ann.page)


# A window of which a keyboard covers the lower part, as Safari on iOS has it: no browser here has.
COVERED = """height => {
    Object.defineProperty(visualViewport, "height", { value: height, configurable: true });
    visualViewport.dispatchEvent(new Event("resize"));
}"""


def room_for_comments(visitor: Visitor) -> int:
    found: int = visitor.stream.evaluate("stream => stream.clientHeight")
    return found


@pytest.mark.parametrize("covers", [False, True], ids=["resizes-the-page", "covers-the-page"])
def test_a_phones_keyboard_leaves_room_for_comments(
    enter: Enter, site: Site, slug: str, covers: bool
) -> None:
    site.call(past.write, slug, 30)
    ann = enter(**PHONE).open(slug)
    bar = ann.page.locator(".site-header")
    ann.box.tap()
    expect(bar).to_be_visible()
    for height, least in ((560, 160), (480, 140)):
        if covers:
            ann.page.evaluate(COVERED, height)
        else:
            ann.page.set_viewport_size({"width": 390, "height": height})
        expect(bar).to_be_hidden()
        eventually(
            lambda: room_for_comments(ann) >= least,  # noqa: B023  called at once
            lambda: f"{room_for_comments(ann)} px",
            ann.page,
        )
        ann.box.fill("a long message that is typed on a phone. " * 9)
        for selector in (".player", ".composer-box"):
            bottom = "element => element.getBoundingClientRect().bottom"
            assert ann.page.locator(selector).evaluate(bottom) <= height
        ann.is_at_the_bottom()
        ann.box.fill("")
    # The keyboard goes, and the bar is back.
    if covers:
        ann.page.evaluate(COVERED, 844)
    else:
        ann.page.set_viewport_size(PHONE["viewport"])
    expect(bar).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/", "/nowhere/"])
def test_every_page_fits_a_narrow_screen_and_large_type(
    enter: Enter, in_large_type: Browser, path: str
) -> None:
    for ann in (enter(**NARROW), enter(**PHONE, browser=in_large_type)):
        ann.may_be_refused(404).go(path)
        fits_its_screen(ann.page)
        assert [target for target in ann.page.evaluate(TARGETS) if target["least"] < 24] == []


def test_fingers_find_the_pill_and_the_menu(enter: Enter, site: Site, slug: str) -> None:
    site.call(past.write, slug, 50)
    mona = enter("mona", **PHONE).open(slug)
    mona.row_of("comment 20").scroll_into_view_if_needed()
    mona.row_of("comment 20").tap()
    Person(site).open(slug).say(slug, "new")
    expect(mona.page.locator("#new-comments")).to_be_visible()
    mona.menu_button.tap()
    expect(mona.menu).to_be_visible()
    for target in ("#new-comments", "#row-menu-button", ".row-menu-item:not([hidden])"):
        assert min(reach_of(mona.page.locator(target))) >= 44, target
    is_whole_in_view(mona.menu)
    fits_its_screen(mona.page)
    before = mona.top_of("comment 20")
    mona.menu.get_by_role("menuitem", name="Remove").tap()
    undo = mona.row_of("comment 20").get_by_role("button", name="undo")
    assert reach_of(undo)[1] >= 44
    # What is read does not move under the thumb.
    assert mona.top_of("comment 20") == before
    mona.page.locator(".watch-title").tap()
    assert reach_of(undo)[1] >= 44


# How wide and high an element is where it can be pressed: not cut off, not covered.
REACH = """element => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const hits = (x, y) => element.contains(document.elementFromPoint(x, y));
    let width = 0, height = 0;
    for (let x = left + 0.5; x < right; x += 1) width += hits(x, (top + bottom) / 2);
    for (let y = top + 0.5; y < bottom; y += 1) height += hits((left + right) / 2, y);
    return [width, height];
}"""


def reach_of(locator: Locator) -> list[int]:
    found: list[int] = locator.evaluate(REACH)
    return found


# How far the ring round an element reaches below it, and where its box begins, in px.
RING = """element => {
    const ring = getComputedStyle(element, "::after");
    const { bottom } = element.getBoundingClientRect();
    return bottom - parseFloat(ring.bottom) + parseFloat(ring.outlineWidth);
}"""


def test_the_ring_round_what_changes_the_name_stays_clear_of_the_box(
    enter: Enter, slug: str
) -> None:
    ann = enter(**PHONE).open(slug)
    change = ann.page.locator("#rename-open")
    change.tap()
    ann.page.get_by_label("Your name").fill("Thumbs Only")
    ann.page.get_by_label("Your name").press("Enter")
    expect(change).to_be_focused()
    expect(change).to_have_css("outline-color", "rgba(0, 0, 0, 0)")
    box = ann.page.locator(".composer-box").bounding_box()
    assert box is not None
    assert change.evaluate(RING) <= box["y"]


def test_fingers_find_what_changes_the_name(enter: Enter, slug: str) -> None:
    ann = enter(**PHONE).open(slug)
    change, cancel = ann.page.locator("#rename-open"), ann.page.locator("#rename-cancel")
    assert min(reach_of(change)) >= 44
    change.tap()
    assert min(reach_of(cancel)) >= 44
    cancel.tap()
    expect(ann.page.get_by_label("Your name")).to_be_hidden()


def test_a_tall_comment_keeps_its_share_also_when_it_is_chosen(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write_as, slug, [("Tall", "\ufdfd" * 400), ("Low", "below")])
    mona = enter("mona", **PHONE).open(slug)
    tall = mona.rows.first
    for _ in range(2):
        height = tall.evaluate("row => row.getBoundingClientRect().height")
        assert 300 < height <= 23 * 16
        text = tall.evaluate("row => row.scrollHeight")
        assert text > height + 100, "it is not tall enough to tell"
        # It covers nothing of its neighbour, but for the edge of what is pressed.
        assert reach_of(mona.sees("below").locator(".comment-author"))[1] >= 10
        tall.evaluate("row => row.scrollIntoView()")
        tall.locator(".comment-author").tap()
        expect(mona.menu_button).to_be_visible()
        mona.sees("below").scroll_into_view_if_needed()


# --- what axe finds -------------------------------------------------------------------------------

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# Colours change over a moment, in which contrast is that of neither scheme.
COLOURS_ARE_THERE = """() => Promise.all(
    document.getAnimations().map(animation => animation.finished.catch(() => null)))"""


# Django's own filters are closer to each other than its size of targets asks.
ADMIN_RULES = [rule for rule in RULES if rule != "wcag22aa"]


def axe_finds_nothing(visitor: Visitor, rules: list[str] = RULES) -> None:
    """In the light and in the dark."""
    visitor.page.wait_for_load_state()
    for scheme in ("light", "dark"):
        visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visitor.page.evaluate(COLOURS_ARE_THERE)
        options = {"runOnly": rules, "resultTypes": ["violations"]}
        violations = Axe().run(visitor.page, options=options).response["violations"]
        found = [
            (rule["id"], node["html"][:200], node["failureSummary"])
            for rule in violations
            for node in rule["nodes"]
        ]
        assert found == [], f"{scheme}: {json.dumps(found, indent=1)}"


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/", "/nowhere/"])
def test_axe_finds_nothing_in_the_pages_around(enter: Enter, path: str) -> None:
    ann = enter().may_be_refused(404)
    ann.go(path)
    axe_finds_nothing(ann)


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_in_a_live_video(enter: Enter, screen: dict[str, Any]) -> None:
    ann = enter(**screen).open("live-demo")
    ann.says(f"a comment, https://example.org/{uuid.uuid4()}")
    ann.box.fill("x" * 510)
    ann.box.press("Enter")
    expect(ann.notice).to_be_visible()
    ann.page.locator("#rename-open").click()
    axe_finds_nothing(ann)
    ann.may_lose_the_network().context.set_offline(True)
    ann.sends("on its way")
    expect(ann.pending).to_have_text(re.compile("waiting"))
    axe_finds_nothing(ann)


def test_axe_finds_nothing_in_the_operators_figures(enter: Enter) -> None:
    operator = enter("root")
    operator.go("/admin/figures/")
    expect(operator.page.get_by_role("heading", name="Fan-out")).to_be_visible()
    axe_finds_nothing(operator)


def test_axe_finds_nothing_where_a_moderator_works(enter: Enter) -> None:
    mona = enter("moderator").open("live-demo")
    other = mona.says(f"one {uuid.uuid4()}")
    number = mona.says(f"two {uuid.uuid4()}")
    mona.row(number).hover()
    mona.menu_button.click()
    mona.menu.get_by_role("menuitem", name="Remove").click()
    expect(mona.row(number).locator(".comment-removal")).to_be_visible()
    mona.row(other).hover()
    mona.menu_button.click()
    expect(mona.menu).to_be_visible()
    axe_finds_nothing(mona)


def test_axe_finds_nothing_where_staff_set_up_the_second_factor(enter: Enter) -> None:
    root = enter("root")
    root.go("/admin/second-factor/setup/")
    expect(root.page.get_by_role("img", name="QR code of the key")).to_be_visible()
    axe_finds_nothing(root)


def test_axe_finds_nothing_in_the_admin(enter: Enter, site: Site) -> None:
    root = enter()
    root.go("/admin/login/")
    axe_finds_nothing(root)
    root = enter("root", viewport={"width": 1280, "height": 800})
    for path in (
        "comments/comment/",
        f"videos/video/{site.call(world.video_pk, 'live-demo')}/change/",
    ):
        root.go(f"/admin/{path}")
        axe_finds_nothing(root, ADMIN_RULES)
    # The form of a video, on a phone: whole, help and fields too.
    root.page.set_viewport_size({"width": 390, "height": 844})
    ends = "parts => Math.max(...parts.map(part => part.getBoundingClientRect().right))"
    assert root.page.locator(".form-row *").evaluate_all(ends) <= 390 - 15
    root.page.set_viewport_size({"width": 1280, "height": 800})
    for path in ("videos/video/", "comments/comment/", "comments/viewer/"):
        root.go(f"/admin/{path}")
        is_cut = "table => table.scrollWidth > table.clientWidth"
        assert not root.page.locator(".results").evaluate(is_cut), path


def test_axe_finds_nothing_where_names_have_every_colour(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write_as, slug, [(f"Name {number}", "hello") for number in range(24)])
    ann = enter().open(slug)
    colours = "rows => new Set(rows.map(row => row.querySelector('bdi').dataset.colour)).size"
    assert ann.rows.evaluate_all(colours) >= 6
    axe_finds_nothing(ann)


@pytest.mark.parametrize("path", ["/videos/past-demo/", "/videos/upcoming-demo/"])
def test_axe_finds_nothing_before_and_after(enter: Enter, path: str) -> None:
    ann = enter()
    ann.go(path)
    ann.is_live()
    axe_finds_nothing(ann)


def test_axe_finds_nothing_in_older_comments(enter: Enter) -> None:
    ann = enter()
    ann.go("/videos/past-demo/comments/")
    expect(ann.rows).to_have_count(13)
    axe_finds_nothing(ann)
