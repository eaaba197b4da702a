"""When a room may be flushed again.

Who reads cannot take in more than about four changes of a page a second, and each flush costs a
write to every socket. So a busy room's comments go out four times a second, each time all that came
since; a quiet room's go out at once.
"""

APART = 0.25  # seconds between two flushes of a busy room
AT_ONCE = 4  # flushes that may follow one another at once after a quiet time
# A flush that took t seconds is followed no earlier than REST t after its start: a fifth of the
# processor is left, however many sockets there are.
REST = 1.25


class Pace:
    """The pace of one room (GCRA: how far it is ahead of an even pace is all it remembers)."""

    def __init__(self) -> None:
        self.next = 0.0  # when the next flush may be; the clock is the caller's
        self._even = 0.0  # when it would be if all before had been APART

    def flushed(self, started: float, took: float) -> None:
        """Of a flush that is over: when it started, and the seconds that it took."""
        self._even = max(self._even, started) + APART
        self.next = max(self._even - (AT_ONCE - 1) * APART, started + REST * took)

    def rest(self, started: float) -> None:
        """A whole pause after the flush of `started`: the next has to do what that could not."""
        self.next = max(self.next, started + APART)
