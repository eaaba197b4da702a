"""The report of a stream: how many comments and viewers when, the busiest moments, words, removals.

A worker reads every comment once (`compute`, a job) and keeps the numbers in the job's result; the
page only draws them (comments/plots.py).
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import batched
from typing import Any

import regex
from django.db.models import Count
from django.utils import timezone

from comments.jobs.attempt import Attempt
from comments.jobs.pieces import PIECE, comments_of
from comments.models import Comment
from comments.plots import STEPS

BARS = 120  # at most in a plot
MOMENTS = 5
MOMENTS_APART = 3  # minutes: one burst is one moment
WORDS = 20
# Of a million comments there may be as many words. Beyond this many the rarest half is forgotten:
# what is among the first 20 is never rare for long.
WORDS_KEPT = 50_000
# A word: letters of any script, with the marks and joiners that belong to them.
WORD = regex.compile(r"[\p{L}\p{M}\u200c\u200d'’]+")
LINK = regex.compile(r"https?://\S+")
# Words that say nothing of a stream: English and Bengali, the languages of this site.
COMMON = frozenset(
    "a about all also am an and any are as at be been but by can can't could did do does don't for"
    " from get go got had has have he her here him his how i i'm if in into is isn't it it's its"
    " just like me more my no not now of off on one only or our out over she so some such than that"
    " that's the their them then there they this to too up us very was we were what when where"
    " which who why will with would you your"
    " আমি আমার আমরা তুমি আপনি আপনার সে তার তারা এই ওই সেই এটা এটি যে যা কি কী না নয় হয় হয়ে হবে হচ্ছে ছিল আছে"
    " করে করা এবং ও আর বা তো কিন্তু জন্য থেকে সাথে একটা একটি এক খুব".split()
)


def compute(attempt: Attempt) -> tuple[Mapping[str, Any], str]:
    """Read the job's stream from its beginning to its present end; the report's numbers."""
    stream = attempt.job.stream
    tally = Tally(stream.video.started_at)
    for row in comments_of(attempt, "posted_at", "state", "removed_by", "body"):
        tally.add(*row)
    read = Comment.objects.filter(stream=stream, number__lte=stream.head)
    people = read.aggregate(people=Count("author", distinct=True))["people"]
    total = attempt.job.total
    counts = stream.viewer_counts.order_by("minute").values_list("minute", "viewers")
    for rows in batched(counts.iterator(PIECE), PIECE, strict=False):
        for at, viewers in rows:
            tally.watch(at, viewers)
        attempt.step(total, total)  # which also hears of a cancel
    return {"people": people} | tally.result(), ""


class Tally:
    """What is counted, comment by comment, then minute by minute of viewers. Minutes are those of
    the video's clock; without one, of the first comment, or of the first viewers without any."""

    def __init__(self, started_at: datetime | None) -> None:
        self.origin = started_at
        self.has_clock = started_at is not None
        self.before = 0  # comments from before the start, which stand on no clock
        self.minutes: Counter[int] = Counter()
        self.removed: Counter[int] = Counter()
        self.first: dict[int, int] = {}  # minute -> its first comment's number
        self.latest: dict[int, int] = {}  # and its last one's
        self.removers: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.comments = 0
        self.viewers: dict[int, int] = {}  # minute -> the most at once

    def add(self, number: int, at: datetime, state: str, removed_by: str, body: str) -> None:
        self.comments += 1
        if self.origin is None:
            self.origin = at
        minute = int((at - self.origin).total_seconds() // 60)
        is_removed = state == Comment.State.REMOVED
        if is_removed:
            self.removers[removed_by] += 1
        else:
            self.words.update(words(body))
            if len(self.words) > WORDS_KEPT:
                self.words = Counter(dict(self.words.most_common(WORDS_KEPT // 2)))
        if minute < 0:
            self.before += 1
            return
        self.minutes[minute] += 1
        self.removed[minute] += is_removed
        self.first[minute] = min(number, self.first.get(minute, number))
        self.latest[minute] = max(number, self.latest.get(minute, 0))

    def watch(self, at: datetime, viewers: int) -> None:
        """So many watched at once in the minute that began at `at`. Those minutes begin anywhere in
        the video's: each counts as the one that it shares more with."""
        if self.origin is None:
            self.origin = at
        since = (at - self.origin).total_seconds()
        if since > -60:
            minute = max(0, int((since + 30) // 60))
            self.viewers[minute] = max(viewers, self.viewers.get(minute, 0))

    def result(self) -> dict[str, Any]:
        """Plain values, as they are kept in the job."""
        span = max((*self.minutes, *self.viewers), default=0) + 1
        step = next((step for step in STEPS if span <= step * BARS), -(-span // BARS))
        bars = [[0, 0] for _ in range(-(-span // step))]
        for minute, count in self.minutes.items():
            bars[minute // step][0] += count
            bars[minute // step][1] += self.removed[minute]
        viewers = [0] * len(bars)
        for minute, count in self.viewers.items():
            viewers[minute // step] = max(count, viewers[minute // step])
        # The first of several that are equal.
        peak = max(self.viewers, key=lambda minute: (self.viewers[minute], -minute), default=None)
        return {
            "made_at": timezone.now().isoformat(),
            "has_clock": self.has_clock,
            "comments": self.comments,
            "before": self.before,
            "removed": self.removers.total(),
            "removers": self.removers.most_common(10),
            "step": step,
            "bars": bars,
            "moments": [
                {
                    "minute": minute,
                    "comments": self.minutes[minute],
                    "first": self.first[minute],
                    "until": self.latest[minute],  # what an earlier version's page asks for
                }
                for minute in busiest(self.minutes)
            ],
            "viewers": viewers,
            "peak": None if peak is None else {"minute": peak, "viewers": self.viewers[peak]},
            "words": self.words.most_common(WORDS),
        }


def words(body: str) -> set[str]:
    """The words of a comment that tell something, each once: who repeats one counts once. What
    stands in links are no words."""
    found = (
        word.strip("'’").replace("’", "'") for word in WORD.findall(LINK.sub(" ", body.casefold()))
    )
    return {word for word in found if len(word) > 1 and len(word) <= 40 and word not in COMMON}


def busiest(minutes: Counter[int]) -> list[int]:
    """The minutes with most comments, some time apart; of equal ones the earlier first. Each has at
    least half as many as the busiest one: what is left beside one burst is no moment."""
    found: list[int] = []
    for minute, count in sorted(minutes.items(), key=lambda item: (-item[1], item[0])):
        if found and 2 * count < minutes[found[0]]:
            break
        if all(abs(minute - other) >= MOMENTS_APART for other in found):
            found.append(minute)
        if len(found) == MOMENTS:
            break
    return found
