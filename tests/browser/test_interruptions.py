"""A network that is cut, a server that restarts, a page that is left: nothing lost or doubled."""

import json
import re
import signal

import pytest
from playwright.sync_api import BrowserContext, Locator, Route, WebSocket, expect

from tests import world
from tests.browser import past
from tests.browser.conftest import Enter
from tests.browser.line import Line
from tests.browser.people import Visitor, eventually
from tests.client import Person
from tests.servers import Site

OFFLINE = re.compile(r"^Offline, trying again (in \d+ s|now)\.$")
# The delay before the browser comes back is drawn by lot; these draw short ones, and the longest.
SHORT_DELAYS = "Math.random = () => 0.2"
LONGEST_DELAYS = "Math.random = () => 0.999"


@pytest.fixture
def ann(enter: Enter, line: Line) -> Visitor:
    """Somebody whose network can be cut."""
    visitor = enter(origin=line.origin).may_lose_the_network()
    visitor.page.add_init_script(SHORT_DELAYS)
    return visitor


def is_offline(visitor: Visitor) -> None:
    expect(visitor.page.locator("#link-line")).to_have_text(OFFLINE)
    expect(visitor.page.locator("#link-line")).to_be_visible()


def mark(visitor: Visitor) -> None:
    """Leave a mark in the page that a reload would lose."""
    visitor.page.evaluate("() => { document.body.dataset.mark = 'here'; }")


def was_not_reloaded(visitor: Visitor) -> None:
    expect(visitor.page.locator("body")).to_have_attribute("data-mark", "here")


def bodies_in(site: Site, slug: str) -> list[str]:
    return [comment["body"] for comment in site.call(world.comments_of, slug)]


@pytest.mark.parametrize("late", ["htmx.min", "hx-ws.min", "hx-upsert.min", "link"])
def test_a_page_whose_scripts_come_late_and_out_of_order_is_live(
    enter: Enter, slug: str, late: str
) -> None:
    ann = enter()
    held: list[Route] = []
    ann.page.route(re.compile(rf"/{late}\.[0-9a-f]*\.?js"), lambda route: held.append(route))
    ann.page.goto(f"{ann.origin}/videos/{slug}/", wait_until="commit")
    eventually(lambda: bool(held), lambda: f"{late} is asked for", ann.page)
    # All that does not wait for it has been run.
    ann.page.evaluate("() => new Promise(done => setTimeout(done, 300))")
    held[0].continue_()
    ann.is_live()
    ann.says("after all")


def test_after_a_cut_the_page_is_exact_and_what_was_written_is_sent_once(
    ann: Visitor, ben: Person, mona: Person, line: Line, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 40)
    ann.open(slug)
    mark(ann)
    removed = ann.says("to be removed")
    ann.says("stays")
    line.cut()
    is_offline(ann)

    # Meanwhile: others go on, and so does Ann's typing.
    ann.box.fill("written in the")
    ben.say(slug, "said meanwhile")
    mona.act(slug, "remove", number=str(removed))
    ann.box.press_sequentially(" dark")
    ann.box.press("Enter")
    expect(ann.pending).to_have_text(re.compile("written in the dark waiting"))
    expect(ann.pending).to_be_in_viewport(ratio=1)
    expect(ann.notice).to_contain_text("Your comment is sent as soon as we are connected")
    for body in ("said in haste", "and a second"):
        ann.box.press_sequentially(body)
        ann.box.press("Enter")
    ann.box.press_sequentially("and on")
    expect(ann.notice).to_have_text("Your comments are sent as soon as we are connected.")
    expect(ann.box).to_have_value("and on")
    # What was not sent can be taken back: by a key here, by a finger elsewhere.
    pending_row(ann, "said in haste").get_by_role("button", name="Discard").press("Enter")
    expect(ann.stream).to_be_focused()
    expect(ann.pending).to_have_count(2)
    assert bodies_in(site, slug)[40:] == ["stays", "said meanwhile"]

    line.mend()
    expect(ann.page.locator("#link-line")).to_have_text("Back.")
    ann.sees("and a second")
    expect(ann.pending).to_have_count(0)
    expect(ann.box).to_have_value("and on")
    expect(ann.notice).to_be_hidden()
    expect(ann.row(removed)).to_be_hidden()
    expect(ann.row(removed)).to_be_empty()
    assert ann.bodies[40:] == ["stays", "said meanwhile", "written in the dark", "and a second"]
    assert bodies_in(site, slug) == ann.bodies
    ann.is_at_the_bottom()
    was_not_reloaded(ann)
    ben.say(slug, "and on it goes")
    ann.sees("and on it goes")


