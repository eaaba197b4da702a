"""Comments over plain HTTP: older pages, and the form that works without JavaScript."""

import re
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods
from django_htmx.middleware import HtmxDetails

from comments import actions, frames, stream
from comments.errors import Code, Refused
from comments.identity import Actor, actor_of_request
from comments.models import Stream
from comments.plots import clock
from comments.services.common import DATABASE_FAILED
from streamsite.observe import context
from streamsite.pages import unavailable
from videos.models import Video
from videos.views import page

DRAFT = ("body", "key", "name", "as")


@require_http_methods(["GET", "HEAD", "POST"])
def comments(request: HttpRequest, slug: str) -> HttpResponse:
    """`/videos/<slug>/comments/`: GET ?before=<number> reads back, ?from=<number> on; POST
    acts."""
    try:
        room = get_object_or_404(Stream.objects.select_related("video"), video__slug=slug)
        if request.method == "POST":
            return _act(request, room.video, room)
        return _older(request, room)
    except DATABASE_FAILED:
        fields = _fields(request)
        if fields.get("action") != "post" or request.htmx:  # type: ignore[attr-defined]
            raise  # a page says so
        # By the plain form a page comes in the place of the one that had the text.
        return unavailable(request, {name: str(fields.get(name, "")) for name in DRAFT})


def _older(request: HttpRequest, room: Stream) -> HttpResponse:
    """Comments before a number, or from one on (the latest without either): a fragment for htmx,
    else a whole page."""
    before, since = request.GET.get("before"), request.GET.get("from")
    for number in (before, since):
        if number is not None and not re.fullmatch(r"[1-9][0-9]{0,17}", number):
            return render(request, "400.html", status=400)
    actor = _actor(request)
    staff = actor.can_moderate(room)
    if since:
        found = stream.comments_since(room, int(since), staff=staff)
    else:
        found = stream.window_comments(room, staff=staff, before=int(before) if before else None)
    context = {
        "room": room,
        "video": room.video,
        "rows": [stream.fragment(comment, staff=staff) for comment in found],
        "older": stream.older_than(room, found, staff=staff),
    }
    template = "comments/_older.html"
    if not request.htmx:  # type: ignore[attr-defined]
        template = "comments/older.html"
        context["newer"] = stream.newer_than(room, found, staff=staff)
        if since and found:
            context |= _begins(room.video, found[0].posted_at)
    response = render(request, template, context)
    response["Cache-Control"] = "private, no-store"
    return response


def _begins(video: Video, at: datetime) -> dict[str, Any]:
    """What a page says of its first comment: when it was posted, also on the video's clock."""
    if video.started_at is None or at < video.started_at:
        return {"begins": at}
    return {"begins": at, "clock": clock(int((at - video.started_at).total_seconds() // 60))}


def _act(request: HttpRequest, video: Video, room: Stream) -> HttpResponse:
    fields = _fields(request)
    context.hide(fields.get("body"), fields.get("name"))
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]
    try:
        outcome = actions.perform(actor_of_request(request), room.pk, fields, by_form=True)
    except Refused as refusal:
        actions.count("form", fields["action"], refusal.code)
        status = refusal.code.status
        if htmx:
            answer = frames.refusal(fields.get("key", ""), refusal)
            response = HttpResponse(answer, status=status)
        else:
            # The page again, with the reason and the text: nothing typed is lost.
            response = page(request, video, status=status, refusal=refusal, draft=fields)
        if refusal.retry_after:
            response["Retry-After"] = str(refusal.retry_after)
        return response
    except DATABASE_FAILED:
        actions.count("form", fields["action"], Code.TRY_AGAIN)
        raise
    except Exception:
        actions.count("form", fields["action"], "error")
        raise
    actions.count("form", fields["action"], "ok")
    if htmx:
        return HttpResponse(frames.ack(fields.get("key", ""), fields["action"], outcome))
    # Another address than the form's page has: "back" then finds that page as it was, with its key,
    # so sending it again doubles nothing. At the same address it is loaded anew, with a new key.
    anchor = f"?posted={outcome.number}#c-{outcome.number}" if outcome.number else ""
    return HttpResponseRedirect(video.get_absolute_url() + anchor, status=303)


def _fields(request: HttpRequest) -> dict[str, Any]:
    """The form's, if one was sent."""
    return {"action": "post"} | request.POST.dict() if request.method == "POST" else {}


def _actor(request: HttpRequest) -> Actor:
    """Who reads back: without making a session for whoever has none, or has made its key up."""
    return actor_of_request(request) if request.session.keys() else Actor(None)
