"""Comments, viewers and the streams' settings in Django admin.

The admin is one more door: bulk removal and restoring call the same verbs as the page, one
comment after the other, and so reach every open page at once.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms import Script
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from comments import actions, services
from comments import job_admin as job_admin  # registers what it has
from comments.errors import Refused
from comments.identity import Actor, actor_of_account
from comments.models import MODERATE, Comment, Job, Stream, Viewer
from videos.admin import VideoAdmin

# Shown, never edited.
COMMENT_FIELDS = (
    "video", "number", "change", "body", "author", "author_name", "badge",
    "state", "removed_by", "posted_at",
)  # fmt: skip
VIEWER_FIELDS = ("name", "handle", "user", "comment_count", "renamed_at", "created_at")

type Moderation = Callable[[Actor, int, object], Comment]


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin[Comment]):
    """Read, search, remove and restore. What people wrote is not edited, and no row is deleted:
    a removed comment leaves every page, and stays here to be restored."""

    list_display = ["text", "author_name", "video", "state", "removed_by", "posted_at"]
    list_filter = ["state", "badge", "posted_at", "stream__video"]
    search_fields = ["body", "author_name", "author__handle", "author__user__username"]
    search_help_text = _("Searches text, names, viewer handles and account names.")
    date_hierarchy = "posted_at"
    ordering = ["-posted_at"]
    list_select_related = ["stream__video", "author"]
    list_per_page = 100
    show_full_result_count = False
    actions = ["remove_comments", "restore_comments"]
    fields = COMMENT_FIELDS
    readonly_fields = COMMENT_FIELDS

    @admin.display(description=_("text"), ordering="body")
    def text(self, comment: Comment) -> str:
        return comment.body if len(comment.body) <= 80 else f"{comment.body[:79]}…"

    @admin.display(description=_("video"), ordering="stream__video__title")
    def video(self, comment: Comment) -> str:
        # Where it is the last one: an older comment is not in the page of its video.
        here = reverse("comments:comments", args=[comment.stream.video.slug])
        url = f"{here}?before={comment.number + 1}#c-{comment.number}"
        return format_html('<a href="{}">{}</a>', url, comment.stream.video)

    @admin.action(description=_("Remove from every page"), permissions=["moderate"])
    def remove_comments(self, request: HttpRequest, comments: QuerySet[Comment]) -> None:
        self._moderate(request, comments, services.remove)

    @admin.action(description=_("Restore to every page"), permissions=["moderate"])
    def restore_comments(self, request: HttpRequest, comments: QuerySet[Comment]) -> None:
        self._moderate(request, comments, services.restore)

    def _moderate(
        self, request: HttpRequest, comments: QuerySet[Comment], verb: Moderation
    ) -> None:
        assert isinstance(request.user, User), "the admin lets no one else in"
        actor = actor_of_account(request.user)
        done = 0
        chosen = comments.order_by("pk").values_list("stream_id", "number", "change")
        for stream_id, number, change in chosen:
            try:
                # What stands as asked already is left as it is.
                done += verb(actor, stream_id, number).change != change
                actions.count("admin", verb.__name__, "ok")
            except Refused as refusal:
                actions.count("admin", verb.__name__, refusal.code)
                self.message_user(request, f"#{number}: {refusal.sentence}", messages.ERROR)
        told = ngettext("%(done)d comment changed.", "%(done)d comments changed.", done)
        self.message_user(request, told % {"done": done}, messages.SUCCESS)

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MODERATE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Comment | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Comment | None = None) -> bool:
        # Only together with its video, which the video's own page asks here.
        match = request.resolver_match
        return match is not None and match.view_name.startswith("admin:videos_video_")


@admin.register(Viewer)
class ViewerAdmin(admin.ModelAdmin[Viewer]):
    """Who has been here. A viewer belongs to one session, or to the account that claimed it."""

    list_display = ["name", "handle", "user", "comment_count", "created_at"]
    list_filter = [("user", admin.EmptyFieldListFilter), "created_at"]
    search_fields = ["name", "handle", "user__username"]
    search_help_text = _("Searches names, handles (data-author in the page) and account names.")
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    list_select_related = ["user"]
    list_per_page = 100
    show_full_result_count = False
    fields = VIEWER_FIELDS
    readonly_fields = VIEWER_FIELDS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Viewer]:
        # A subquery of the rows shown; a join would count for every viewer there is.
        written = Comment.objects.filter(author=OuterRef("pk")).order_by().values("author")
        total = written.annotate(total=Count("pk")).values("total")
        return super().get_queryset(request).annotate(comment_total=Coalesce(Subquery(total), 0))

    @admin.display(description=_("comments"))
    def comment_count(self, viewer: Any) -> str:
        url = f"../comment/?author__id__exact={viewer.pk}"
        return format_html('<a href="{}">{}</a>', url, viewer.comment_total)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Viewer | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Viewer | None = None) -> bool:
        return False


class StreamInline(admin.StackedInline[Stream, Any]):
    """The comment settings, on the page of their video; open pages follow within 2 s."""

    model = Stream
    can_delete = False
    fields = ["accepting", "max_length", "retention_days", "moderators"]
    autocomplete_fields = ["moderators"]
    verbose_name = verbose_name_plural = _("comments")

    class Media:
        js = [Script("js/admin-labels.js", type="module")]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # every video has its stream from its first save on


# `videos` knows nothing of comments, so this is put in from here.
VideoAdmin.inlines = [*VideoAdmin.inlines, StreamInline]
VideoAdmin.gone_with = [
    *VideoAdmin.gone_with,
    (
        str(Comment._meta.verbose_name_plural),
        lambda videos: Comment.objects.filter(stream__video__in=videos).count(),
    ),
    (
        str(Job._meta.verbose_name_plural),
        lambda videos: Job.objects.filter(stream__video__in=videos).count(),
    ),
]
