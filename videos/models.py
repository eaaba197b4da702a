"""A video and its three states. Knows nothing of comments."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Self

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.validators import FileExtensionValidator
from django.db import models, transaction
from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from videos.files import (
    POSTER_TYPES,
    VIDEO_TYPES,
    check_poster,
    check_source_url,
    check_video,
    poster_path,
    source_path,
)

logger = logging.getLogger(__name__)

UPLOADS = ("source_file", "poster")
MADE = ("poster_of", "poster_sizes")  # by a worker, of the poster or of the file


class VideoQuerySet(models.QuerySet["Video"]):
    def listed(self) -> "VideoQuerySet":
        """Live first, then upcoming (soonest first), then past (latest first)."""
        state_order = Case(
            When(state=Video.State.LIVE, then=Value(0)),
            When(state=Video.State.UPCOMING, then=Value(1)),
            default=Value(2),
        )
        return self.alias(state_order=state_order).order_by(
            "state_order",
            Case(When(state=Video.State.UPCOMING, then=F("starts_at"))).asc(nulls_last=True),
            F("ended_at").desc(nulls_last=True),
            F("started_at").desc(nulls_last=True),
            "-pk",
        )

    def with_something_for_a_poster(self) -> "VideoQuerySet":
        """Those whose poster is still to be made; see `Video.poster_wanted`."""
        of_upload = ~Q(poster="") & ~Q(poster=F("poster_of"))
        of_video = Q(poster="") & ~Q(source_file="") & ~Q(source_file=F("poster_of"))
        return self.filter(of_upload | of_video if settings.FFMPEG else of_upload)

    def file_names(self) -> set[str]:
        """The names of all files that these rows name: uploads, and images made of them."""
        names: set[str] = set()
        rows = self.values_list("source_file", "poster", "poster_sizes")
        for source_file, poster, sizes in rows:
            names |= {source_file, poster, *(name for _width, _height, name in sizes)}
        return names - {""}

    def clear_files(self, names: Iterable[str]) -> int:
        """Delete those of these files that no row names, and say how many; what cannot be deleted
        is logged, and left to the housekeeping."""
        wanted = set(names)
        naming = Q(source_file__in=wanted) | Q(poster__in=wanted)
        for name in wanted:
            naming |= Q(sizes_text__contains=name)
        rows = self.model.objects.alias(sizes_text=Cast("poster_sizes", TextField()))
        gone = 0
        for name in wanted - rows.filter(naming).file_names():
            try:
                default_storage.delete(name)
                gone += 1
            except Exception as error:
                logger.warning("%s is not deleted: %s", name, type(error).__name__)
        return gone


class Video(models.Model):
    """One page: a player, and a stream of comments beside it.

    The source is an uploaded file or the URL of a file or of an HLS playlist, which the viewer's
    browser fetches; this server never does. An upcoming video may have none yet.
    """

    class State(models.TextChoices):
        UPCOMING = "upcoming", _("upcoming")
        LIVE = "live", _("live")
        ENDED = "ended", _("ended")

    title = models.CharField(_("title"), max_length=120)
    slug = models.SlugField(
        _("slug"), max_length=80, unique=True, help_text=_("The page's address ends in it.")
    )
    description = models.TextField(_("description"), blank=True, max_length=5000)
    source_file = models.FileField(
        _("video file"),
        upload_to=source_path,
        blank=True,
        validators=[FileExtensionValidator(list(VIDEO_TYPES)), check_video],
        help_text=_(
            "MP4 (.mp4, .m4v), WebM or Ogg (.ogv). The content is checked, not only the name."
        ),
    )
    source_url = models.URLField(
        _("video URL"),
        blank=True,
        max_length=500,
        validators=[check_source_url],
        help_text=_(
            "Instead of a file: an address, https or http, that ends in .mp4, .m4v, .webm, .ogv or"
            " .m3u8 (HLS)."
        ),
    )
    poster = models.FileField(
        _("poster"),
        upload_to=poster_path,
        blank=True,
        validators=[FileExtensionValidator(list(POSTER_TYPES)), check_poster],
        help_text=_("JPEG, PNG or WebP, at best 1280 by 720 pixels, at most 5 MB."),
    )
    # What `poster_sizes` was made of, or could not be made of: the name of a file. The largest of
    # the images takes the upload's place, so a poster that is ready is its own `poster_of`.
    poster_of = models.CharField(max_length=100, blank=True, editable=False)
    # [width, height, name] of each image, the smallest first (videos/posters.py).
    poster_sizes = models.JSONField(default=list, blank=True, editable=False)
    state = models.CharField(
        _("state"), max_length=10, choices=State, default=State.UPCOMING, db_index=True
    )
    starts_at = models.DateTimeField(
        _("starts at"), null=True, blank=True, help_text=_("Announced start, for upcoming videos.")
    )
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = VideoQuerySet.as_manager()

    # The uploads as the row named them when it was last read or written here.
    _named: Mapping[str, str] = MappingProxyType({})

    class Meta:
        verbose_name = _("video")
        verbose_name_plural = _("videos")
        constraints = [
            models.CheckConstraint(
                condition=Q(source_file="") | Q(source_url=""),
                name="video_one_source",
                violation_error_message=_("Give a file or a URL, not both."),
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep the times true to the state: live has a start, ended has both.

        What a worker has made of the poster is never written back from memory: it may have come,
        and the upload have gone, since this was read. Files that are replaced are deleted after
        the commit.
        """
        if self.state in (self.State.LIVE, self.State.ENDED) and self.started_at is None:
            self.started_at = timezone.now()
        if self.state == self.State.ENDED and self.ended_at is None:
            self.ended_at = timezone.now()
        if self.state != self.State.ENDED:
            self.ended_at = None
        if self.state == self.State.UPCOMING:
            self.started_at = None
        replaced: set[str] = set()
        if not (self._state.adding or self.pk is None):
            changed = {name for name in UPLOADS if self._is_changed(name)}
            if changed:
                replaced = Video.objects.filter(pk=self.pk).file_names()
            if "poster" in changed:
                self.poster_of, self.poster_sizes = "", []
            if kwargs.get("update_fields") is None:
                kept = self.get_deferred_fields() | {"id"}
                kept |= set() if "poster" in changed else {"poster", *MADE}
                names = [field.attname for field in self._meta.concrete_fields]
                kwargs["update_fields"] = [name for name in names if name not in kept]
        super().save(*args, **kwargs)
        self._remember_uploads()
        if replaced:
            transaction.on_commit(partial(Video.objects.clear_files, replaced), robust=True)

    def get_absolute_url(self) -> str:
        return reverse("videos:detail", args=[self.slug])

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        found = super().from_db(*args, **kwargs)
        found._remember_uploads()
        return found

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        self._remember_uploads()

    def _remember_uploads(self) -> None:
        self._named = {name: str(self.__dict__[name]) for name in UPLOADS if name in self.__dict__}

    def _is_changed(self, name: str) -> bool:
        """Whether another upload was put in here since the row was read, or none."""
        if name not in self.__dict__:
            return False  # not even read
        file = getattr(self, name)
        return not file._committed or str(file) != self._named.get(name)

    @property
    def is_live(self) -> bool:
        return self.state == self.State.LIVE

    @property
    def source(self) -> str:
        """The address the player loads, empty without a source."""
        return self.source_file.url if self.source_file else self.source_url

    @property
    def poster_wanted(self) -> str:
        """The name of the file that a poster is still to be made of; empty where there is none."""
        found: str = self.poster.name or ""
        if not found and settings.FFMPEG:
            found = self.source_file.name or ""
        return "" if found == self.poster_of else found

    def took_poster(
        self, wanted: str, *, poster: str, sizes: Sequence[tuple[int, int, str]]
    ) -> bool:
        """Keep what was made of `wanted` (nothing, where it could not be used); False where that is
        not what the video has any more."""
        rows = Video.objects.filter(pk=self.pk, poster=self.poster.name or "")
        if not self.poster:
            rows = rows.filter(source_file=wanted)
        of = poster if sizes else wanted
        # Not by save(): nothing else of the row is written back, and nobody waits for this.
        return bool(rows.update(poster=poster, poster_of=of, poster_sizes=list(sizes)))

    @property
    def poster_images(self) -> list[tuple[int, str]]:
        """Width and address of each image, the smallest first; none while they are being made."""
        if not self.poster or self.poster.name != self.poster_of:
            return []
        return [(width, default_storage.url(name)) for width, _height, name in self.poster_sizes]

    @property
    def poster_url(self) -> str:
        """The largest image, for who takes one address only; empty where there is none."""
        images = self.poster_images
        return images[-1][1] if images else ""

    @property
    def poster_srcset(self) -> str:
        return ", ".join(f"{url} {width}w" for width, url in self.poster_images)

    @property
    def is_playable(self) -> bool:
        """Whether pages play the source: an upcoming video's is kept until its time."""
        return bool(self.source) and self.state != self.State.UPCOMING

    @property
    def is_hls(self) -> bool:
        return self.source_url.partition("?")[0].lower().endswith(".m3u8")
