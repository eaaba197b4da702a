"""Videos in the admin: where they are made, made live, and ended."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.widgets import AdminFileWidget
from django.db.models import FileField, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from videos.models import Video

if TYPE_CHECKING:
    VideoModelAdmin = ModelAdmin[Video]
else:  # generic for the type checker only
    VideoModelAdmin = ModelAdmin


class SourceFilter(admin.SimpleListFilter):
    title = _("source")
    parameter_name = "source"

    def lookups(
        self, request: HttpRequest, model_admin: VideoModelAdmin
    ) -> Iterable[tuple[str, str]]:
        return [
            ("file", gettext("Uploaded file")),
            ("url", gettext("URL")),
            ("none", gettext("None yet")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Video]) -> QuerySet[Video]:
        match self.value():
            case "file":
                return queryset.exclude(source_file="")
            case "url":
                return queryset.exclude(source_url="")
            case "none":
                return queryset.filter(source_file="", source_url="")
        return queryset


class FileWidget(AdminFileWidget):
    """With a label of its own: in the fieldset that Django makes of it, the input has none."""

    use_fieldset = False


@admin.register(Video)
class VideoAdmin(VideoModelAdmin):
    list_display = ("title", "state_badge", "source_kind", "starts_at", "started_at", "ended_at")
    list_filter = ("state", SourceFilter)
    search_fields = ("title", "slug", "description")
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    prepopulated_fields = {"slug": ("title",)}
    readonly_fields = ("created_at", "poster_state")
    actions: Sequence[Any] = ("make_live", "end")
    formfield_overrides = {FileField: {"widget": FileWidget}}
    # What other apps delete with videos: a name in the plural, and how many there are.
    gone_with: ClassVar[list[tuple[str, Callable[[list[Video]], int]]]] = []
    fieldsets = (
        (None, {"fields": ("title", "slug", "description")}),
        (
            _("Picture"),
            {
                "fields": ("source_file", "source_url", "poster", "poster_state"),
                "description": _(
                    "A file or a URL, not both. With neither, the page of a live video says that "
                    "the picture is not here yet, and that of an ended one that there is no "
                    "recording. The poster stands in the list, and in the player before the "
                    "picture comes."
                ),
            },
        ),
        (
            _("State"),
            {
                "fields": ("state", "starts_at", "started_at", "ended_at", "created_at"),
                "description": _(
                    "Upcoming: the page is open and people can comment, but the video does not "
                    "play. Live: it plays, and people comment. Ended: the recording plays, and the "
                    "comments stand as they are; no new ones are taken. Started and ended fill "
                    "themselves in when the state changes. Times are UTC."
                ),
            },
        ),
    )

    def get_deleted_objects(
        self, objs: Sequence[Video] | QuerySet[Video], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """The videos, and how many of everything else go with them: Django would read and list
        each comment of each."""
        videos = list(objs)
        counts = {str(Video._meta.verbose_name_plural): len(videos)}
        for name, count in self.gone_with:
            counts[name] = count(videos)
        refused = [v for v in videos if not self.has_delete_permission(request, v)]
        needed = {str(Video._meta.verbose_name)} if refused else set()
        return [str(video) for video in videos], counts, needed, []

    def get_inlines(self, request: HttpRequest, obj: Video | None) -> list[Any]:
        """What other apps put in (see comments/admin.py) belongs to a video that exists."""
        return [] if obj is None else list(super().get_inlines(request, obj))

    @admin.display(description=_("poster's sizes"))
    def poster_state(self, video: Video) -> str:
        if video.poster_wanted:
            return gettext("Being made by a worker; pages show it as soon as it is ready.")
        if video.poster_of and not video.poster_sizes:
            return gettext("None could be made of it; the list of jobs says why.")
        widths = ", ".join(str(width) for width, _url in video.poster_images)
        return gettext("%s pixels wide") % widths if widths else gettext("none")

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, video: Video) -> str:
        return format_html(
            '<span class="state-badge state-badge-{}">{}</span>',
            video.state,
            gettext("LIVE") if video.is_live else video.get_state_display(),
        )

    @admin.display(description=_("source"))
    def source_kind(self, video: Video) -> str:
        if video.source_file:
            return gettext("File")
        if video.is_hls:
            return gettext("HLS")
        return gettext("URL") if video.source_url else gettext("none yet")

    @admin.action(description=_("Make live"), permissions=["change"])
    def make_live(self, request: HttpRequest, queryset: QuerySet[Video]) -> None:
        changed = self._set_state(request, queryset, Video.State.LIVE)
        text = ngettext("%d video is live.", "%d videos are live.", changed) % changed
        self.message_user(request, text, messages.SUCCESS)

    @admin.action(description=_("End"), permissions=["change"])
    def end(self, request: HttpRequest, queryset: QuerySet[Video]) -> None:
        changed = self._set_state(request, queryset, Video.State.ENDED)
        text = ngettext("%d video has ended.", "%d videos have ended.", changed) % changed
        self.message_user(request, text, messages.SUCCESS)

    def _set_state(
        self, request: HttpRequest, queryset: QuerySet[Video], state: Video.State
    ) -> int:
        """Save each video by itself, not in one UPDATE: the save keeps the times true and is what
        the rest of the site hears of. Those already in that state are left alone."""
        changed = 0
        for video in queryset.exclude(state=state):
            video.state = state
            video.save()
            self.log_change(request, video, [{"changed": {"fields": ["state"]}}])
            changed += 1
        return changed
