"""What is typed is shown as typed, and nothing of it ever becomes markup but links."""

import unicodedata
import uuid
from datetime import UTC, datetime

import pytest
from django.template.loader import get_template
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comments.errors import Code, Refused
from comments.models import Comment, Viewer
from comments.stream import fragment
from comments.text import MARKS_AT_MOST, clean, length, parts, require_length
from tests.hostile import TEXTS
from tests.page import Element, Row, parse


def refusal_of(text: object) -> Code:
    with pytest.raises(Refused) as refused:
        clean(text)
    return refused.value.code


def shown(body: str, name: str = "Somebody") -> Element:
    """The fragment of a comment with this text, parsed."""
    comment = Comment(
        number=1,
        change=1,
        author=Viewer(handle="aa"),
        key=uuid.uuid4(),
        author_name=name,
        body=body,
        posted_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    (element,) = parse(fragment(comment, staff=False)).elements
    return element


# --- Cleaning -----------------------------------------------------------------------------------


def test_text_is_stored_in_nfc() -> None:
    assert clean("Zoe\u0308") == "Zo\u00eb"
    assert clean("\u1112\u1161\u11ab") == "\ud55c"


def test_line_ends_become_newlines_and_the_ends_are_trimmed() -> None:
    assert clean("  one\r\ntwo\rthree\n\n ") == "one\ntwo\nthree"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t",
        "\u00a0",
        "\u200b",
        "\u200b\u200d\u2060",
        "\u00ad",
        "\u2800",
        "\u3164",
        "\u115f\u1160",
        "\uffa0",
        "\ufe0f",
        "\u0301",
        "\u034f",
        "\U000e0041",
        "\u3000 \u2003",
    ],
)
def test_what_nobody_can_see_is_empty(text: str) -> None:
    assert refusal_of(text) == Code.EMPTY


@pytest.mark.parametrize(
    "character",
    [chr(code) for code in (*range(9), 0xB, 0xC, *range(0xE, 0x20), *range(0x7F, 0xA0))]
    + ["\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"]
    + ["\ud800", "\udfff", "\ufdd0", "\ufffe", "\U0010ffff"],
)
def test_control_characters_are_refused(character: str) -> None:
    assert refusal_of(f"before{character}after") == Code.MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇧🇩",
        "فارسی می‌خواهم",
        "עִבְרִית \u200fRTL",
        "क्षि ক্ষি",
        "e\u0301",
        "<b>",
        "one\ntwo\tthree",
        "שָׁ֖",
        "ﷺ",
        "ก็ำ",
        "Ａ",
    ],
)
def test_every_script_is_taken_as_it_is(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)


def test_stacked_marks_are_capped() -> None:
    assert clean("a" + "\u0335" * 500 + "b") == "a" + "\u0335" * MARKS_AT_MOST + "b"
    towers = "".join(letter + "\u0316\u0317" * 40 for letter in "zalgo")
    assert len(clean(towers)) == 5 * (1 + MARKS_AT_MOST)


@given(st.text(max_size=60))
@example("a\u0300\u0301" * 9)
@example("\u1100\u1161\u11a8")
@settings(deadline=None, max_examples=300)
def test_clean_text_stays_as_it_is_when_cleaned_again(text: str) -> None:
    try:
        once = clean(text)
    except Refused:
        return
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)


# --- Length -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("abc", 3),
        ("e\u0301", 1),
        ("ক্ষি", 1),
        ("👨‍👩‍👧‍👦", 1),
        ("🇧🇩🇩🇪", 2),
        ("a\nb", 3),
        ("한국", 2),
        ("", 0),
    ],
)
def test_characters_are_counted_as_a_reader_does(text: str, characters: int) -> None:
    assert length(text) == characters


def test_a_text_that_is_too_long_says_by_how_much() -> None:
    with pytest.raises(Refused, match="3 characters too long; 500") as refused:
        require_length("👨‍👩‍👧‍👦" * 503, 500)
    assert refused.value.code == Code.TOO_LONG
    require_length("👨‍👩‍👧‍👦" * 500, 500)


def test_one_character_of_very_many_code_points_is_too_long() -> None:
    with pytest.raises(Refused):
        require_length("a" + "\u200d" * 6000, 500)


# --- Links and markup ---------------------------------------------------------------------------


