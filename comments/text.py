"""What a person typed: made safe to store and show, measured, and its links found.

Nothing here makes HTML. `parts` gives templates plain pieces, which autoescaping renders.
"""

import unicodedata
from dataclasses import dataclass

import regex
from django.utils.translation import gettext as _

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
ALIKE = [regex.compile(rf"\p{{Script={name}}}") for name in ("Latin", "Greek", "Cyrillic")]
NAME_CHARACTERS = 30
NAME_CODE_POINTS = 120  # room for 30 of nearly every script, and 17 families
# A family emoji is one character to a reader and seven code points; 10 is room for that.
CODE_POINTS_PER_CHARACTER = 10
CODE_POINTS_AT_MOST = 2000 * CODE_POINTS_PER_CHARACTER  # the longest that an admin can allow
LINE_BREAK = regex.compile("\r\n|[\r\u2028\u2029]")

# An address as people paste it. Linear, unlike a library's guess at host names (one of 110
# characters of `xn--a.` kept linkify-it-py busy for seconds); what is odd about a host does no
# harm in an escaped attribute.
ADDRESS = regex.compile(r"""(?<![\p{L}\p{N}])(?:https?://|www\.)[^\s<>"\p{Z}\p{Cf}]+""", regex.I)
# What ends a sentence or closes a bracket around an address rather than belonging to it.
TRAILING = ".,;:!?'\"*_~)]}»”’…।"
CLOSING = {")": "(", "]": "[", "}": "{"}


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


def clean(text: object, *, is_name: bool = False) -> str:
    """The text in the form it is stored in: NFC, trimmed, stacked marks capped.

    With `is_name` the sentences speak of a name.
    Raises Refused: `malformed` for what is not text or holds control or bidi characters, `empty`
    where nothing would be seen.
    """
    if not isinstance(text, str):
        raise Refused(Code.MALFORMED, _("A text was expected."))
    # Before any work: nothing that could be stored is longer, and marks sort in quadratic time.
    if len(text) > CODE_POINTS_AT_MOST:
        raise Refused(Code.TOO_LONG, _("This text is too long."))
    text = LINE_BREAK.sub("\n", text)
    if FORBIDDEN.search(text) or BIDI_CONTROLS.search(text):
        raise Refused(
            Code.MALFORMED,
            _("This name holds control characters. Remove them and try again.")
            if is_name
            else _("This text holds control characters. Remove them and try again."),
        )
    text = _capped(unicodedata.normalize("NFC", _capped(text))).strip()
    if not INVISIBLE.sub("", text):
        raise Refused(
            Code.EMPTY, _("Write a name first.") if is_name else _("Write something first.")
        )
    return text


def _capped(text: str) -> str:
    return STACKED.sub(r"\1", text)


def clean_name(name: object) -> str:
    """A name in the form it is stored in: as `clean`, on one line, without look-alikes of format.

    NFKC makes one letter of full-width and other compatibility forms, and what is drawn as nothing
    is left out. Latin, Greek and Cyrillic letters are not mixed in one name, since they look
    alike. Raises Refused.
    """
    require_length(clean(name, is_name=True), NAME_CHARACTERS)
    plain = unicodedata.normalize("NFKC", clean(name, is_name=True))
    plain = clean(" ".join(UNSEEN.sub("", plain).split()), is_name=True)
    require_length(plain, NAME_CHARACTERS)
    require_fit_name(plain)
    return plain


def require_fit_name(name: str) -> None:
    """What is asked of a chosen name and of a new account's alike.

    Refused: `not_allowed` where it mixes scripts whose letters look alike, `too_long` where it has
    more code points than are kept (few characters may have hundreds).
    """
    if sum(bool(script.search(name)) for script in ALIKE) > 1:
        raise Refused(Code.NOT_ALLOWED, _("Write your name in the letters of one script."))
    if len(name) > NAME_CODE_POINTS:
        raise Refused(Code.TOO_LONG, _("This name is too long. Choose a shorter one."))


def likeness(name: str) -> str:
    """What is left of a name for the eye: letters and digits, without case. To compare by."""
    return "".join(regex.findall(r"[\p{L}\p{M}\p{N}]", name.casefold()))


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
    found = []
    end = 0
    for match in ADDRESS.finditer(text):
        address = _trimmed(match[0])
        if not regex.fullmatch(r"(?i)(?:https?://|www\.)[^/?#]*[\p{L}\p{N}].*", address):
            continue  # nothing that could be a host
        if match.start() > end:
            found.append(Part(text[end : match.start()]))
        end = match.start() + len(address)
        scheme = "" if "://" in address[:8] else "https://"
        found.append(Part(address, scheme + address))
    if end < len(text):
        found.append(Part(text[end:]))
    return found


def _trimmed(address: str) -> str:
    """Without the punctuation behind it; a closing bracket stays where its opening one is."""
    while address and address[-1] in TRAILING:
        opening = CLOSING.get(address[-1])
        if opening and address.count(opening) >= address.count(address[-1]):
            break
        address = address[:-1]
    return address