def test_a_comment_whose_answer_was_lost_is_sent_again_with_its_key_and_stored_once(
    ann: Visitor, line: Line, site: Site, slug: str
) -> None:
    sent: list[str] = []

    def note(payload: str | bytes) -> None:
        frame = json.loads(payload)
        if frame["action"] == "post":
            sent.append(frame["key"])

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", note)

    ann.page.on("websocket", listen)
    ann.open(slug)
    line.swallow_answers()
    ann.sends("once and only once")
    eventually(
        lambda: site.call(past.keys_of, slug, "once and only once"), lambda: "stored", ann.page
    )
    expect(ann.pending).to_have_text(re.compile("sending"))
    ann.box.press_sequentially("and typed on")
    line.cut()
    is_offline(ann)
    # Perhaps it is there already: it is not dropped then, and it is said why.
    expect(ann.pending).to_contain_text("It may have been sent already")
    expect(ann.pending.get_by_role("button")).to_have_count(0)
    line.mend()
    ann.sees("once and only once")
    expect(ann.pending).to_have_count(0)
    expect(ann.box).to_have_value("and typed on")
    assert ann.bodies == ["once and only once"]
    eventually(lambda: len(sent) >= 2, lambda: f"sent again: {sent}", ann.page)
    assert site.call(past.keys_of, slug, "once and only once") == list(set(sent))


def test_a_draft_is_kept_through_a_cut_and_is_not_sent_by_itself(
    ann: Visitor, line: Line, site: Site, slug: str
) -> None:
    ann.open(slug)
    ann.box.fill("still thinking")
    line.cut()
    is_offline(ann)
    line.mend()
    ann.is_live()
    expect(ann.box).to_have_value("still thinking")
    assert bodies_in(site, slug) == []


def test_a_browser_that_is_back_on_line_does_not_wait(
    enter: Enter, line: Line, ben: Person, slug: str
) -> None:
    ann = enter(origin=line.origin).may_lose_the_network()
    ann.page.add_init_script(LONGEST_DELAYS)
    ann.open(slug)
    ann.context.set_offline(True)
    line.cut()
    # The second try is 4 s away.
    expect(ann.page.locator("#link-line")).to_have_text(re.compile(r"in 4 s\.$"))
    ben.say(slug, "while away")
    line.mend()
    ann.context.set_offline(False)
    expect(ann.page.locator("#panel[data-link=open]")).to_be_attached(timeout=2500)
    ann.sees("while away")


def test_after_a_long_absence_the_page_shows_the_latest_and_reads_back(
    ann: Visitor, line: Line, site: Site, slug: str
) -> None:
    site.call(past.write, slug, 5)
    ann.open(slug)
    mark(ann)
    line.cut()
    is_offline(ann)
    site.call(past.write, slug, 520, 6)
    line.mend()
    ann.sees("comment 525")
    was_not_reloaded(ann)
    # The latest 50, where the server had read on by then; else what was missed, pruned to some 200.
    first = ann.numbers[0]
    assert first == 476 or 200 <= 526 - first <= 220
    assert ann.numbers == list(range(first, 526))
    ann.is_at_the_bottom()
    expect(ann.page.locator("#new-comments")).to_be_hidden()
    ann.page.locator("#older").click()
    ann.sees(f"comment {first - 50}")
    assert ann.numbers == list(range(first - 50, 526))


def test_a_restart_of_the_server_is_survived(enter: Enter, site: Site, slug: str) -> None:
    ann = enter().may_lose_the_network()
    ann.page.add_init_script(SHORT_DELAYS)
    ann.open(slug)
    mark(ann)
    ann.says("before")
    site.restart()
    ann.sends("after")
    ann.sees("after")
    expect(ann.pending).to_have_count(0)
    assert ann.bodies == bodies_in(site, slug) == ["before", "after"]
    was_not_reloaded(ann)


DELAYS = [2, 4, 8, 16, *[30] * 8]  # seconds, the longest: four and a half minutes


