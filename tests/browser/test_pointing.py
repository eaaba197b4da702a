"""A comment that somebody points at stays where it is, by mouse, touch and keys, on a busy page."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser import past
from tests.browser.conftest import PHONE, WIDE, Enter
from tests.browser.people import Visitor, eventually
from tests.client import Person
from tests.servers import Site

SELECTED = re.compile(r"\bis-selected\b")


def pill_says(visitor: Visitor, count: int) -> None:
    words = f"↓ {count} new comment{'s' if count > 1 else ''}"
    expect(visitor.page.locator("#new-comments")).to_have_text(words)


def follows(visitor: Visitor, ben: Person, slug: str, body: str) -> None:
    """What arrives now is at the foot of the stream, in view."""
    expect(visitor.page.locator("#new-comments")).to_be_hidden()
    ben.say(slug, body)
    expect(visitor.row_of(body)).to_be_in_viewport(ratio=1)
    visitor.is_at_the_bottom()


def opens_by_mouse(visitor: Visitor, number: int) -> None:
    visitor.row(number).hover()
    visitor.menu_button.click()


def leaves_by_mouse(visitor: Visitor) -> None:
    visitor.page.keyboard.press("Escape")
    expect(visitor.stream).to_be_focused()
    visitor.page.mouse.move(5, 300)


def opens_by_touch(visitor: Visitor, number: int) -> None:
    visitor.aims()
    visitor.row(number).locator(".comment-body").tap()
    visitor.menu_button.tap()


def leaves_by_touch(visitor: Visitor) -> None:
    visitor.page.locator(".watch-title").tap()


def opens_by_keys(visitor: Visitor, number: int) -> None:
    visitor.stream.focus()
    for _ in range(3):
        visitor.page.keyboard.press("k")
    expect(visitor.row(number)).to_have_class(SELECTED)
    visitor.page.keyboard.press("Enter")


def leaves_by_keys(visitor: Visitor) -> None:
    visitor.page.keyboard.press("Escape")
    expect(visitor.stream).to_be_focused()
    visitor.page.keyboard.press("Shift+Tab")


@pytest.mark.parametrize(
    ("account", "opens", "leaves", "screen"),
    [
        ("mona", opens_by_mouse, leaves_by_mouse, WIDE),
        ("mona", opens_by_touch, leaves_by_touch, PHONE),
        ("mona", opens_by_keys, leaves_by_keys, WIDE),
        ("", opens_by_mouse, leaves_by_mouse, WIDE),
    ],
    ids=["mouse", "touch", "keys", "ones-own"],
)
def test_the_menu_stays_open_while_comments_arrive(
    enter: Enter,
    site: Site,
    slug: str,
    ben: Person,
    account: str,
    opens: Callable[[Visitor, int], None],
    leaves: Callable[[Visitor], None],
    screen: dict[str, Any],
) -> None:
    site.call(past.write, slug, 25)
    ann = enter(account, **screen).open(slug)
    number = ann.says("mine")
    for body in ("one", "two"):
        ben.say(slug, body)
        ann.sees(body)
    opens(ann, number)
    expect(ann.menu).to_be_visible()
    top = ann.top_of("mine")
    for count in range(1, 5):
        ben.say(slug, f"new {count}")
    pill_says(ann, 4)
    expect(ann.menu).to_be_visible()
    expect(ann.menu.get_by_role("menuitem", name="Remove")).to_be_focused()
    assert ann.top_of("mine") == top
    leaves(ann)
    expect(ann.menu).to_be_hidden()
    follows(ann, ben, slug, "and on it goes")


def test_what_is_pointed_at_or_chosen_by_keys_does_not_scroll_away(
    enter: Enter, site: Site, slug: str, ben: Person
) -> None:
    site.call(past.write, slug, 25)
    mona = enter("mona").open(slug)
    mona.row_of("comment 23").hover()
    expect(mona.row_of("comment 23")).to_have_class(SELECTED)
    ben.say(slug, "by mouse")
    pill_says(mona, 1)
    mona.page.mouse.move(5, 300)
    expect(mona.page.locator(".is-selected")).to_have_count(0)
    follows(mona, ben, slug, "mouse gone")

    mona.stream.focus()
    mona.page.keyboard.press("k")
    follows(mona, ben, slug, "at the newest it goes on")
    mona.page.keyboard.press("k")
    before = mona.top_of("mouse gone")
    ben.say(slug, "by keys")
    pill_says(mona, 1)
    assert mona.top_of("mouse gone") == before
    # Down to the newest, it goes on.
    for _ in range(3):
        mona.page.keyboard.press("j")
    follows(mona, ben, slug, "keys at the newest")


def test_a_key_does_not_act_on_a_comment_that_is_out_of_sight(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 25)
    mona = enter("mona").open(slug)
    mona.stream.focus()
    for _ in range(2):
        mona.page.keyboard.press("k")
    chosen = mona.row_of("comment 24")
    expect(chosen).to_have_class(SELECTED)
    mona.stream.evaluate("stream => { stream.scrollTop = 0; }")
    expect(chosen).not_to_be_in_viewport()
    mona.page.keyboard.press("d")
    # Shown first; and then it is done.
    expect(chosen).to_be_in_viewport(ratio=1)
    expect(chosen.locator(".comment-removal")).to_have_count(0)
    mona.page.keyboard.press("d")
    expect(chosen.locator(".comment-removal")).to_be_visible()
    expect(mona.page.locator("#announce")).to_have_text("Removed.")
    assert site.call(past.removed, slug) == ["comment 24"]
    mona.page.keyboard.press("u")
    expect(mona.page.locator("#announce")).to_have_text("Restored.")


def test_one_is_asked_before_ones_own_comment_is_removed_by_a_key(enter: Enter, slug: str) -> None:
    ann = enter().open(slug)
    ann.says("mine")
    ann.stream.focus()
    ann.page.keyboard.press("k")
    ann.page.keyboard.press("d")
    item = ann.menu.get_by_role("menuitem", name="Remove")
    expect(item).to_be_focused()
    ann.page.keyboard.press("Escape")
    expect(ann.row_of("mine")).to_be_visible()
    ann.page.keyboard.press("d")
    item.press("Enter")
    ann.does_not_see("mine")
    expect(ann.page.locator("#announce")).to_have_text("Removed.")


def test_only_comments_with_something_to_do_light_up_under_the_mouse(
    enter: Enter, slug: str, ben: Person
) -> None:
    ann = enter().open(slug)
    ann.says("mine")
    ben.say(slug, "hers")
    ann.sees("hers").hover()
    lit = ann.page.locator(".is-selected")
    expect(lit).to_have_count(0)
    ann.row_of("mine").hover()
    expect(lit).to_have_count(1)
    ann.row_of("hers").hover()
    expect(lit).to_have_count(0)
    expect(ann.menu_button).to_be_hidden()


GROWS = """(list, count) => {
    for (let left = count; left; left -= 1) {
        const row = list.lastElementChild.cloneNode(true);
        const number = Number(row.dataset.number) + 1;
        row.dataset.number = number;
        row.id = `c-${number}`;
        row.className = "comment"; // the last one may be chosen
        row.querySelector("#row-menu-button")?.remove();
        row.querySelector(".comment-removal")?.replaceChildren("Removed by Mona");
        list.append(row);
    }
}"""


# Without end, faster than anybody aims.
STREAMS = f"list => {{ setInterval(() => ({GROWS})(list, 1), 50); }}"


def test_in_a_fast_stream_keys_go_where_they_lead(enter: Enter, site: Site, slug: str) -> None:
    site.call(past.write, slug, 100)
    mona = enter("mona", **WIDE).open(slug)
    site.call(past.write, slug, 60, 101)
    mona.reaches(160)
    mona.page.locator("#comments").evaluate(STREAMS)
    keyboard = mona.page.keyboard
    mona.stream.focus()
    for key in ("k", "PageUp", "k"):
        keyboard.press(key)
        mona.aims()
    chosen = mona.page.locator("#comments > .is-selected")
    expect(chosen).to_be_in_viewport(ratio=1)
    # Tab goes to the chosen comment, not to what is older, far above.
    keyboard.press("Tab")
    expect(mona.menu_button).to_be_focused()
    expect(chosen).to_be_in_viewport(ratio=1)
    keyboard.press("Shift+Tab")
    expect(mona.stream).to_be_focused()
    # End is the newest comment, and to follow again.
    expect(mona.page.locator("#new-comments")).to_be_visible()
    keyboard.press("End")
    expect(mona.page.locator("#new-comments")).to_be_hidden()
    expect(chosen).to_have_count(0)
    mona.aims()
    mona.is_at_the_bottom()
    expect(mona.page.locator("#new-comments")).to_be_hidden()
    # Escape lets go of a chosen comment, and so of the stream.
    for key in "kk":
        keyboard.press(key)
    expect(chosen).to_have_count(1)
    expect(mona.page.locator("#new-comments")).to_be_visible()
    keyboard.press("Escape")
    expect(chosen).to_have_count(0)
    expect(mona.page.locator("#new-comments")).to_be_hidden()


AT_THE_END = "at => at.scrollHeight - at.scrollTop - at.clientHeight < 2"
UNDER = "([x, y]) => document.elementFromPoint(x, y).closest('li')?.id"


def test_a_finger_hits_the_comment_that_stood_under_it_or_none(
    enter: Enter, site: Site, slug: str, mona: Person
) -> None:
    site.call(past.write, slug, 25)
    mona.act(slug, "remove", number="25")
    her = enter("mona", **PHONE).open(slug)
    finger = her.context.new_cdp_session(her.page)
    undo = her.row(25).get_by_role("button", name="undo").bounding_box()
    body = her.row(25).locator(".comment-body").bounding_box()
    assert undo is not None
    assert body is not None
    # A finger that slips was no tap.
    at = {"x": body["x"] + 5, "y": body["y"] + 5}
    for kind, points in (
        ("touchStart", [at]),
        ("touchMove", [at | {"x": at["x"] + 13}]),
        ("touchEnd", []),
    ):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    her.aims()
    expect(her.page.locator(".is-selected")).to_have_count(0)
    her.page.locator("#comments").evaluate(STREAMS)
    expect(her.row(45)).to_be_attached()
    for box in (body, undo):
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        # What has only just come under it is not hit. From its touch on the stream stands still.
        finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        pressed = her.page.evaluate(UNDER, [at["x"], at["y"]])
        assert pressed
        last = her.numbers[-1]
        expect(her.row(last + 4)).to_be_attached()
        assert her.page.evaluate(UNDER, [at["x"], at["y"]]) == pressed
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        her.aims()
        expect(her.page.locator(".is-selected")).to_have_count(0)
        expect(her.notice).to_be_hidden()
        # So the second time it hits.
        her.page.touchscreen.tap(at["x"], at["y"])
        if box is undo:
            expect(her.notice).to_have_text("There is no such comment.")
        else:
            expect(her.page.locator(".is-selected")).to_have_attribute("id", pressed)
        her.page.locator(".watch-title").tap()
        expect(her.page.locator(".is-selected")).to_have_count(0)
        eventually(lambda: her.stream.evaluate(AT_THE_END), lambda: "it goes on", her.page)


def test_after_what_a_finger_has_done_the_stream_goes_on(
    enter: Enter, site: Site, slug: str, ben: Person
) -> None:
    site.call(past.write, slug, 25)
    for account in ("", "mona"):
        ann = enter(account, **PHONE).open(slug)
        number = ann.says(f"mine, {account or 'viewer'}")
        opens_by_touch(ann, number)
        ben.say(slug, "meanwhile")
        expect(ann.page.locator("#new-comments")).to_be_visible()
        pill = ann.page.locator("#new-comments").bounding_box()
        row = ann.row(number).bounding_box()
        assert pill is not None
        assert row is not None
        assert pill["y"] + pill["height"] <= row["y"], "the pill hides what is acted on"
        ann.menu.get_by_role("menuitem", name="Remove").tap()
        expect(ann.page.locator("#announce")).to_have_text("Removed.")
        expect(ann.row(number).locator(".comment-removal")).to_have_count(1 if account else 0)
        expect(ann.page.locator(".is-selected")).to_have_count(0)
        expect(ann.page.locator("#new-comments")).to_be_hidden()
        ann.is_at_the_bottom()


def test_a_comment_that_grows_by_what_is_done_to_it_is_whole_in_view(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write_as, slug, [("Somebody", "who says what takes one line")] * 40)
    mona = enter("mona", **WIDE).open(slug)
    mona.stream.focus()
    for _ in range(30):
        mona.page.keyboard.press("k")
    row = mona.row(11)
    expect(row).to_have_class(SELECTED)
    before = row.evaluate("row => row.offsetHeight")
    mona.page.keyboard.press("d")
    expect(row.locator(".comment-removal")).to_be_visible()
    assert row.evaluate("row => row.offsetHeight") > before
    expect(row).to_be_in_viewport(ratio=1)


def test_a_list_held_by_a_forgotten_mouse_does_not_grow_without_end(
    enter: Enter, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 25)
    mona = enter("mona").open(slug)
    mona.row_of("comment 23").hover()
    expect(mona.row_of("comment 23")).to_have_class(SELECTED)
    mona.page.locator("#comments").evaluate(GROWS, 900)
    pill_says(mona, 900)
    assert len(mona.numbers) <= 221
    assert mona.row_of("comment 23").is_visible()
    mona.page.mouse.move(5, 300)
    eventually(lambda: len(mona.numbers) == 200, lambda: str(len(mona.numbers)), mona.page)
    mona.is_at_the_bottom()
