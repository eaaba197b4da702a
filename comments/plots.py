"""What the report's page draws. An SVG is stretched to its place, so words are not in it; they
stand around it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SMALL = (20, 40, 60, 80, 100)  # tenths
# Minutes that one bar, or the space between two times of an axis, may stand for.
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 720, 1440)
PARTS = 5  # spaces between the times of an axis at most: more would touch on a phone
ROUND = (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100)


def clock(minute: int) -> str:
    """A minute as hours and minutes, `1 h 05`: `1:05` may be a player's minutes and seconds."""
    return f"{minute // 60} h {minute % 60:02d}".replace(" ", "\N{NO-BREAK SPACE}")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the plot, in units of its SVG: 10 wide for each bar, 1000 high for the tallest."""

    x: int
    height: int
    removed: int  # height of the part that was removed
    begins: str
    comments: int
    gone: int

    @property
    def y(self) -> int:
        return 1000 - self.height

    @property
    def removed_y(self) -> int:
        return 1000 - self.removed


class Plot:
    """The bars of a report, and what stands beside and under them."""

    def __init__(self, bars: Iterable[tuple[int, int]], step: int) -> None:
        counts = list(bars)
        self.step = step
        self.top = nice(max((count for count, _gone in counts), default=0))
        self.bars = [
            Bar(
                x=10 * place,
                height=count * 1000 // self.top,
                removed=gone * 1000 // self.top,
                begins=clock(place * step),
                comments=count,
                gone=gone,
            )
            for place, (count, gone) in enumerate(counts)
        ]
        self.width = 10 * len(self.bars)
        self.times = times(len(self.bars) * step)
        self.ticks = [self.top, self.top // 2, 0]


@dataclass(frozen=True, slots=True)
class Slot:
    """The piece of a curve that stands over one bar, in the same units; `y` is its height."""

    x: int
    y: int
    begins: str
    viewers: int

    @property
    def middle(self) -> int:
        return self.x + 5


class Curve:
    """How many watched, over the times of a Plot, from the first slot with viewers to the last:
    what comes after it may only not be known yet."""

    def __init__(self, counts: Sequence[int], step: int, peak: int) -> None:
        """`counts` has a number over 0; `peak` is the minute of the greatest."""
        self.step = step
        self.top = nice(max(counts))
        seen = [place for place, count in enumerate(counts) if count]
        self.slots = [
            Slot(
                x=10 * place,
                y=1000 - counts[place] * 1000 // self.top,
                begins=clock(place * step),
                viewers=counts[place],
            )
            for place in range(seen[0], seen[-1] + 1)
        ]
        self.peak = self.slots[peak // step - seen[0]]
        self.width = 10 * len(counts)
        self.times = times(len(counts) * step)
        self.ticks = [self.top, self.top // 2, 0]

    @property
    def line(self) -> str:
        """The path through the middle of each slot, level to both ends."""
        first, last = self.slots[0], self.slots[-1]
        middles = " ".join(f"{slot.middle} {slot.y}" for slot in self.slots)
        return f"M{first.x} {first.y} L{middles} {last.x + 10} {last.y}"

    @property
    def area(self) -> str:
        """What is under it."""
        return f"{self.line} V1000 H{self.slots[0].x} Z"


@dataclass(frozen=True, slots=True)
class Time:
    """A time under a plot, at its place: how far across (per cent)."""

    across: str
    clock: str
    anchor: str


def times(end: int) -> list[Time]:
    """What stands under a plot that ends with minute `end`: round steps, of days at the longest."""
    day = STEPS[-1]
    step = next((step for step in STEPS if end <= step * PARTS), -(-end // (day * PARTS)) * day)
    return [
        Time(
            across=f"{100 * minute / end:.2f}",
            clock=clock(minute),
            # The first and the last do not stand out over the plot.
            anchor="start" if not minute else "end" if minute > 0.95 * end else "middle",
        )
        for minute in range(0, end + 1, step)
    ]


def nice(most: int) -> int:
    """The top of the axis: a round number not far above, whose half is whole and round too."""
    size = 1
    while True:
        for top in ROUND if size > 1 else SMALL:
            if most <= top * size // 10:
                return top * size // 10
        size *= 10
