"""What the report's page draws. An SVG is stretched to its place, so words are not in it; they are
HTML around it, evenly spread."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SMALL = (20, 40, 60, 80, 100)  # tenths
ROUND = (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100)


def clock(minute: int) -> str:
    """A minute as hours and minutes, `1:05`."""
    return f"{minute // 60}:{minute % 60:02d}"


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


def times(end: int) -> list[str]:
    """What stands under a plot that ends with minute `end`."""
    parts = min(4, end)
    return [clock(round(end * part / parts)) for part in range(parts + 1)]


def nice(most: int) -> int:
    """The top of the axis: a round number not far above, whose half is whole and round too."""
    size = 1
    while True:
        for top in ROUND if size > 1 else SMALL:
            if most <= top * size // 10:
                return top * size // 10
        size *= 10
