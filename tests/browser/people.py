"""People in front of a browser: what they do in the page, and what they see there."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    WebError,
    expect,
)

from tests import world

# What a browser writes to its console when a test has cut its network or stopped the server.
NETWORK = re.compile(r"WebSocket connection to .* failed|net::ERR_|^htmx: htmx:ws:error")


@dataclass
class Visitor:
    """One person with one browser context (cookies of its own) and one page in it."""

    context: BrowserContext
    page: Page
    origin: str
    allowed: list[re.Pattern[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.on("console", self._console)
        self.context.on("weberror", self._error)
        self.page.on("dialog", self._dialog)

    # --- what must not happen -------------------------------------------------------------------

    def _console(self, message: ConsoleMessage) -> None:
        # A violation of the page's policy is written here too.
        is_allowed = any(pattern.search(message.text) for pattern in self.allowed)
        if message.type == "error" and not is_allowed:
            self.problems.append(message.text)

    def _error(self, error: WebError) -> None:
        self.problems.append(f"uncaught: {error.error}")

    def _dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def may_lose_the_network(self) -> "Visitor":
        self.allowed.append(NETWORK)
        return self

    def may_be_refused(self, status: int) -> "Visitor":
        """The console names every answer that is an error, also where that is what is tested."""
        self.allowed.append(re.compile(f"status of {status}"))
        return self

    # --- where ------------------------------------------------------------------------------------

    def go(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def open(self, slug: str) -> "Visitor":
        """Open a video's page and wait until it is live."""
        self.go(f"/videos/{slug}/")
        self.is_live()
        return self

    def is_live(self) -> None:
        # A page whose server was away comes back by itself: after a few tries it waits for 16 s.
        expect(self.page.locator("#panel[data-link=open]")).to_be_attached(timeout=30_000)

    # --- what is there ----------------------------------------------------------------------------

    @property
    def box(self) -> Locator:
        return self.page.locator("#body")

    @property
    def notice(self) -> Locator:
        return self.page.locator("#notice")

    @property
    def stream(self) -> Locator:
        return self.page.locator("#stream")

    @property
    def rows(self) -> Locator:
        """The comments that are shown."""
        return self.page.locator("#comments > li:not([hidden])")

    @property
    def pending(self) -> Locator:
        return self.page.locator("#pending > li")

    @property
    def menu(self) -> Locator:
        return self.page.locator("#row-menu")

    @property
    def menu_button(self) -> Locator:
        return self.page.locator("#row-menu-button")

    def row(self, number: int) -> Locator:
        return self.page.locator(f"#c-{number}")

    def row_of(self, body: str) -> Locator:
        """The shown comment that says exactly this."""
        exactly = re.compile(f"^{re.escape(body)}$")
        return self.rows.filter(has=self.page.locator(".comment-body", has_text=exactly))

    @property
    def bodies(self) -> list[str]:
        return self.rows.locator(".comment-body").all_text_contents()

    @property
    def numbers(self) -> list[int]:
        """The numbers of all rows, in the order of the list."""
        script = "rows => rows.map(row => Number(row.dataset.number))"
        found: list[int] = self.page.locator("#comments > li").evaluate_all(script)
        return found

    @property
    def change(self) -> int:
        """The change that this page stands at."""
        cursor = self.page.locator("#comments").get_attribute("data-cursor") or ""
        return int(cursor.rpartition("-")[2])

    # --- what a person does -----------------------------------------------------------------------

    def aims(self) -> None:
        """Look where a comment stands for as long as people do before they touch it."""
        self.page.wait_for_timeout(350)

    def sees(self, body: str) -> Locator:
        row = self.row_of(body)
        expect(row).to_be_visible()
        return row

    def does_not_see(self, body: str) -> None:
        expect(self.row_of(body)).to_have_count(0)

    def sends(self, body: str) -> None:
        """Write and press Enter; what becomes of it is not waited for."""
        self.box.fill(body)
        self.box.press("Enter")

    def says(self, body: str) -> int:
        """Send a comment and see it stand; its number."""
        self.sends(body)
        row = self.sees(body)
        expect(self.pending).to_have_count(0)
        expect(self.box).to_have_value("")
        return int(row.get_attribute("data-number") or 0)

    def reaches(self, change: int) -> None:
        """Until the page stands at this change or beyond."""
        eventually(lambda: self.change >= change, lambda: f"{self.change} of {change}", self.page)

    def is_at_the_bottom(self) -> None:
        script = "at => at.scrollHeight - at.scrollTop - at.clientHeight < 2"
        eventually(
            lambda: self.stream.evaluate(script), lambda: "the stream is not at its end", self.page
        )

    def top_of(self, body: str) -> float:
        """Where in the window a comment stands, to the fraction of a pixel."""
        script = "row => row.getBoundingClientRect().top"
        found: float = self.row_of(body).evaluate(script)
        return found

    def signs_in(self, username: str, password: str = world.PASSWORD) -> "Visitor":
        """Through the page, as everybody does."""
        self.go("/accounts/login/")
        self.fills_in(username, password)
        expect(self.page).to_have_url(f"{self.origin}/")
        return self

    def fills_in(self, username: str, password: str) -> None:
        self.page.get_by_label("Name").fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.locator(".form-button").click()


def eventually(
    condition: Callable[[], object], what: Callable[[], str], page: Page, seconds: float = 10.0
) -> None:
    """Until the condition holds, for what no locator can expect; the page goes on meanwhile."""
    steps = int(seconds / 0.02)
    for _ in range(steps):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError(what())