def links_of(text: str) -> list[tuple[str, str]]:
    body = shown(text).of_class("comment-body")
    assert body is not None
    return [(link.attributes["href"], link.text) for link in body.elements]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("see https://example.com/a?b=c&d=e#f.", ("https://example.com/a?b=c&d=e#f", None)),
        ("HTTP://EXAMPLE.COM/", ("HTTP://EXAMPLE.COM/", None)),
        ("(www.example.com)", ("https://www.example.com", "www.example.com")),
        ("see https://example.com/a_(b), it is", ("https://example.com/a_(b)", None)),
        ('https://example.com/"onmouseover="alert(1)', ("https://example.com/", None)),
        ("https://пример.рф/путь", ("https://пример.рф/путь", None)),
    ],
)
def test_addresses_of_pages_become_links(text: str, link: tuple[str, str | None]) -> None:
    ((href, words),) = links_of(text)
    assert href.startswith(link[0])
    assert words in text
    assert link[1] in {None, words}


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.com/x",
        "mailto:a@example.com",
        "//example.com/x",
        "someone@example.com",
        "vbscript:x.com",
        "file:///etc/passwd",
        "1.5",
        "...",
    ],
)
def test_nothing_else_becomes_a_link_of_its_own_kind(text: str) -> None:
    for href, _words in links_of(text):
        assert href.lower().startswith(("http://", "https://"))
    if "example.com" not in text and "x.com" not in text:
        assert links_of(text) == []


def test_links_lead_out_without_our_blessing() -> None:
    link = shown("https://example.com").having("href")
    assert link is not None
    assert link.attributes["rel"].split() == ["nofollow", "noopener", "ugc"]


def must_show(element: Element, body: str, name: str) -> None:
    row = Row.of(element)
    assert (row.body, row.name) == (body, name)
    text = element.of_class("comment-body")
    assert text is not None
    for inside in list(text)[1:]:
        assert inside.tag == "a"
        assert set(inside.attributes) == {"href", "target", "rel"}
        assert inside.attributes["href"].lower().startswith(("http://", "https://"))
    tags = [inside.tag for inside in element if inside not in list(text)[1:]]
    assert set(tags) <= {"li", "bdi", "span", "time"}


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_texts_are_shown_as_typed(text: str) -> None:
    must_show(shown(text, name=text[:30]), text, text[:30])


WORDS = st.lists(
    st.sampled_from(
        [
            "<",
            ">",
            "&",
            '"',
            "'",
            "`",
            "=",
            "/",
            "script",
            "img src=x onerror=alert(1)",
            "&lt;",
            "&#60;",
            "<!--",
            "-->",
            "]]>",
            "{{",
            "}}",
            "{%",
            "%}",
            "http://",
            "https://",
            "example.com",
            "javascript:",
            "www.",
            "@",
            " ",
            "\n",
            "é",
            "ক্ষি",
            "👨‍👩‍👧‍👦",
            "\u200f",
            "\\",
            "\u2028",
        ]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)


@given(WORDS, WORDS)
@settings(deadline=None, max_examples=400)
def test_any_text_parses_back_to_exactly_what_was_typed(body: str, name: str) -> None:
    try:
        body, name = clean(body), clean(name)
    except Refused:
        return
    assert "".join(part.text for part in parts(body)) == body
    must_show(shown(body, name), body, name)


@pytest.mark.parametrize("staff", [False, True])
@pytest.mark.parametrize("state", ["visible", "removed"])
@pytest.mark.parametrize("badge", ["", "mod"])
@pytest.mark.parametrize(
    "text", ["%(name)s 100% %%", "<b>'\"&amp;</b>", "see https://example.org/?a&b"]
)
def test_the_short_way_to_a_fragment_is_what_the_template_says(
    text: str, badge: str, state: str, *, staff: bool
) -> None:
    comment = Comment(
        number=7,
        change=9,
        author=Viewer(handle="ab12"),
        key=uuid.uuid4(),
        author_name=f"A {text[:20]}",
        badge=badge,
        body=text,
        state=state,
        removed_by=text if state == "removed" else "",
        posted_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    )
    is_shown = staff or state == "visible"
    pieces = parts(text)
    expected = get_template("comments/_comment.html").render(
        {
            "number": "7",
            "change": "9",
            "handle": "ab12",
            "colour": str(comment.author.colour),
            "name": comment.author_name,
            "badge": badge,
            "removed": state == "removed",
            "removed_by": comment.removed_by,
            "shown": is_shown,
            "body": text,
            "parts": pieces if any(piece.url for piece in pieces) else None,
            "posted_at": "2026-01-02T03:04:00+00:00",
            "clock": "03:04",
        }
    )
    found = fragment(comment, staff=staff)
    assert found == expected
    assert hasattr(found, "__html__"), "or the page would escape it once more"