def test_a_server_that_is_gone_for_minutes_is_tried_at_bounded_intervals_and_found_again(
    enter: Enter, site: Site, slug: str
) -> None:
    ann = enter().may_lose_the_network()
    ann.page.add_init_script(LONGEST_DELAYS)
    ann.page.clock.install()
    tries: list[WebSocket] = []
    posts: list[str] = []

    def note(payload: str | bytes) -> None:
        frame = json.loads(payload)
        if frame["action"] == "post":
            posts.append(frame["body"])

    def listen(socket: WebSocket) -> None:
        tries.append(socket)
        socket.on("framesent", note)

    def tried(times: int) -> None:
        eventually(lambda: len(tries) == times, lambda: f"{len(tries)}, not {times}", ann.page)

    ann.page.on("websocket", listen)
    ann.open(slug)
    mark(ann)
    removed = ann.says("to be removed")
    ann.says("stays")
    # From here on the page's time stands still, but for what this test lets pass.
    ann.page.clock.pause_at(ann.page.evaluate("() => Date.now()") / 1000 + 5)
    tried(1)
    site.end_server(by=signal.SIGKILL)

    ann.box.fill("typed in the dark")
    for number, seconds in enumerate(DELAYS, start=1):
        expect(ann.page.locator("#link-line")).to_have_text(
            f"Offline, trying again in {seconds} s."
        )
        # Read aloud once, not with every second.
        expect(ann.page.locator("#link-state")).to_have_text("Offline.")
        tried(number)
        if number == len(DELAYS) // 2:
            expect(ann.box).to_have_value("typed in the dark")
            expect(ann.pending).to_have_count(0)
            ann.box.press("Enter")
        if number < len(DELAYS):
            ann.page.clock.run_for(seconds * 1000)
    expect(ann.pending).to_have_text(re.compile("typed in the dark waiting"))
    expect(ann.notice).to_contain_text("sent as soon as we are connected")
    expect(ann.box).to_have_value("")

    # Meanwhile, from other processes:
    said = [f"said meanwhile {n}" for n in range(1, 4)]
    doings = [["post", slug, body, "--as", "alice"] for body in said]
    for doing in [*doings, ["remove", slug, str(removed), "--as", "mona"]]:
        done = site.manage("comment", *doing)
        assert done.returncode == 0, done.stdout
    site.start_server()
    assert bodies_in(site, slug) == ["stays", *said]

    ann.page.clock.run_for(DELAYS[-1] * 1000)
    ann.sees("typed in the dark")
    expect(ann.pending).to_have_count(0)
    expect(ann.box).to_have_value("")
    expect(ann.notice).to_be_hidden()
    expect(ann.row(removed)).to_be_hidden()
    assert ann.bodies == bodies_in(site, slug) == ["stays", *said, "typed in the dark"]
    assert posts == ["to be removed", "stays", "typed in the dark"]
    tried(len(DELAYS) + 1)
    was_not_reloaded(ann)
    ann.page.clock.resume()
    ann.says("and on it goes")


# --- leaving and coming back ----------------------------------------------------------------------


@pytest.mark.parametrize("cached", [True, False], ids=["from-the-page-cache", "loaded-anew"])
def test_who_goes_back_finds_the_page_exact_and_alive(
    enter: Enter, request: pytest.FixtureRequest, ben: Person, mona: Person, slug: str, cached: bool
) -> None:
    browser = request.getfixturevalue("with_page_cache" if cached else "chromium")
    ann = enter(browser=browser).open(slug)
    removed = ann.says("to be removed")
    ann.says("stays")
    ann.box.fill("a draft")
    mark(ann)
    ann.page.get_by_role("link", name="Streamsite").click()
    expect(ann.page.locator(".shelf").first).to_be_visible()
    ben.say(slug, "said meanwhile")
    mona.act(slug, "remove", number=str(removed))
    ann.page.go_back(wait_until="commit")  # a page from the cache is not loaded
    expect(ann.page.locator("body[data-mark]")).to_have_count(1 if cached else 0)
    ann.is_live()
    ann.sees("said meanwhile")
    ann.does_not_see("to be removed")
    assert ann.bodies == ["stays", "said meanwhile"]
    expect(ann.box).to_have_value("a draft")
    ben.say(slug, "said now")
    ann.sees("said now")
    ann.box.press("Enter")
    ann.sees("a draft")
    assert ann.bodies == ["stays", "said meanwhile", "said now", "a draft"]


def test_a_page_in_the_background_rests_and_resumes_exactly(
    enter: Enter, with_tabs: BrowserContext, ben: Person, mona: Person, slug: str
) -> None:
    ann = enter(context=with_tabs)
    sockets: list[WebSocket] = []

    def listen(socket: WebSocket) -> None:
        sockets.append(socket)

    def visibility() -> str:
        found: str = ann.page.evaluate("() => document.visibilityState")
        return found

    ann.page.on("websocket", listen)
    removed = ann.open(slug).says("to be removed")
    ann.box.fill("a draft")

    in_front = ann.context.new_page()
    eventually(sockets[0].is_closed, lambda: "the socket is closed", ann.page)
    assert visibility() == "hidden"
    stands_at = ann.page.locator("#comments").get_attribute("data-cursor")
    ben.say(slug, "said meanwhile")
    mona.act(slug, "remove", number=str(removed))
    in_front.close()
    ann.sees("said meanwhile")
    assert visibility() == "visible"
    ann.does_not_see("to be removed")
    expect(ann.box).to_have_value("a draft")
    ann.says("back again")
    assert ann.bodies == ["said meanwhile", "back again"]
    _first, second = sockets
    assert f"?cursor={stands_at}&" in second.url


# --- what only the page can notice ----------------------------------------------------------------


