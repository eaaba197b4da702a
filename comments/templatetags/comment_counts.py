"""How many comments the videos of a list have, for its cards: one query for the whole page.

{% comment_counts videos as counts %} … {{ counts|of:video }}
"""

from collections.abc import Iterable

from django import template
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.utils.formats import number_format
from django.utils.translation import ngettext

from comments.models import Comment, Stream
from videos.models import Video

# Comments of one video that are looked at, the latest ones: a page of 48 videos with millions of
# comments costs no more than this. Beyond it a card says "900+ comments", rounded down to hundreds.
LOOKED_AT = 1000

register = template.Library()


class Count(Subquery):
    """How many rows a query has that is cut off by a slice, which Django's own Count cannot be."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) looked_at)"
    output_field = IntegerField()


class CountVisible(Count):
    template = f"{Count.template[:-1]} WHERE looked_at.state = '{Comment.State.VISIBLE}')"


@register.simple_tag
def comment_counts(videos: Iterable[Video]) -> dict[int, str]:
    """What to say of each video that has comments to be read, by the video's id."""
    looked_at = Comment.objects.filter(stream=OuterRef("pk")).order_by("-number")[:LOOKED_AT]
    streams: QuerySet[Stream, tuple[int, int, int]] = (
        Stream.objects.filter(video__in=[video.pk for video in videos])
        .annotate(total=Count(looked_at.values("pk")))
        .annotate(visible=CountVisible(looked_at.values("state")))
        .values_list("video", "total", "visible")
    )
    return {video: _words(visible, total) for video, total, visible in streams if visible}


@register.filter
def of(counts: dict[int, str], video: Video) -> str:
    return counts.get(video.pk, "")


def _words(visible: int, total: int) -> str:
    if total < LOOKED_AT:
        count = number_format(visible, force_grouping=True)
    else:
        visible = max(100, visible // 100 * 100)
        count = f"{number_format(visible, force_grouping=True)}+"
    return ngettext("%(count)s comment", "%(count)s comments", visible) % {"count": count}
