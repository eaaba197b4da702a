"""What a person typed: made safe to store and show, measured, and its links found.

Nothing here makes HTML. `parts` gives templates plain pieces, which autoescaping renders.
"""

import unicodedata
from dataclasses import dataclass

import regex
from django.utils.translation import gettext as _
from linkify_it import LinkifyIt

from comments.errors import Code, Refused

# Bidirectional embeddings, overrides and isolates (UAX 9): they reorder the text around them.
BIDI_CONTROLS = regex.compile("[\u202a-\u202e\u2066-\u2069]")
# Control characters, lone surrogates and noncharacters; newline and tab stay.
FORBIDDEN = regex.compile(r"[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}--[\n\t]]", regex.V1)
# Marks stacked on one base: no script in use needs more than 6 (Hebrew with cantillation has 4).
MARKS_AT_MOST = 6
STACKED = regex.compile(rf"(\p{{M}}{{{MARKS_AT_MOST}}})\p{{M}}+")
LINES_AT_MOST = 10  # one comment must not push all others out of the window
# What a reader cannot see: space, format characters, and letters that are drawn as nothing.
INVISIBLE = regex.compile(r"[\s\p{Z}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800\p{M}]+")
UNSEEN = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}--[\u200c\u200d]]", regex.V1)
# A family emoji is one character to a reader and seven code points; 10 is room for that.
CODE_POINTS_PER_CHARACTER = 10

_links = LinkifyIt(options={"fuzzy_email": False, "fuzzy_ip": False})
for _schema in ("ftp:", "mailto:", "//"):
    _links.add(_schema, None)  # only http and https pages become links


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a comment: plain text, or a link when `url` is set."""

    text: str
    url: str = ""


def length(text: str) -> int:
    """How many characters a reader counts (extended grapheme clusters, UAX 29)."""
    if text.isascii() and "\r" not in text:
        return len(text)
    return len(regex.findall(r"\X", text))


def clean(text: object) -> str:
    """The text in the form it is stored in: NFC, trimmed, stacked marks capped.

    Raises Refused: `malformed` for what is not text or holds control or bidi characters, `empty`
    where nothing would be seen.
    """
    if not isinstance(text, str):
        raise Refused(Code.MALFORMED, _("A text was expected."))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if FORBIDDEN.search(text) or BIDI_CONTROLS.search(text):
        raise Refused(
            Code.MALFORMED, _("This text holds control characters. Remove them and try again.")
        )
    text = STACKED.sub(r"\1", unicodedata.normalize("NFC", text)).strip()
    if not INVISIBLE.sub("", text):
        raise Refused(Code.EMPTY, _("Write something first."))
    return text


def clean_name(name: object) -> str:
    """A name in the form it is stored in: as `clean`, on one line, without look-alikes of format.

    NFKC makes one letter of full-width and other compatibility forms, and what is drawn as nothing
    is left out: so a name that looks like an account's compares equal to it. Raises Refused.
    """
    plain = unicodedata.normalize("NFKC", clean(name))
    return clean(" ".join(UNSEEN.sub("", plain).split()))


def require_length(text: str, most: int) -> None:
    """Refuse (`too_long`) more than `most` characters, or more than 10 lines."""
    if text.count("\n") >= LINES_AT_MOST:
        raise Refused(
            Code.TOO_LONG, _("A comment has at most %(most)d lines.") % {"most": LINES_AT_MOST}
        )
    if len(text) <= most:
        return
    if len(text) > most * CODE_POINTS_PER_CHARACTER or (over := length(text) - most) > 0:
        over = max(1, length(text[: most * CODE_POINTS_PER_CHARACTER]) - most)
        raise Refused(
            Code.TOO_LONG,
            _("This is %(over)d characters too long; %(most)d is the most.")
            % {"over": over, "most": most},
        )


def parts(text: str) -> list[Part]:
    """The text in pieces, addresses of http and https pages apart from the rest."""
    if "." not in text and "://" not in text:
        return [Part(text)]
    found = []
    end = 0
    for match in _links.match(text) or ():
        if match.index > end:
            found.append(Part(text[end : match.index]))
        found.append(Part(match.raw, match.url))
        end = match.last_index
    if end < len(text):
        found.append(Part(text[end:]))
    return found