def test_a_new_history_leaves_ones_own_comments_ones_own(
    enter: Enter, site: Site, slug: str
) -> None:
    """A reset replaces the list; nothing older is offered where there is nothing older."""
    ann = enter().open(slug)
    ann.says("hello")
    row = ann.row(1)
    expect(row).to_have_class(re.compile(r"\bis-mine\b"))
    before = ann.page.locator("#comments").get_attribute("data-cursor")
    code, printed = site.command("new_epochs")
    assert code == 0, printed
    expect(ann.page.locator("#comments")).not_to_have_attribute("data-cursor", before or "")
    expect(row).to_have_class(re.compile(r"\bis-mine\b"))
    expect(ann.page.locator("#older")).to_be_hidden()


def test_a_browser_that_says_it_is_offline_is_believed(enter: Enter, site: Site, slug: str) -> None:
    ann = enter().may_lose_the_network()
    ann.page.add_init_script(SHORT_DELAYS)
    ann.open(slug)
    ann.context.set_offline(True)
    is_offline(ann)
    ann.sends("typed without a network")
    expect(ann.notice).to_have_text("Your comment is sent as soon as we are connected.")
    ann.context.set_offline(False)
    ann.sees("typed without a network")
    assert bodies_in(site, slug) == ["typed without a network"]


def test_a_dead_link_that_the_browser_takes_for_alive_is_left(
    ann: Visitor, line: Line, slug: str, ben: Person
) -> None:
    """No frame for 40 s: the page comes back by itself, and has what it missed."""
    ann.page.clock.install()
    ann.open(slug)
    mark(ann)
    line.swallow_answers()
    ben.say(slug, "while the line was dead")
    ann.page.clock.fast_forward(46_000)
    is_offline(ann)
    line.mend()
    # What it tried meanwhile may hang as well: seen at one look, given up at a later one.
    ann.page.clock.fast_forward(6_000)
    ann.page.clock.fast_forward(16_000)
    ann.sees("while the line was dead")
    was_not_reloaded(ann)


def test_two_tabs_of_one_person_show_the_same_and_know_what_is_their_own(
    enter: Enter, slug: str
) -> None:
    ann = enter().open(slug)
    tab = Visitor(ann.context, ann.context.new_page(), ann.origin)
    tab.open(slug)
    number = ann.says("from the first tab")
    tab.sees("from the first tab")
    assert tab.says("from the second tab") > number
    ann.sees("from the second tab")
    for visitor in (ann, tab):
        assert visitor.bodies == ["from the first tab", "from the second tab"]
        expect(visitor.page.locator("#comments .is-mine")).to_have_count(2)


def test_whose_cookies_are_cleared_reads_on_and_is_told_why_writing_fails(
    ann: Visitor, line: Line, slug: str, ben: Person
) -> None:
    ann.open(slug)
    mark(ann)
    ann.context.clear_cookies()
    line.cut()
    is_offline(ann)
    ben.say(slug, "said meanwhile")
    line.mend()
    ann.sees("said meanwhile")
    ann.sends("still me?")
    expect(ann.notice).to_contain_text("Reload it to go on")
    expect(ann.box).to_have_value("still me?")
    was_not_reloaded(ann)


def test_a_clock_that_is_set_back_does_not_hide_a_dead_link(
    ann: Visitor, line: Line, slug: str, ben: Person
) -> None:
    ann.page.clock.install()
    ann.open(slug)
    ann.page.clock.set_system_time(ann.page.evaluate("() => Date.now()") / 1000 - 3600)
    line.swallow_answers()
    ben.say(slug, "while the line was dead")
    ann.page.clock.run_for(51_000)
    # Not "in 3601 s", either.
    expect(ann.page.locator("#link-line")).to_have_text(re.compile(r"(in \d s|now)\.$"))
    line.mend()
    ann.page.clock.run_for(21_000)
    ann.sees("while the line was dead")


def test_a_clock_that_is_set_back_does_not_lengthen_a_wait(ann: Visitor, slug: str) -> None:
    ann.page.clock.install()
    ann.open(slug)
    ann.page.evaluate(
        """() => { document.getElementById("answers").innerHTML =
            '<p data-refused="" data-code="too_fast" data-retry-after="8">Too fast.</p>'; }"""
    )
    countdown = ann.page.locator("#countdown")
    expect(countdown).to_have_text(re.compile(r"in [78] s\."))
    ann.page.clock.set_system_time(ann.page.evaluate("() => Date.now()") / 1000 - 3600)
    ann.page.clock.run_for(2000)
    expect(countdown).to_have_text(re.compile(r"in [3-6] s\."))

    # At the end its words go, once they were in view for a while, and nothing moves.
    ann.page.evaluate(HIDE, True)
    ann.page.clock.run_for(60_000)
    expect(ann.notice).to_have_text("You can send it again now.")
    expect(ann.notice).to_be_visible()
    height = room_for_comments(ann)
    ann.page.evaluate(HIDE, False)
    ann.is_live()
    ann.page.clock.run_for(9000)
    expect(ann.notice).to_be_hidden()
    assert room_for_comments(ann) == height


def room_for_comments(visitor: Visitor) -> int:
    found: int = visitor.stream.evaluate("stream => stream.clientHeight")
    return found


