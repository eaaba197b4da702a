"""The moderators' desk of a video: exports and the report, asked for and fetched.

Each door asks anew who is there: the page, the forms, and the download, whose link alone is worth
nothing.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from comments import services
from comments.errors import Refused
from comments.identity import Actor, actor_of_request
from comments.jobs.bell import JobState
from comments.models import Job, Stream
from comments.plots import Curve, Plot, clock
from streamsite.views import Pieces, open_file

SHOWN = 20  # jobs on the page, the latest
FILE_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Room:
    """A video's stream, and the moderator who is at its desk."""

    stream: Stream
    actor: Actor
    user: User

    @property
    def url(self) -> str:
        return reverse("comments:desk", args=[self.stream.video.slug])


def room_of(request: HttpRequest, slug: str) -> Room | None:
    """Where a moderator may be; None for who is not signed in. Raises Http404, PermissionDenied."""
    stream = get_object_or_404(Stream.objects.select_related("video"), video__slug=slug)
    if not request.user.is_authenticated:
        return None
    actor = actor_of_request(request)
    if actor.user is None or not actor.can_moderate(stream):
        raise PermissionDenied
    return Room(stream, actor, actor.user)


@require_http_methods(["GET", "HEAD", "POST"])
def desk(request: HttpRequest, slug: str) -> HttpResponse:
    """`/videos/<slug>/desk/`: GET shows one's jobs; POST `kind` asks for one."""
    room = room_of(request, slug)
    if room is None:
        return redirect_to_login(request.get_full_path())
    if request.method != "POST":
        return _page(request, room)
    try:
        job = services.request_job(room.actor, room.stream.pk, request.POST.get("kind"))
    except Refused as refusal:
        return _page(request, room, refusal)
    return HttpResponseRedirect(f"{room.url}#job-{job.pk}", status=303)


@require_POST
def cancel(request: HttpRequest, slug: str) -> HttpResponse:
    room = room_of(request, slug)
    if room is None:
        raise PermissionDenied
    try:
        services.cancel_job(room.actor, room.stream.pk, request.POST.get("job"))
    except Refused as refusal:
        return _page(request, room, refusal)
    return HttpResponseRedirect(room.url, status=303)


def _page(request: HttpRequest, room: Room, refusal: Refused | None = None) -> HttpResponse:
    jobs = Job.objects.of(room.user.pk, room.stream.pk)[:SHOWN]
    context = {
        "video": room.stream.video,
        "rows": [row(JobState.of(job), room.stream.video.slug) for job in jobs],
        "kinds": [(kind.value, kind.label) for kind in Job.EXPORTS],
        "comments": room.stream.comments.count(),
        "hours": settings.EXPORT_HOURS,
        "has_report": reports_of(room.stream).exists(),
        "refusal": refusal,
    }
    status = refusal.code.status if refusal else 200
    response = render(request, "comments/desk.html", context, status=status)
    response["Cache-Control"] = "private, no-store"
    return response


def reports_of(stream: Stream) -> QuerySet[Job]:
    """Those that are made."""
    return stream.jobs.filter(kind=Job.Kind.REPORT, state=Job.State.DONE)


def row(state: JobState, slug: str) -> str:
    """A job's `<li>`: the same in the page and over the socket."""
    context: dict[str, Any] = {
        "job": state,
        "slug": slug,
        "kind": Job.Kind(state.kind).label,
        "created_at": parse_datetime(state.created_at),
        "is_export": state.kind in Job.EXPORTS,
    }
    if state.expires_at:
        expires_at = parse_datetime(state.expires_at)
        assert expires_at is not None, "it was a datetime"
        context |= {"expires_at": expires_at, "is_expired": expires_at <= timezone.now()}
    return render_to_string("comments/_job.html", context)


@require_safe
def report(request: HttpRequest, slug: str) -> HttpResponse:
    """`/videos/<slug>/report/`: the latest report, whichever moderator asked for it."""
    room = room_of(request, slug)
    if room is None:
        return redirect_to_login(request.get_full_path())
    job = reports_of(room.stream).order_by("-finished_at").first()
    video = room.stream.video
    context: dict[str, Any] = {"video": video, "report": None}
    if job is not None and (found := job.result):
        # A report of an earlier version knows only where a minute ends.
        moments = [
            _moment(one)
            | {"read": f"from={one['first']}" if "first" in one else f"before={one['until'] + 1}"}
            for one in found["moments"]
        ]
        context |= {
            "report": found,
            "made_at": parse_datetime(found["made_at"]),
            "plot": Plot(found["bars"], found["step"]),
            "moments": moments,
            # In what plays as a recording, a link leads to a minute.
            "has_moments": found["has_clock"] and video.is_playable and not video.is_live,
            "most": found["words"][0][1] if found["words"] else 1,
        }
        if peak := found.get("peak"):  # a report of an earlier version has none
            context["peak"] = _moment(peak)
            context["curve"] = Curve(found["viewers"], found["step"], peak["minute"])
    response = render(request, "comments/report.html", context)
    response["Cache-Control"] = "private, no-store"
    return response


def _moment(found: dict[str, Any]) -> dict[str, Any]:
    """With what a link to its minute shows, and where it leads (s)."""
    return found | {"clock": clock(found["minute"]), "seconds": found["minute"] * 60}


@require_safe
async def download(request: HttpRequest, slug: str, job_id: int) -> HttpResponseBase:
    """The file of one's own export, while it is kept, and while one moderates the video."""
    path, content_type = await sync_to_async(_fetchable)(request, slug, job_id)
    try:
        file = await sync_to_async(open_file)(path)
    except OSError:
        raise Http404 from None  # housekeeping was faster
    response = StreamingHttpResponse(Pieces(file, 0, path.stat().st_size))
    response.headers["Content-Type"] = content_type
    response.headers["Content-Length"] = str(path.stat().st_size)
    name = f"{slug}-comments-{job_id}{path.suffix}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _fetchable(request: HttpRequest, slug: str, job_id: int) -> tuple[Path, str]:
    room = room_of(request, slug)
    if room is None:
        raise PermissionDenied
    job = get_object_or_404(Job.objects.of(room.user.pk, room.stream.pk), pk=job_id)
    expired = job.expires_at is None or job.expires_at <= timezone.now()
    if job.state != Job.State.DONE or expired or not re.fullmatch(r"[0-9a-f-]+\.\w+", job.file):
        raise Http404
    folder: Path = settings.EXPORT_DIR
    return folder / job.file, FILE_TYPES[job.kind]
