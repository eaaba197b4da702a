"""The list of videos and the page of one."""

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.csp import CSP
from django.utils.translation import gettext as _
from django.views.decorators.csp import csp_override
from django.views.decorators.http import require_safe
from django.views.generic import ListView

from videos.models import Video

if TYPE_CHECKING:
    VideoListView = ListView[Video]
else:  # generic for the type checker only
    VideoListView = ListView

VIDEOS_PER_PAGE = 48


@dataclass(frozen=True)
class Shelf:
    """The videos of one state on a page of the list; `anchor` is where the header leads."""

    state: str
    anchor: str
    title: str
    nothing: str
    videos: list[Video]


class VideoList(VideoListView):
    """Live, then upcoming, then past; past ones run on over further pages."""

    template_name = "videos/list.html"
    queryset = Video.objects.listed()
    paginate_by = VIDEOS_PER_PAGE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        first = not context["page_obj"].has_previous()
        context["shelves"] = [
            shelf
            for shelf in shelves(list(context["object_list"]))
            # The header leads to all three, so the first page has them even when empty.
            if first or shelf.videos
        ]
        return context


def shelves(videos: list[Video]) -> list[Shelf]:
    """Sort videos, kept in their order, onto the three shelves."""
    named = (
        (Video.State.LIVE, "live", _("Live"), _("Nothing is live right now.")),
        (Video.State.UPCOMING, "upcoming", _("Upcoming"), _("Nothing is announced yet.")),
        (Video.State.ENDED, "past", _("Past"), _("Videos that have ended will stay here.")),
    )
    return [
        Shelf(state, anchor, title, nothing, [video for video in videos if video.state == state])
        for state, anchor, title, nothing in named
    ]


@require_safe
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    return page(request, get_object_or_404(Video, slug=slug))


def page(request: HttpRequest, video: Video, *, status: int = 200, **context: Any) -> HttpResponse:
    """The page of one video; `context` is what other apps' parts of it have to say."""

    def show(request: HttpRequest) -> HttpResponse:
        shown = context | {"video": video}
        response = render(request, "videos/detail.html", shown, status=status)
        # Each session's own page; a copy may be kept for "back", and is asked about before use.
        response["Cache-Control"] = "private, no-cache"
        return response

    # The policy depends on the video, so the public decorator is applied when it is known.
    return csp_override(content_policy(video))(show)(request)


def content_policy(video: Video) -> dict[str, list[str]]:
    """The site's policy, opened to the one origin that this video comes from, and no further.

    An HLS playlist is played by hls.js through a MediaSource, whose address is a `blob:`.
    """
    policy = cast("dict[str, list[str]]", deepcopy(settings.SECURE_CSP))
    if origin := source_origin(video.source_url):
        for directive in ("media-src", "connect-src", "img-src"):
            policy[directive] = [*policy.get(directive, [CSP.SELF]), origin]
        if video.is_hls:
            policy["media-src"].append("blob:")
    return policy


def source_origin(url: str) -> str:
    """`https://host[:port]` of a video's URL; empty for what could not stand in a header.

    A host that holds anything but host characters would otherwise add directives of its own.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # UnicodeError is one
        return ""
    if parts.scheme not in ("http", "https"):
        return ""
    if ":" in host:
        host = f"[{host}]"
    if not re.fullmatch(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", host):
        return ""
    return f"{parts.scheme}://{host}{port}"