# A page cannot be hidden by hand; with_tabs can, but its clock stands with the others'.
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_that_is_shown_after_a_while_waits_for_a_slow_line(
    ann: Visitor, line: Line, slug: str
) -> None:
    ann.page.clock.install()
    tries: list[WebSocket] = []
    ann.page.on("websocket", lambda socket: tries.append(socket))
    ann.open(slug)
    ann.page.evaluate(HIDE, True)
    eventually(tries[0].is_closed, lambda: "the socket is closed", ann.page)
    ann.page.clock.fast_forward(60_000)
    line.swallow_answers()
    ann.page.evaluate(HIDE, False)
    eventually(lambda: len(tries) == 2, lambda: f"{len(tries)} sockets", ann.page)
    ann.page.clock.run_for(11_000)  # two looks
    assert ann.page.locator("#panel").get_attribute("data-link") == "open"
    # But not for ever.
    ann.page.clock.run_for(11_000)
    is_offline(ann)
    line.mend()
    ann.page.clock.run_for(21_000)
    ann.says("here again")


# --- what cannot be sent, and what nobody answered ------------------------------------------------

# The server's next answer to an action is lost; all else arrives.
LOSE_AN_ANSWER = """() => {
    const panel = document.getElementById("panel");
    panel.addEventListener("htmx:ws:before:message:incoming", function lose(event) {
        if (!event.detail.message.data.includes('hx-target="#answers"')) return;
        event.preventDefault();
        panel.removeEventListener(event.type, lose);
        document.body.dataset.lost = "an answer";
    });
}"""
SOCKET = "document.getElementById('panel')._htmx.ws.connection.socket"
# With a code of the test's choice, as most cannot be had from the server.
CLOSE = f"""code => {{
    Object.defineProperty(CloseEvent.prototype, "code", {{ get: () => code, configurable: true }});
    {SOCKET}.close();
}}"""


@pytest.fixture
def posts(ann: Visitor) -> list[str]:
    """The keys of the posts that ann's page sends, one for each time."""
    found: list[str] = []

    def note(payload: str | bytes) -> None:
        if '"action":"post"' in str(payload):
            found.append(json.loads(payload)["key"])

    ann.page.on("websocket", lambda socket: socket.on("framesent", note))
    return found


def an_answer_is_lost(visitor: Visitor) -> None:
    """Of what was sent since LOSE_AN_ANSWER: it is done, and the page cannot know."""
    expect(visitor.page.locator("body[data-lost]")).to_be_attached()


def pending_row(visitor: Visitor, body: str) -> Locator:
    """The row of a comment that is not known to stand yet."""
    return visitor.pending.filter(has=visitor.page.get_by_text(body, exact=True))


def text_is_back(visitor: Visitor, body: str) -> None:
    """In the box, to be changed or sent again."""
    expect(visitor.box).to_have_value(body)
    expect(visitor.box).to_be_editable()
    expect(visitor.pending).to_have_count(0)


@pytest.mark.parametrize(
    ("most", "body", "reason"),
    [
        (500, "line of a log file, pasted by mistake " * 1900, "This is 71699 characters too long"),
        (2000, "👨‍👩‍👧‍👦" * 1900, "This is too long to be sent."),
    ],
    ids=["a-log-file", "families"],
)
def test_what_is_too_long_to_be_sent_is_refused_by_the_page_itself(
    ann: Visitor, ben: Person, site: Site, posts: list[str], most: int, body: str, reason: str
) -> None:
    slug = site.video(max_length=most)
    ann.open(slug)
    ann.box.fill(body)
    if most == 500:  # it is said before it is sent
        expect(ann.notice).to_have_text("A comment has at most 500 characters.")
        expect(ann.box).to_have_attribute("aria-invalid", "true")
    ann.box.press("Enter")
    expect(ann.notice).to_contain_text(reason)
    text_is_back(ann, body)

    # Nor is it sent by a reload, also where the page before thought that it was on its way.
    ann.page.evaluate(
        """body => {
            const { slug, as } = document.getElementById("panel").dataset;
            const key = "00000000-0000-4000-8000-000000000000";
            const entries = [{ key, body: body.trim(), as, isSent: true, reason: "" }];
            sessionStorage.setItem(`unsettled:${slug}`, JSON.stringify({ entries }));
        }""",
        body,
    )
    ann.page.reload()
    ann.is_live()
    expect(ann.notice).to_have_text("This is too long to be sent. Make it shorter.")
    text_is_back(ann, body)
    ben.say(slug, "and others go on")
    ann.sees("and others go on")
    assert posts == []
    ann.says("short")


