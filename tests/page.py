"""A page as a browser would have it after the frames it was sent, without a browser.

`parse` reads HTML into a small tree and refuses what is not well formed. `PageModel` does with a
frame what htmx does with it: states are upserted by id and sorted by number, a reset replaces the
list, everything else goes to its target. It asserts at every frame what must always hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser

VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr path".split()
)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def elements(self) -> list["Element"]:
        return [child for child in self.children if isinstance(child, Element)]

    def __iter__(self) -> Iterator["Element"]:
        """Itself and every element inside it, in the order of the document."""
        yield self
        for child in self.elements:
            yield from child

    def having(self, attribute: str, value: str | None = None) -> "Element | None":
        """The first element with the attribute (of that value)."""
        for element in self:
            if attribute in element.attributes and value in (None, element.attributes[attribute]):
                return element
        return None

    def of_class(self, name: str) -> "Element | None":
        for element in self:
            if name in element.attributes.get("class", "").split():
                return element
        return None


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Element:
    """The elements of a document or frame, under a root without name."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.open == [parser.root], f"<{parser.open[-1].tag}> is never closed"
    return parser.root


@dataclass(frozen=True)
class Row:
    """One `<li>` of the list."""

    number: int
    change: int
    author: str
    hidden: bool
    state: str
    name: str
    body: str
    badge: str
    html: Element = field(compare=False, repr=False)

    @classmethod
    def of(cls, element: Element) -> "Row":
        number = element.attributes["data-number"]
        assert element.tag == "li"
        assert element.attributes["id"] == f"c-{number}"
        body, name = element.of_class("comment-body"), element.of_class("comment-author")
        badge = element.of_class("badge")
        hidden = "hidden" in element.attributes
        assert hidden == (not element.children), "a hidden row is empty, a shown one is not"
        return cls(
            int(number),
            int(element.attributes["data-change"]),
            element.attributes["data-author"],
            hidden,
            element.attributes.get("data-state", "visible"),
            name.text if name else "",
            body.text if body else "",
            badge.text if badge else "",
            element,
        )


@dataclass(frozen=True)
class Answer:
    """What an action came to: `code` is empty for an acknowledgement."""

    key: str
    code: str
    sentence: str
    retry_after: int | None
    number: int | None
    name: str
    action: str

    @property
    def is_ack(self) -> bool:
        return not self.code

    @classmethod
    def of(cls, element: Element) -> "Answer":
        found = element.attributes
        refused = "data-refused" in found
        return cls(
            found["data-refused" if refused else "data-ack"],
            found["data-code"] if refused else "",
            element.text,
            int(found["data-retry-after"]) if "data-retry-after" in found else None,
            int(found["data-number"]) if "data-number" in found else None,
            found.get("data-name", ""),
            found.get("data-action", ""),
        )


@dataclass
class Frame:
    """What one frame of the server says."""

    states: list[Row] = field(default_factory=list)
    window: list[Row] | None = None  # of a reset: all that the list holds from now on
    cursors: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    targets: dict[str, Element] = field(default_factory=dict)


@lru_cache(maxsize=256)
def read(text: str) -> Frame:
    """Parse a frame, once for all the pages that are sent it. Asserts that it is one."""
    frame = Frame()
    root = parse(text)
    for element in root.elements:
        if element.tag == "li":
            frame.states.append(Row.of(element))
            continue
        assert element.tag == "hx-partial", f"<{element.tag}> in a frame"
        target = element.attributes.get("hx-target", "")
        if target == "#comments":
            assert element.attributes["hx-swap"] == "innerHTML"
            frame.window = [Row.of(row) for row in element.elements]
        elif target == "#answers":
            frame.answers += [Answer.of(answer) for answer in element.elements]
        elif target:
            frame.targets[target] = element
    frame.cursors = [e.attributes["data-cursor"] for e in root if "data-cursor" in e.attributes]
    if frame.states or frame.window is not None:
        assert frame.cursors, "a frame that changes comments moves the cursor"
    return frame


class PageModel:
    """The comments of one open page, and what else frames say to it."""

    def __init__(self, html: str = "") -> None:
        self.rows: dict[int, Row] = {}  # by number, ascending
        self.cursor = ""
        self.resets = 0
        self.targets: dict[str, Element] = {}  # what a frame last put there, by selector
        if html:
            page = parse(html)
            role = page.having("id", "role")
            self.targets["#role"] = role or Element("")
            comments = page.having("id", "comments")
            assert comments is not None, "the page has a list of comments"
            self.cursor = comments.attributes["data-cursor"]
            self._replace([Row.of(element) for element in comments.elements])

    @property
    def epoch(self) -> str:
        return self.cursor.partition("-")[0]

    @property
    def change(self) -> int:
        """The change that the cursor stands at; -1 without a cursor."""
        return int(self.cursor.partition("-")[2] or -1)

    @property
    def shown(self) -> list[Row]:
        """What a reader sees, in order."""
        return [row for row in self.rows.values() if not row.hidden]

    @property
    def bodies(self) -> list[str]:
        return [row.body for row in self.shown]

    @property
    def watching(self) -> int | None:
        element = self.targets.get("#watching")
        data = element.having("value") if element else None
        return int(data.attributes["value"]) if data else None

    @property
    def room(self) -> str:
        """`open`, `closed` or `ended`, as the last frame about it says; empty before one."""
        element = self.targets.get("#room")
        room = element.having("data-room") if element else None
        return room.attributes["data-room"] if room else ""

    @property
    def staff(self) -> bool:
        """Whether the page has the tools of a moderator."""
        element = self.targets.get("#role")
        role = element.having("data-staff") if element else None
        return role is not None and role.attributes["data-staff"] == "true"

    def apply(self, text: str) -> list[Answer]:
        """Do what a browser does with the frame; the answers in it."""
        frame = read(text)
        if frame.window is not None:
            self.resets += 1
            self._replace(frame.window)
        self.targets |= frame.targets
        self._upsert(frame.states)
        for cursor in frame.cursors:
            self._move(cursor)
        return frame.answers

    def _replace(self, states: list[Row]) -> None:
        self.rows = {}
        self._upsert(states)

    def _upsert(self, states: list[Row]) -> None:
        numbers = [row.number for row in states]
        assert len(numbers) == len(set(numbers)), f"a comment is twice in one frame: {numbers}"
        append = not self.rows or not numbers or min(numbers) > next(reversed(self.rows))
        self.rows |= {row.number: row for row in states}
        if not append or numbers != sorted(numbers):
            self.rows = dict(sorted(self.rows.items()))

    def _move(self, cursor: str) -> None:
        before, epoch = self.change, self.epoch
        self.cursor = cursor
        assert self.epoch != epoch or self.change >= before or self.resets, "the cursor went back"
