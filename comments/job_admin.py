"""Background work in Django admin: asked for from the list of videos, and seen in a list."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from comments import services
from comments.errors import Refused
from comments.identity import actor_of_account
from comments.models import Job, Stream
from videos.admin import VideoAdmin, VideoModelAdmin
from videos.models import Video

JOB_FIELDS = (
    "kind", "video", "requester", "state", "attempts", "done", "total", "problem", "size",
    "created_at", "finished_at", "expires_at",
)  # fmt: skip


@admin.register(Job)
class JobAdmin(admin.ModelAdmin[Job]):
    """Read only: jobs are asked for and cancelled by the verbs, and go by themselves."""

    list_display = ["kind", "video", "requester", "state", "done", "total", "created_at"]
    list_filter = ["state", "kind"]
    ordering = ["-created_at"]
    list_select_related = ["stream__video", "requester"]
    fields = JOB_FIELDS
    readonly_fields = JOB_FIELDS

    @admin.display(description=_("video"), ordering="stream__video__title")
    def video(self, job: Job) -> str:
        url = reverse("comments:desk", args=[job.stream.video.slug])
        return format_html('<a href="{}">{}</a>', url, job.stream.video)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        # Only together with its video.
        match = request.resolver_match
        return match is not None and match.view_name.startswith("admin:videos_video_")


def _asking(kind: Job.Kind, description: Any) -> Any:
    """An action on videos that asks for a job of this kind for each."""

    @admin.action(description=description)
    def ask(admin_: VideoModelAdmin, request: HttpRequest, videos: QuerySet[Video]) -> None:
        assert isinstance(request.user, User), "the admin lets no one else in"
        actor = actor_of_account(request.user)
        for stream in Stream.objects.select_related("video").filter(video__in=videos):
            try:
                services.request_job(actor, stream.pk, kind)
            except Refused as refusal:
                sentence = f"{stream}: {refusal.sentence}"
                admin_.message_user(request, sentence, messages.ERROR)
                continue
            url = reverse("comments:desk", args=[stream.video.slug])
            told = format_html('<a href="{}">{}</a>', url, gettext("See how far it is"))
            admin_.message_user(request, format_html("{}: {}", stream, told), messages.SUCCESS)

    ask.__name__ = f"export_{kind}" if kind in Job.EXPORTS else f"make_{kind}"
    return ask


# `videos` knows nothing of comments, so the actions are put in from here.
VideoAdmin.actions = [
    *VideoAdmin.actions,
    _asking(Job.Kind.CSV, _("Export comments as CSV")),
    _asking(Job.Kind.JSONL, _("Export comments as JSON Lines")),
    _asking(Job.Kind.VTT, _("Export comments as WebVTT")),
    _asking(Job.Kind.REPORT, _("Make a report")),
]