def test_a_page_comes_back_after_every_code_that_is_not_for_good(
    ann: Visitor, ben: Person, slug: str
) -> None:
    tries: list[WebSocket] = []
    ann.page.on("websocket", lambda socket: tries.append(socket))
    ann.open(slug)
    mark(ann)

    def tried(times: int, code: int) -> None:
        eventually(lambda: len(tries) == times, lambda: f"back after {code}", ann.page)

    for times, code in enumerate([1000, 1002, 1003, 1007, 1008, 1009, 1010, 1015, 3000], start=2):
        ann.page.evaluate(CLOSE, code)
        tried(times, code)
        ben.say(slug, f"after {code}")
        ann.sees(f"after {code}")
        ann.is_live()
    was_not_reloaded(ann)


def test_a_text_that_closed_the_connection_is_given_back_and_never_doubled(
    ann: Visitor, ben: Person, site: Site, slug: str, posts: list[str]
) -> None:
    ann.open(slug)
    ann.page.evaluate(LOSE_AN_ANSWER)
    ann.sends("perhaps too long")
    an_answer_is_lost(ann)
    # The server closes this with 1009, and the page cannot know that the post was none of it.
    ann.page.evaluate(f"() => {SOCKET}.send('x'.repeat(70000))")
    expect(ann.notice).to_have_text("This is too long to be sent. Make it shorter.")
    text_is_back(ann, "perhaps too long")
    ann.is_live()
    ben.say(slug, "and others go on")
    ann.sees("and others go on")
    ann.page.reload()
    ann.is_live()
    ben.say(slug, "and on")
    ann.sees("and on")
    assert len(posts) == 1
    text_is_back(ann, "perhaps too long")
    ann.box.press("Enter")
    expect(ann.box).to_have_value("")
    assert len(posts) == 2
    assert bodies_in(site, slug) == ["perhaps too long", "and others go on", "and on"]


def test_a_text_that_is_cut_off_every_time_is_given_back_at_last(
    ann: Visitor, ben: Person, site: Site, slug: str, posts: list[str]
) -> None:
    """As by a filter in between that dislikes it: the page must not flap for ever."""
    ann.page.add_init_script("Math.random = () => 0")
    ann.page.add_init_script(
        """const { send } = WebSocket.prototype;
        let cuts = 0;
        WebSocket.prototype.send = function (data) {
            if (!data.includes("disliked")) return send.call(this, data);
            document.documentElement.dataset.cuts = ++cuts;
            this.close();
        };"""
    )
    ann.open(slug)
    ann.sends("disliked")
    expect(ann.notice).to_contain_text("This did not work so far.")
    text_is_back(ann, "disliked")
    cuts = ann.page.locator("html[data-cuts='30']")
    expect(cuts).to_be_attached()
    ben.say(slug, "and others go on")
    ann.sees("and others go on")
    expect(cuts).to_be_attached()
    ann.page.reload()
    ann.says("liked")
    expect(ann.page.locator("html[data-cuts]")).to_have_count(0)


def test_a_page_that_was_sent_away_for_good_sends_its_texts_once_when_it_is_reloaded(
    ann: Visitor, site: Site, slug: str, posts: list[str]
) -> None:
    ann.open(slug)
    ann.page.evaluate(LOSE_AN_ANSWER)
    ann.sends("only once please")
    an_answer_is_lost(ann)
    ann.page.evaluate(CLOSE, 4408)
    expect(ann.page.locator("#link-state")).to_contain_text("Reload it to go on.")
    # One sentence to be seen, not two that say the same.
    expect(ann.page.locator("#link-line")).to_be_hidden()
    expect(ann.notice).to_have_text("Your comment is kept. Reload this page to send it.")
    expect(ann.pending).to_contain_text("It may have been sent already")
    said = [f"and {number}" for number in range(2, 21)]
    for body in said:
        ann.sends(body)
    expect(ann.notice).to_have_text("Your comments are kept. Reload this page to send them.")
    # Twenty may wait.
    ann.sends("one too many")
    expect(ann.notice).to_contain_text("Twenty of your comments wait already.")
    expect(ann.box).to_have_value("one too many")
    expect(ann.pending).to_have_count(20)
    ann.page.reload()
    ann.is_live()
    text_is_back(ann, "one too many")
    ann.sees(said[-1])
    assert ann.bodies == bodies_in(site, slug) == ["only once please", *said]
    assert len(posts) == 21
    assert posts[0] == posts[1]


def test_what_was_changed_or_taken_back_since_is_not_sent_by_a_reload(
    ann: Visitor, site: Site, slug: str, posts: list[str]
) -> None:
    ann.open(slug)
    ann.page.evaluate(CLOSE, 4408)
    for body in ("said in haste", "never mind"):
        ann.sends(body)
    expect(ann.notice).to_contain_text("Reload this page to send them.")
    pending_row(ann, "never mind").get_by_role("button", name="Discard").click()
    ann.pending.get_by_role("button", name="Put back").click()
    expect(ann.box).to_have_value("said in haste")
    expect(ann.box).to_be_focused()
    ann.box.fill("said with care")
    ann.page.reload()
    ann.is_live()
    text_is_back(ann, "said with care")
    ann.says("and more")
    assert bodies_in(site, slug) == ["and more"]
    assert len(posts) == 1


