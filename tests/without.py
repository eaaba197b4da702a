"""`manage.py serve` with safeguards switched off, to show that their tests notice, or in a hurry.

python -m tests.without origin,poll --bind 127.0.0.1:8000
"""

import os
import sys
from typing import Any


def origin() -> None:
    """Any site may open sockets here."""
    from comments import admission

    admission.is_allowed = lambda scope: True


def poll() -> None:
    """Nothing is ever read again from the database but what a page asks for when it comes."""
    from comments.fanout import Fanout
    from comments.hub import Hub

    async def nothing(self: Fanout) -> None:
        return

    Fanout.look = nothing  # type: ignore[method-assign]
    Hub.heal = Hub.missed = lambda self, **_: None  # type: ignore[assignment,method-assign]


def superseded() -> None:
    """The ring keeps every state that a comment ever had."""
    from comments.ring import Ring
    from comments.stream import Change

    append = Ring.append

    def keep(self: Ring, change: Change) -> None:
        self._latest.pop(change.number, None)
        append(self, change)

    Ring.append = keep  # type: ignore[method-assign]


def minutes() -> None:
    """Minutes of viewers last a second, so that one is over at each safety poll."""
    from comments.viewer_counts import Minute, ViewerCounts

    turn = ViewerCounts.turn

    def turn_soon(self: ViewerCounts, now: float) -> Minute | None:
        return turn(self, now * 60)

    ViewerCounts.turn = turn_soon  # type: ignore[method-assign]


def mistakes() -> None:
    """Comments that begin with "boom" meet a mistake of ours, whose error repeats them."""
    from comments.services.posting import _Batch, _Entry

    take = _Batch.take

    def fail(self: _Batch, entry: _Entry) -> Any:
        if entry.body.startswith("boom"):
            raise ValueError(f"cannot take {entry.body!r}: {entry.body}")
        return take(self, entry)

    _Batch.take = fail  # type: ignore[method-assign]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")
    import django
    from django.core.management import execute_from_command_line

    django.setup()
    known = (origin, poll, superseded, minutes, mistakes)
    safeguards: dict[str, Any] = {f.__name__: f for f in known}
    for name in sys.argv[1].split(","):
        safeguards[name]()
    execute_from_command_line(["manage.py", "serve", *sys.argv[2:]])


if __name__ == "__main__":
    main()
