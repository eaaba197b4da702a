"""What frames do to a page, fast enough for hundreds of pages in one process.

The same meaning as tests.page.PageModel, which reads every frame as HTML and asserts its form; here
each distinct frame is read once, by regular expressions, and violations are counted, not raised.
tests/faults/test_the_fast_page.py holds the two against each other.
"""

import re
import zlib
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from html import unescape
from itertools import pairwise

WINDOW = 50  # visible comments in a page or reset; fewer mean that the page has all of them

_RESET = re.compile(
    r'<hx-partial hx-target="#comments"[^>]* data-cursor="([^"]*)"[^>]*>(.*?)</hx-partial>',
    re.DOTALL,
)
_ANSWERS = re.compile(r'<hx-partial hx-target="#answers"[^>]*>(.*?)</hx-partial>', re.DOTALL)
_ROW = re.compile(r"<li ([^>]*)>(.*?)</li>", re.DOTALL)
_ATTRIBUTE = re.compile(r'([a-z-]+)(?:="([^"]*)")?')
_BODY = re.compile(r'<span class="comment-body"[^>]*>(.*?)</span>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_TIME = re.compile(r'<time[^>]* datetime="([^"]*)"')
_CURSOR = re.compile(r'data-cursor="([^"]*)"')
_ANSWER = re.compile(r"<p ([^>]*)>")
_LIST = re.compile(r'<ol[^>]* id="comments"[^>]* data-cursor="([^"]*)"[^>]*>(.*?)</ol>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class State:
    """One `<li>`: a comment in one of its states."""

    number: int
    change: int
    removed: bool
    text: str  # empty where nothing is shown
    posted_at: float  # seconds since 1970; 0 where it is not shown

    @property
    def is_new(self) -> bool:
        return self.change == self.number


@dataclass(frozen=True, slots=True)
class Answer:
    key: str
    code: str  # empty: acknowledged
    action: str
    number: int
    retry_after: float


@dataclass(frozen=True, slots=True)
class Parsed:
    states: tuple[State, ...]
    window: tuple[State, ...] | None
    cursor: str
    answers: tuple[Answer, ...]


def _attributes(text: str) -> dict[str, str]:
    return {name: value or "" for name, value in _ATTRIBUTE.findall(text)}


def _states(html: str) -> tuple[State, ...]:
    found = []
    for attributes_text, inner in _ROW.findall(html):
        attributes = _attributes(attributes_text)
        body = _BODY.search(inner)
        time = _TIME.search(inner)
        found.append(
            State(
                int(attributes["data-number"]),
                int(attributes["data-change"]),
                attributes.get("data-state") == "removed",
                unescape(_TAG.sub("", body[1])) if body and "hidden" not in attributes else "",
                datetime.fromisoformat(time[1]).timestamp() if time else 0.0,
            )
        )
    return tuple(found)


def _answer(attributes_text: str) -> Answer:
    attributes = _attributes(attributes_text)
    refused = "data-refused" in attributes
    return Answer(
        attributes["data-refused" if refused else "data-ack"],
        attributes["data-code"] if refused else "",
        attributes.get("data-action", ""),
        int(attributes.get("data-number", 0)),
        float(attributes.get("data-retry-after", 0)),
    )


def parse(html: str) -> Parsed:
    window, cursor = None, ""
    if reset := _RESET.search(html):
        cursor, window = reset[1], _states(reset[2])
        html = html.replace(reset[0], "", 1)
    answers = tuple(
        _answer(attributes)
        for part in _ANSWERS.findall(html)
        for attributes in _ANSWER.findall(part)
    )
    cursors = _CURSOR.findall(html)
    return Parsed(_states(html), window, cursors[-1] if cursors else cursor, answers)


@lru_cache(maxsize=1024)
def read(payload: bytes, compressed: bool) -> Parsed:
    """A message as it came; the same bytes are read once for all the pages that are sent them."""
    if compressed:
        payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
    return parse(payload.decode())


@dataclass(slots=True)
class Page:
    """The list of one open page. Keeps all that it saw; a reset replaces it."""

    rows: dict[int, State] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)  # the list on screen, from the top
    epoch: str = ""
    change: int = -1
    floor: int = 0  # the list is whole from this number on
    resets: int = 0
    doubled: int = 0  # an id twice
    disordered: int = 0  # a list, or the changes of a frame, or the cursor, not ascending

    @classmethod
    def of_html(cls, html: str) -> "Page":
        match = _LIST.search(html)
        assert match is not None, "the page has a list of comments"
        page = cls()
        page._replace(_states(match[2]))
        page._move(match[1])
        return page

    def copy(self) -> "Page":
        return Page(dict(self.rows), list(self.order), self.epoch, self.change, self.floor)

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.change}"

    def apply(self, frame: Parsed) -> bool:
        """Do with the list what a browser does. Whether the cursor moved."""
        if frame.window is not None:
            self.resets += 1
            self._replace(frame.window)
            self.epoch = ""
        if frame.states:
            self._upsert(frame.states)
        return bool(frame.cursor) and self._move(frame.cursor)

    def _replace(self, states: tuple[State, ...]) -> None:
        self.order = [state.number for state in states]
        self.rows = {state.number: state for state in states}
        self.doubled += len(self.order) - len(self.rows)
        self.disordered += not _ascending(self.order)
        visible = sum(not state.removed for state in states)
        self.floor = self.order[0] if visible >= WINDOW else 0

    def _upsert(self, states: tuple[State, ...]) -> None:
        rows, order = self.rows, self.order
        before = 0
        seen = set()
        for state in states:
            number = state.number
            self.doubled += number in seen
            seen.add(number)
            self.disordered += state.change <= before
            before = state.change
            known = rows.get(number)
            rows[number] = state
            if known is not None:
                self.disordered += state.change < known.change
            elif not order or number > order[-1]:
                order.append(number)
            else:
                insort(order, number)

    def _move(self, cursor: str) -> bool:
        epoch, _, change_text = cursor.partition("-")
        change = int(change_text)
        moved = (epoch, change) != (self.epoch, self.change)
        self.disordered += epoch == self.epoch and change < self.change
        self.epoch, self.change = epoch, change
        return moved


def _ascending(numbers: Iterable[int]) -> bool:
    found = list(numbers)
    return all(a < b for a, b in pairwise(found))