def test_whose_session_ended_before_the_answer_came_finds_the_comment_after_signing_in(
    enter: Enter, line: Line, site: Site, slug: str
) -> None:
    mona = enter("mona", origin=line.origin).may_lose_the_network()
    mona.page.add_init_script(SHORT_DELAYS)
    mona.open(slug)
    mona.page.evaluate(LOSE_AN_ANSWER)
    mona.sends("only once please")
    an_answer_is_lost(mona)
    # Signed out elsewhere: the page comes back as nobody, and sends the text again.
    mona.context.clear_cookies()
    line.cut()
    line.mend()
    expect(mona.notice).to_contain_text("Reload it to go on")
    text_is_back(mona, "only once please")
    mona.signs_in("mona").open(slug)
    text_is_back(mona, "only once please")
    mona.box.press("Enter")
    expect(mona.box).to_have_value("")
    assert mona.bodies == bodies_in(site, slug) == ["only once please"]


def test_a_text_on_its_way_is_not_sent_in_another_persons_name(
    ann: Visitor, line: Line, site: Site, slug: str
) -> None:
    ann.open(slug)
    ann.page.evaluate(CLOSE, 4408)
    ann.sends("mine, not yours")
    expect(ann.notice).to_contain_text("Reload this page to send it.")
    ann.context.clear_cookies()
    ann.page.reload()
    ann.is_live()
    text_is_back(ann, "mine, not yours")
    ann.says("said by somebody else")
    assert bodies_in(site, slug) == ["said by somebody else"]


def test_what_is_written_as_one_is_not_said_as_another_who_came_in_another_tab(
    ann: Visitor, line: Line, site: Site, slug: str
) -> None:
    ann.open(slug)
    ann.context.clear_cookies()
    tab = ann.context.new_page()
    tab.goto(ann.page.url)
    tab.close()
    line.cut()
    is_offline(ann)
    line.mend()
    ann.is_live()
    ann.sends("mine, not yours")
    expect(ann.notice).to_contain_text("somebody else in this browser")
    text_is_back(ann, "mine, not yours")
    assert bodies_in(site, slug) == []


def test_an_acknowledgement_that_comes_after_a_refusal_counts(
    ann: Visitor, site: Site, slug: str, posts: list[str]
) -> None:
    """Sent twice, as the first answer took too long: refused, and then taken."""
    ann.open(slug)
    ann.page.evaluate(LOSE_AN_ANSWER)
    ann.sends("slowly")
    an_answer_is_lost(ann)
    answer = "(html) => { document.getElementById('answers').innerHTML = html; }"
    refused = f'<p data-refused="{posts[0]}" data-code="closed">Comments are closed.</p>'
    ann.page.evaluate(answer, refused)
    text_is_back(ann, "slowly")
    ann.page.evaluate(answer, f'<p data-ack="{posts[0]}" data-action="post" data-number="1"></p>')
    expect(ann.box).to_have_value("")
    expect(ann.notice).to_be_hidden()


def test_what_is_refused_while_one_types_on_stays_in_its_row_with_the_reason(
    ann: Visitor, site: Site, slug: str, posts: list[str]
) -> None:
    ann.open(slug)
    answer = "(html) => { document.getElementById('answers').innerHTML = html; }"
    for number, body in enumerate(["first", "second"]):
        ann.page.evaluate(LOSE_AN_ANSWER)
        ann.sends(body)
        an_answer_is_lost(ann)
        ann.box.fill("typed on")
        ann.page.evaluate(
            answer, f'<p data-refused="{posts[number]}" data-code="closed">Comments are closed.</p>'
        )
        row = pending_row(ann, body)
        expect(row).to_contain_text("not sent Comments are closed.")
        ann.page.evaluate("() => { delete document.body.dataset.lost; }")
    expect(ann.notice).to_contain_text("A comment was not sent.")
    expect(ann.box).to_have_value("typed on")
    ann.page.reload()
    ann.is_live()
    expect(ann.pending).to_have_count(2)
    expect(ann.box).to_have_value("typed on")
    pending_row(ann, "first").get_by_role("button", name="Put back").press("Enter")
    expect(ann.box).to_have_value("first\ntyped on")
    expect(ann.box).to_be_focused()
    ann.pending.get_by_role("button", name="Discard").press("Enter")
    expect(ann.pending).to_have_count(0)
    assert len(posts) == 2


def test_where_nothing_can_be_stored_comments_are_sent_all_the_same(
    ann: Visitor, slug: str
) -> None:
    ann.page.add_init_script(
        "for (const name of ['getItem', 'setItem', 'removeItem'])"
        " Storage.prototype[name] = () => { throw new DOMException('no', 'SecurityError'); };"
    )
    ann.open(slug)
    ann.says("all is well")


