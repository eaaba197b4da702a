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

# Visible comments of one video that are counted: a page of 48 videos with millions of comments
# costs no more than this, since the visible ones have an index of their own. From here on a card
# says "1,000+ comments".
COUNTED = 1000

register = template.Library()


class Count(Subquery):
    """How many rows a query has that is cut off by a slice, which Django's own Count cannot be."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


@register.simple_tag
def comment_counts(videos: Iterable[Video]) -> dict[int, str]:
    """What to say of each video that has comments to be read, by the video's id."""
    visible = Comment.objects.visible().filter(stream=OuterRef("pk")).order_by("-number")
    streams: QuerySet[Stream, tuple[int, int]] = (
        Stream.objects.filter(video__in=[video.pk for video in videos])
        .annotate(visible=Count(visible.values("pk")[:COUNTED]))
        .values_list("video", "visible")
    )
    return {video: _words(count) for video, count in streams if count}


@register.filter
def of(counts: dict[int, str], video: Video) -> str:
    return counts.get(video.pk, "")


def _words(count: int) -> str:
    shown = number_format(count, force_grouping=True) + ("+" if count == COUNTED else "")
    return ngettext("%(count)s comment", "%(count)s comments", count) % {"count": shown}
