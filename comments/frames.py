"""The parts of a frame besides the comments' own states: HTML that htmx puts in its place."""

from django.template.loader import render_to_string
from django.utils.html import escape

from comments.actions import Outcome
from comments.errors import Refused
from comments.models import Stream
from comments.stream import Cursor


def ack(key: str, action: str, outcome: Outcome) -> str:
    """The answer to an action that is done, for its sender alone."""
    number = f' data-number="{outcome.number:d}"' if outcome.number else ""
    name = f' data-name="{escape(outcome.name)}"' if outcome.name else ""
    return _answer(f'<p data-ack="{escape(key)}" data-action="{escape(action)}"{number}{name}></p>')


def refusal(key: str, refused: Refused) -> str:
    """The answer to an action that was refused, with the reason, for its sender alone."""
    wait = f' data-retry-after="{refused.retry_after:d}"' if refused.retry_after else ""
    return _answer(
        f'<p data-refused="{escape(key)}" data-code="{escape(refused.code)}"{wait}>'
        f"{escape(refused.sentence)}</p>"
    )


def _answer(element: str) -> str:
    return f'<hx-partial hx-target="#answers" hx-swap="innerHTML">{element}</hx-partial>'


def cursor_element(cursor: Cursor) -> str:
    """Carries a frame's cursor; htmx takes it out, as it has no target."""
    return f'<hx-partial data-cursor="{cursor}"></hx-partial>'


def reset_frame(states: str, cursor: Cursor) -> str:
    """The latest window whole: it replaces the content of the list."""
    return (
        f'<hx-partial hx-target="#comments" hx-swap="innerHTML" data-cursor="{cursor}">'
        f"{states}</hx-partial>"
    )


def role_element(*, staff: bool) -> str:
    """Whether the page offers a moderator's actions; each is checked when it comes all the same."""
    return (
        '<hx-partial hx-target="#role" hx-swap="outerHTML">'
        f'<span id="role" data-staff="{"true" if staff else "false"}" hidden></span></hx-partial>'
    )


def watching_element(watching: int) -> str:
    return (
        '<hx-partial hx-target="#watching" hx-swap="innerHTML">'
        f'<data value="{watching}">{watching}</data></hx-partial>'
    )


def render_room(room: Stream) -> str:
    """What every page shows of the room and its video, apart from comments."""
    return render_to_string("comments/_room_frame.html", {"room": room, "video": room.video})