def test_a_frame_that_the_server_could_not_read_is_given_back(ann: Visitor, slug: str) -> None:
    """Where it reads less than the page thinks: it cannot say whose frame that was."""
    ann.open(slug)
    ann.page.evaluate(LOSE_AN_ANSWER)
    ann.sends("longer than it looks")
    ann.page.evaluate(
        """() => { document.getElementById("answers").innerHTML =
            '<p data-refused="" data-code="too_long">This message is too long.</p>'; }"""
    )
    expect(ann.notice).to_have_text("This message is too long.")
    text_is_back(ann, "longer than it looks")


def test_what_another_version_of_the_page_has_stored_harms_nothing(ann: Visitor, slug: str) -> None:
    ann.open(slug)
    ann.page.evaluate("slug => sessionStorage.setItem(`unsettled:${slug}`, '{not json')", slug)
    ann.page.reload()
    ann.says("all is well")


def test_a_comment_that_is_gone_when_its_answer_comes_does_not_hang_at_the_end(
    ann: Visitor, mona: Person, site: Site, slug: str
) -> None:
    ann.page.clock.install()
    ann.open(slug)
    ann.page.evaluate(LOSE_AN_ANSWER)
    ann.sends("removed meanwhile")
    an_answer_is_lost(ann)
    ann.page.evaluate(CLOSE, 4408)
    mona.act(slug, "remove", number="1")
    ann.page.reload()
    ann.page.wait_for_function(
        "slug => !sessionStorage.getItem(`unsettled:${slug}`)", arg=slug
    )  # the answer has come
    ann.page.clock.run_for(11_000)
    expect(ann.pending).to_have_count(0)
    assert ann.bodies == []


# --- actions on comments --------------------------------------------------------------------------


@pytest.fixture
def staff(enter: Enter, line: Line, slug: str, ben: Person) -> Visitor:
    """A moderator whose network can be cut, at a comment of ben's."""
    visitor = enter("mona", origin=line.origin).may_lose_the_network()
    visitor.page.add_init_script(SHORT_DELAYS)
    visitor.open(slug)
    ben.say(slug, "about this")
    visitor.sees("about this").click()
    visitor.stream.focus()
    return visitor


def test_a_removal_whose_answer_was_lost_does_not_undo_what_was_decided_since(
    staff: Visitor, mona: Person, line: Line, site: Site, slug: str
) -> None:
    removals: list[str | bytes] = []

    def note(payload: str | bytes) -> None:
        if '"remove"' in str(payload):
            removals.append(payload)

    staff.page.on("websocket", lambda socket: socket.on("framesent", note))
    line.swallow_answers()
    staff.page.keyboard.press("d")
    eventually(lambda: bodies_in(site, slug) == [], lambda: "it is removed", staff.page)
    line.cut()
    is_offline(staff)
    mona.act(slug, "restore", number="1")
    line.mend()
    expect(staff.notice).to_have_text("This comment has changed meanwhile, so nothing was done.")
    staff.says("and on")
    expect(staff.notice).to_be_hidden()
    assert removals == []
    assert bodies_in(site, slug) == staff.bodies == ["about this", "and on"]


def test_a_removal_pressed_without_a_connection_is_done_when_there_is_one(
    staff: Visitor, line: Line, site: Site, slug: str
) -> None:
    line.cut()
    is_offline(staff)
    staff.page.keyboard.press("d")
    expect(staff.notice).to_contain_text("This is done as soon as we are connected.")
    expect(staff.row(1)).to_have_attribute("data-fate", "waiting")
    line.mend()
    expect(staff.row(1).locator(".comment-removal")).to_contain_text("Removed by Mona")
    expect(staff.row(1)).not_to_have_attribute("data-fate", "waiting")
    expect(staff.notice).to_be_hidden()
    assert bodies_in(site, slug) == []


# An answer overtakes what a page missed, where that had to be read from the database.
ANSWER_FIRST = """() => {
    const panel = document.getElementById("panel");
    panel.addEventListener("htmx:ws:after:connection", () => {
        const message = { data: '<hx-partial hx-target="#answers" hx-swap="innerHTML">' };
        const arrived = new CustomEvent("htmx:ws:after:message:incoming", { detail: { message } });
        panel.dispatchEvent(arrived);
    });
}"""


def test_a_removal_pressed_without_a_connection_is_not_done_to_what_has_changed(
    staff: Visitor, mona: Person, line: Line, site: Site, slug: str
) -> None:
    staff.page.evaluate(ANSWER_FIRST)
    line.cut()
    is_offline(staff)
    staff.page.keyboard.press("d")
    expect(staff.notice).to_contain_text("This is done as soon as we are connected.")
    for action in ("remove", "restore"):
        mona.act(slug, action, number="1")
    line.mend()
    expect(staff.notice).to_have_text("This comment has changed meanwhile, so nothing was done.")
    assert bodies_in(site, slug) == ["about this"]
