"""Two people and a moderator at one live video; accounts; refusals; rooms that close and end."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests import world
from tests.browser.conftest import PHONE, WIDE, Enter
from tests.browser.people import Visitor
from tests.codes import App, forget_wrong_codes
from tests.conftest import MakeSite
from tests.servers import Site


def look_of(row: Locator) -> list[str]:
    """The name of a comment as it looks: its words and its colour."""
    script = "name => [name.textContent, name.dataset.colour, getComputedStyle(name).color]"
    found: list[str] = row.locator(".comment-author").evaluate(script)
    return found


def test_what_one_says_stands_in_every_page_under_one_name_and_colour(
    enter: Enter, slug: str
) -> None:
    ann, ben, mona = enter().open(slug), enter().open(slug), enter("mona").open(slug)
    ann.says("first")
    ben.says("second")
    for body in ("first", "second"):
        looks = [look_of(visitor.sees(body)) for visitor in (ann, ben, mona)]
        assert looks[0] == looks[1] == looks[2]
    for visitor in (ann, ben, mona):
        assert visitor.bodies == ["first", "second"]
    expect(ann.row_of("first")).to_have_class(re.compile(r"\bis-mine\b"))
    for row in (ann.row_of("second"), ben.row_of("first"), mona.row_of("first")):
        expect(row).not_to_have_class(re.compile(r"\bis-mine\b"))
    for visitor in (ann, ben, mona):
        expect(visitor.page.locator("#watching")).to_have_text("3 watching")


def removes_by_mouse(moderator: Visitor, number: int) -> None:
    moderator.row(number).hover()
    moderator.menu_button.click()
    moderator.menu.get_by_role("menuitem", name="Remove").click()


def restores_by_mouse(moderator: Visitor, number: int) -> None:
    moderator.row(number).get_by_role("button", name="undo").click()


def removes_by_keyboard(moderator: Visitor, number: int) -> None:
    moderator.stream.focus()
    moderator.page.keyboard.press("k")  # the newest
    moderator.page.keyboard.press("k")  # the one before it
    expect(moderator.row(number)).to_have_class(re.compile("is-selected"))
    moderator.page.keyboard.press("d")


def restores_by_keyboard(moderator: Visitor, number: int) -> None:
    expect(moderator.row(number)).to_have_class(re.compile("is-selected"))
    moderator.page.keyboard.press("u")


def removes_by_touch(moderator: Visitor, number: int) -> None:
    moderator.aims()
    moderator.row(number).tap()
    moderator.menu_button.tap()
    moderator.menu.get_by_role("menuitem", name="Remove").tap()


def restores_by_touch(moderator: Visitor, number: int) -> None:
    moderator.aims()
    moderator.row(number).get_by_role("button", name="undo").tap()


@pytest.mark.parametrize(
    ("removes", "restores", "screen"),
    [
        (removes_by_mouse, restores_by_mouse, WIDE),
        (removes_by_keyboard, restores_by_keyboard, WIDE),
        (removes_by_touch, restores_by_touch, PHONE),
    ],
    ids=["mouse", "keyboard", "touch"],
)
def test_a_moderator_takes_a_comment_out_of_every_page_and_puts_it_back(
    enter: Enter,
    slug: str,
    removes: Callable[[Visitor, int], None],
    restores: Callable[[Visitor, int], None],
    screen: dict[str, Any],
) -> None:
    ann, ben = enter().open(slug), enter().open(slug)
    mona = enter("mona", **screen).open(slug)
    ann.says("one")
    number = ann.says("two")
    ben.says("three")
    mona.sees("three")

    removes(mona, number)
    for visitor in (ann, ben):
        visitor.does_not_see("two")
        expect(visitor.row(number)).to_be_hidden()
        expect(visitor.row(number)).to_be_empty()
    struck = mona.sees("two")
    expect(struck.locator(".comment-removal")).to_have_text("Removed by Mona · undo")
    expect(struck.locator(".comment-body")).to_have_css("text-decoration-line", "line-through")

    # Who comes now sees the same.
    late, late_moderator = enter().open(slug), enter("mona").open(slug)
    assert late.bodies == ["one", "three"]
    expect(late_moderator.row(number).locator(".comment-removal")).to_contain_text(
        "Removed by Mona"
    )

    restores(mona, number)
    for visitor in (ann, ben, mona, late, late_moderator):
        visitor.sees("two")
        expect(visitor.row(number).locator(".comment-removal")).to_have_count(0)
        assert visitor.bodies == ["one", "two", "three"]


def test_who_signs_out_elsewhere_is_shown_no_more_of_what_was_removed(
    enter: Enter, site: Site, slug: str
) -> None:
    mona = enter("mona").open(slug)
    number = mona.says("two")
    mona.stream.focus()
    mona.page.keyboard.press("k")
    mona.page.keyboard.press("d")
    expect(mona.row(number).locator(".comment-removal")).to_be_visible()
    badge = mona.page.locator(".composer-as .comment-badge")
    expect(badge).to_have_text("mod")
    (cookie,) = (c for c in mona.context.cookies() if c["name"] == "sessionid")
    site.call(world.end_session, cookie["value"])
    mona.does_not_see("two")
    expect(mona.row(number)).to_have_count(0)
    expect(badge).to_be_hidden()


def test_one_removes_ones_own_comment_and_no_one_elses(enter: Enter, slug: str) -> None:
    ann, ben = enter().open(slug), enter().open(slug)
    mine = ann.says("mine")
    hers = ben.says("hers")
    ann.sees("hers")
    ann.row(hers).hover()
    expect(ann.menu_button).to_be_hidden()
    removes_by_mouse(ann, mine)
    for visitor in (ann, ben):
        visitor.does_not_see("mine")
        visitor.sees("hers")


SEND_AT_ONCE = """bodies => {
    const form = document.getElementById("composer");
    for (form.elements.body.value of bodies) form.requestSubmit();
}"""


def test_who_comments_too_fast_is_told_when_and_keeps_the_text(
    make_site: MakeSite,  # before people enter, so that it outlives their pages
    enter: Enter,
) -> None:
    hasty = make_site(RATE_VIEWER="2/3", RATE_ADDRESS="off")
    slug = hasty.video()
    ann, ben = enter(origin=hasty.origin).open(slug), enter(origin=hasty.origin).open(slug)
    ann.says("one")
    ann.says("two")
    ann.sends("three")
    expect(ann.notice).to_have_text(re.compile("^That was too fast. You can try again in"))
    expect(ann.page.locator("#countdown")).to_have_text(
        re.compile(r"You can try again in [123] s. Your text is kept.")
    )
    expect(ann.box).to_have_value("three")
    expect(ann.pending).to_have_count(0)
    expect(ann.notice).to_have_text("You can send it again now.")
    expect(ann.box).to_be_editable()
    ann.box.press("Enter")
    ann.sees("three")
    ben.sees("three")
    assert ben.bodies == ["one", "two", "three"]
    expect(ann.notice).to_be_hidden()

    # Of several that wait, the rest goes on by itself, in its order.
    said = ["four", "five", "six"]
    ann.page.evaluate(SEND_AT_ONCE, said)
    ann.box.fill("and typed on")
    expect(ann.page.locator("#countdown")).to_have_text(re.compile("What waits is sent in"))
    ann.page.locator("#rename-open").click()
    for name in ("Hasty", "Hastier"):
        ann.page.get_by_label("Your name").fill(name)
        ann.page.get_by_role("button", name="Save").click()
        if name == "Hasty":
            expect(ann.page.locator("#my-name")).to_have_text(name)
            ann.page.locator("#rename-open").click()
    expect(ann.page.locator("#countdown")).to_have_text(
        re.compile(r"You tried a name just now. You can try the next one in \d s\.")
    )
    ben.sees("six")
    assert ben.bodies[3:] == said
    expect(ann.box).to_have_value("and typed on")


def test_what_is_too_long_is_counted_and_comes_back(enter: Enter, site: Site) -> None:
    ann = enter().open(site.video(max_length=20))
    count = ann.page.locator("#count")
    ann.box.fill("short")
    expect(count).to_be_hidden()
    ann.box.fill("x" * 16)
    expect(count).to_have_text("16 / 20")
    # A reader counts a flag as one character, and so does the page.
    ann.box.fill("🇧🇩" * 18)
    expect(count).to_have_text("18 / 20")
    ann.sends("x" * 25)
    expect(count).to_have_text("25 / 20")
    expect(ann.notice).to_have_text("This is 5 characters too long; 20 is the most.")
    expect(ann.box).to_have_value("x" * 25)
    expect(ann.pending).to_have_count(0)
    ann.says("x" * 20)
    expect(ann.notice).to_be_hidden()


def test_the_admin_closes_opens_and_ends_a_room_in_every_page(enter: Enter, slug: str) -> None:
    ann, root = enter().open(slug), enter("root")
    form = ann.page.locator("#composer")
    closed = ann.page.get_by_text("Comments are closed for now.")
    ann.box.fill("not yet sent")

    def saves(field: str, value: str | bool) -> None:
        root.go("/admin/videos/video/")
        root.page.get_by_role("link", name=f"Video {slug}").click()
        if isinstance(value, bool):
            root.page.get_by_label(field).set_checked(value)
        else:
            root.page.get_by_role("combobox", name=field).select_option(value)
        root.page.get_by_role("button", name="Save", exact=True).click()
        expect(root.page.get_by_text("was changed successfully")).to_be_visible()

    saves("Accept comments", value=False)
    # What was being written stays to be read and copied.
    kept = ann.page.get_by_text("Comments are closed. Your text is kept.")
    expect(kept).to_be_visible()
    expect(closed).to_be_hidden()
    expect(ann.box).to_be_visible()
    expect(ann.box).not_to_be_editable()
    expect(ann.page.locator("#send")).to_be_hidden()
    saves("Accept comments", value=True)
    expect(kept).to_be_hidden()
    expect(form).to_be_visible()
    expect(ann.box).to_be_editable()
    expect(ann.box).to_have_value("not yet sent")
    ann.box.press("Enter")
    ann.sees("not yet sent")

    expect(ann.page.locator("#video-state")).to_contain_text("LIVE")
    saves("State", value="ended")
    expect(ann.page.locator("#video-state")).to_contain_text("Ended")
    expect(ann.page.get_by_text("This video has ended. Its comments stay here")).to_be_visible()
    expect(form).to_be_hidden()
    expect(kept).to_be_hidden()


def test_an_open_page_follows_its_room_in_every_place(enter: Enter, site: Site) -> None:
    slug = site.video("upcoming")
    ann = enter().open(slug)
    current = ann.page.locator(".site-shelves [aria-current]")
    empty = ann.page.locator(".stream-empty")
    expect(current).to_have_text("Upcoming")
    expect(empty).to_have_text("No comments yet. Say hello.", use_inner_text=True)
    site.call(world.set_state, slug, "live")
    expect(current).to_have_text("Live")
    site.call(world.set_stream, slug, accepting=False)
    expect(empty).to_have_text("There are no comments.", use_inner_text=True)
    site.call(world.set_stream, slug, accepting=True)
    expect(empty).to_have_text("No comments yet. Say hello.", use_inner_text=True)
    site.call(world.set_state, slug, "ended")
    expect(current).to_have_text("Past")
    expect(empty).to_have_text("There are no comments.", use_inner_text=True)


def test_the_admin_removes_in_bulk_from_every_page(enter: Enter, slug: str) -> None:
    ann, root = enter().open(slug), enter("root")
    for body in ("bulk one", "bulk two", "bulk three"):
        ann.says(body)
    root.go("/admin/comments/comment/?q=bulk")
    for body in ("bulk one", "bulk two"):
        root.page.locator("tr", has_text=body).locator(".action-select").check()
    root.page.get_by_label("Action:").select_option("remove_comments")
    root.page.locator("button[name=index]").click()
    expect(root.page.get_by_text("2 comments changed.")).to_be_visible()
    ann.does_not_see("bulk one")
    ann.does_not_see("bulk two")
    assert ann.bodies == ["bulk three"]


def test_staff_open_admin_with_a_password_and_a_code_of_the_phone(enter: Enter, site: Site) -> None:
    site.call(world.make_account, "sam", is_staff=True, is_superuser=True)
    sam = enter()

    def sign_in() -> None:
        sam.go("/admin/")
        sam.page.get_by_label("Username").fill("sam")
        sam.page.get_by_label("Password").fill(world.PASSWORD)
        sam.page.get_by_role("button", name="Log in").click()

    sign_in()
    sam.page.get_by_role("link", name="Second factor").click()
    picture = sam.page.get_by_role("img", name="QR code of the key")
    # A click returns before the next page has its stylesheets: these wait until they apply.
    expect(picture).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(picture).to_have_css("fill", "rgb(0, 0, 0)")
    box = picture.bounding_box()
    assert box is not None
    assert box["width"] == box["height"] > 150  # a phone can read it
    app = App(sam.page.locator(".key").inner_text())
    code = sam.page.get_by_role("textbox", name="Code")
    code.fill("nonsense")
    code.press("Enter")
    expect(sam.page.get_by_text("This code is not right.")).to_be_visible()
    site.call(forget_wrong_codes)
    code.fill(app.code())
    sam.page.get_by_role("button", name="Turn it on").click()
    expect(sam.page.locator(".codes > li")).to_have_count(10)
    sam.page.get_by_role("link", name="I have kept them").click()
    expect(sam.page.get_by_role("heading", name="Site administration")).to_be_visible()
    sam.page.get_by_role("button", name="Log out").click()

    sign_in()
    expect(sam.page.get_by_role("heading", name="One more step")).to_be_visible()
    code = sam.page.get_by_role("textbox", name="Code")
    expect(code).to_be_focused()
    code.fill(app.code())
    code.press("Enter")
    expect(sam.page.get_by_role("heading", name="Site administration")).to_be_visible()


def test_a_newcomer_makes_an_account_and_comments_under_its_name(enter: Enter, slug: str) -> None:
    ann, ben = enter().open(slug), enter().open(slug)
    ann.says("without account")
    ann.box.fill("a draft")
    ann.page.get_by_role("link", name="Sign up").click()
    ann.page.get_by_label("Name").fill("annabel")
    ann.page.get_by_label("Password", exact=True).fill(world.PASSWORD)
    ann.page.get_by_label("Password, once more").fill(world.PASSWORD)
    ann.page.locator(".form-button").click()
    expect(ann.page).to_have_url(f"{ann.origin}/videos/{slug}/")
    ann.is_live()
    expect(ann.page.locator("#my-name")).to_have_text("annabel")
    expect(ann.box).to_have_value("a draft")
    expect(ann.page.locator("#rename-open")).to_have_count(0)
    # What was said before is still one's own.
    expect(ann.row_of("without account")).to_have_class(re.compile("is-mine"))
    ann.says("with an account")
    assert look_of(ben.sees("with an account"))[0] == "annabel"

    ann.page.get_by_role("button", name="annabel").click()
    ann.page.get_by_role("button", name="Sign out").click()
    expect(ann.page).to_have_url(f"{ann.origin}/videos/{slug}/")
    ann.is_live()
    expect(ann.page.locator("#my-name")).not_to_have_text("annabel")
    expect(ann.row_of("with an account")).not_to_have_class(re.compile("is-mine"))
    said = ann.says("as somebody new")
    assert look_of(ben.sees("as somebody new"))[0] != "annabel"

    # Of this the account takes possession too, though it goes on as who it was before.
    ann.page.get_by_role("link", name="Sign in").click()
    ann.fills_in("annabel", world.PASSWORD)
    ann.is_live()
    for text in ("without account", "with an account", "as somebody new"):
        expect(ann.row_of(text)).to_have_class(re.compile("is-mine"))
    removes_by_mouse(ann, said)
    ann.does_not_see("as somebody new")
    ben.does_not_see("as somebody new")


def test_who_signs_in_on_the_way_comes_back_to_the_video_with_a_badge(
    enter: Enter, slug: str
) -> None:
    ann, ben = enter().open(slug), enter().open(slug)
    ann.page.get_by_role("link", name="Sign in").click()
    ann.fills_in("mona", "wrong")
    expect(ann.page.get_by_role("alert")).to_contain_text(
        "name and password do not belong together"
    )
    expect(ann.page.get_by_label("Name")).to_have_value("mona")
    ann.fills_in("mona", world.PASSWORD)
    expect(ann.page).to_have_url(f"{ann.origin}/videos/{slug}/")
    ann.is_live()
    ann.says("from a moderator")
    row = ben.sees("from a moderator")
    assert look_of(row)[0] == "Mona"
    expect(row.locator(".comment-badge")).to_have_text("mod")


def test_why_a_name_was_refused_stands_until_its_form_closes(enter: Enter, slug: str) -> None:
    ann = enter().open(slug)
    ann.page.locator("#rename-open").click()
    ann.page.get_by_label("Your name").fill("mona")
    ann.page.get_by_role("button", name="Save").click()
    expect(ann.notice).to_have_text(re.compile("belongs to an account"))
    ann.box.fill("meanwhile")
    expect(ann.notice).to_have_text(re.compile("belongs to an account"))
    ann.page.get_by_label("Your name").fill("  ")
    ann.page.get_by_role("button", name="Save").click()
    expect(ann.notice).to_have_text("Write a name first.")
    ann.page.get_by_role("button", name="Cancel").click()
    expect(ann.notice).to_be_hidden()


def test_a_draft_survives_a_reload(enter: Enter, slug: str) -> None:
    ann = enter().open(slug)
    ann.box.fill("half a thou")
    ann.page.reload()
    ann.is_live()
    expect(ann.box).to_have_value("half a thou")
    ann.says("half a thought")
    ann.page.reload()
    expect(ann.box).to_have_value("")


def test_an_upcoming_video_says_when_and_takes_comments(enter: Enter) -> None:
    ann = enter().open("upcoming-demo")
    expect(ann.page.locator("#video-state")).to_contain_text("Upcoming")
    expect(ann.page.locator(".player-words").first).to_have_text(
        re.compile("This video starts (in|tomorrow)")
    )
    expect(ann.page.locator("video")).to_have_count(0)
    ann.says("early")


def test_an_upcoming_video_that_starts_says_so_in_the_open_page(enter: Enter, site: Site) -> None:
    slug = site.video("upcoming")
    ann = enter().open(slug)
    site.call(world.set_state, slug, "live")
    expect(ann.page.locator("#video-state")).to_contain_text("LIVE")
    expect(ann.page.get_by_role("link", name="Watch now")).to_be_visible()


def test_a_past_video_plays_and_its_comments_are_there_to_read(enter: Enter) -> None:
    ann = enter().open("past-demo")
    expect(ann.page.locator("#video-state")).to_contain_text("Ended")
    expect(ann.page.locator("video")).to_have_js_property("controls", value=True)
    expect(ann.page.locator("video")).to_have_js_property("autoplay", value=False)
    expect(ann.page.locator("#composer")).to_be_hidden()
    assert ann.bodies[:2] == ["here already, tea in hand", "আজকের আকাশটা একদম পরিষ্কার"]
    expect(ann.row_of("there! a meteor")).to_be_visible()


def test_the_live_video_plays_by_itself_without_sound(enter: Enter) -> None:
    ann = enter().open("live-demo")
    video = ann.page.locator("video")
    expect(video).to_have_js_property("paused", value=False)
    expect(video).to_have_js_property("muted", value=True)
    expect(video).to_have_js_property("videoWidth", value=1280)


def test_a_video_that_cannot_be_played_says_so_calmly_and_comments_go_on(enter: Enter) -> None:
    ann = enter()
    ann.page.route(
        "**/media/**/*.mp4", lambda route: route.fulfill(status=200, body="this is no video")
    )
    ann.open("live-demo")
    message = ann.page.get_by_text("The video cannot be played right now.")
    expect(message).to_be_visible()
    expect(ann.page.locator("video")).to_have_js_property("controls", value=False)
    ann.says("and comments go on")


def test_a_page_that_is_not_there_says_what_to_do(enter: Enter) -> None:
    ann = enter().may_be_refused(404)
    ann.go("/videos/nowhere/")
    expect(ann.page.get_by_role("heading", level=1)).to_have_text(
        "There is no page at this address"
    )
    ann.page.get_by_role("link", name="See all videos").click()
    expect(ann.page).to_have_url(f"{ann.origin}/")


def test_the_list_has_live_upcoming_and_past_videos_in_this_order(enter: Enter) -> None:
    ann = enter()
    ann.go("/")
    assert ann.page.locator(".shelf-title").all_text_contents() == ["Live", "Upcoming", "Past"]
    ann.page.get_by_role("link", name="Sundarbans at dusk").click()
    ann.is_live()
    expect(ann.page.get_by_role("heading", level=1)).to_have_text(re.compile("Sundarbans"))
