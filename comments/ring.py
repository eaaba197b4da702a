"""The latest changes of one stream, rendered: who missed no more than these needs no query."""

from collections.abc import Iterator

from comments.stream import RESUME_AT_MOST, Change

SIZE = RESUME_AT_MOST
PIECE = 32 * 1024  # characters


class Ring:
    """Every change beyond `floor` up to `head` that is still in force, in order."""

    def __init__(self) -> None:
        self.head = 0
        self.floor = 0
        self._changes: dict[int, Change] = {}  # by change, ascending
        self._latest: dict[int, int] = {}  # comment number -> its change among these

    def start_at(self, change: int) -> None:
        """Know nothing up to here; what follows is appended."""
        self.head = self.floor = change
        self._changes.clear()
        self._latest.clear()

    def append(self, change: Change) -> None:
        # The comment's earlier state leaves the ring: nobody is sent a text that was removed.
        superseded = self._latest.get(change.number)
        if superseded is not None:
            del self._changes[superseded]
        self._changes[change.change] = change
        self._latest[change.number] = self.head = change.change
        while len(self._changes) > SIZE:
            self.floor, oldest = next(iter(self._changes.items()))
            del self._changes[self.floor]
            del self._latest[oldest.number]

    def covers(self, cursor: int) -> bool:
        """Whether all that a page at this cursor has missed is here."""
        return self.floor <= cursor <= self.head

    def beyond(self, cursor: int, *, staff: bool) -> list[tuple[int, str]]:
        """The changes beyond a cursor, in order, as one audience sees them."""
        found: list[tuple[int, str]] = []
        for change in reversed(self._changes.values()):
            if change.change <= cursor:
                break
            found.append((change.change, change.staff if staff else change.public))
        found.reverse()
        return found


def in_pieces(changes: list[tuple[int, str]], head: int) -> Iterator[tuple[int, str]]:
    """Changes up to `head`, joined to texts of about PIECE; with each where a page is after it.

    Who reads slowly keeps what it got when its connection ends, and pings get in between.
    """
    texts: list[str] = []
    size = 0
    for change, text in changes:
        if size >= PIECE:
            yield change - 1, "".join(texts)
            texts, size = [], 0
        texts.append(text)
        size += len(text)
    yield head, "".join(texts)
