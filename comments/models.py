"""Stream, Viewer, Comment, ViewerCount and Job. Only `comments.services` writes streams' numbers,
comments and counts of viewers; `comments.jobs` writes jobs too, and clears away what is old."""

import secrets
import time
from collections.abc import Collection
from typing import Any, Self
from uuid import UUID
from zlib import crc32

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models
from django.utils.translation import gettext_lazy as _

from comments import sql
from comments.names import random_name
from comments.text import NAME_CODE_POINTS
from videos.models import Video

MODERATE = "comments.moderate_comment"  # the permission that makes a moderator of every video
KEPT_NAME = 200  # code points of a name beside a comment; an account's full name may have 301


def new_epoch() -> str:
    return secrets.token_hex(4)


def new_handle() -> str:
    return secrets.token_hex(6)


class StreamQuerySet(models.QuerySet["Stream"]):
    def with_state(self, pk: int) -> "Stream | None":
        """A stream, with no more of its video than its state; None where there is none."""
        found = self.raw(
            "SELECT stream.*, video.state AS state_of_video FROM comments_stream stream"
            " JOIN videos_video video ON video.id = stream.video_id WHERE stream.id = %s",
            [pk],
        )
        for stream in found:
            of_video = [stream.video_id, getattr(stream, "state_of_video")]  # noqa: B009
            stream.video = Video.from_db(self.db, ["id", "state"], of_video)
            return stream
        return None


class Stream(models.Model):
    """The comments of one video: its change counter and its settings. One row per video.

    `head` is the number of the last change. It moves in the same transaction as the change that
    it numbers, and its row lock is held until the commit: commit order is number order, and a
    rollback leaves no hole. `epoch` names this history of numbers; restoring a backup takes a new
    one, so that a cursor from the other history is not mistaken for one of this.
    """

    video = models.OneToOneField(Video, on_delete=models.CASCADE, related_name="stream")
    head = models.BigIntegerField(default=0, editable=False)
    epoch = models.CharField(max_length=8, default=new_epoch, editable=False)
    max_length = models.PositiveSmallIntegerField(
        _("longest comment"),
        default=500,
        validators=[MinValueValidator(1), MaxValueValidator(2000)],
        help_text=_("In characters as a reader counts them, 1 to 2000."),
    )
    accepting = models.BooleanField(
        _("accept comments"),
        default=True,
        help_text=_("Off: nobody can comment, what stands stays. An ended video accepts none."),
    )
    retention_days = models.PositiveSmallIntegerField(
        _("keep comments for"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text=_("Days, 1 to 3650; older ones are deleted for good. Empty: kept for ever."),
    )
    moderators = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        verbose_name=_("moderators"),
        help_text=_("May remove and restore comments of this video."),
    )

    objects = StreamQuerySet.as_manager()

    given_at = 0.0  # when `advance` gave numbers last (seconds since 1970); kept in memory alone

    class Meta:
        verbose_name = _("comment stream")
        verbose_name_plural = _("comment streams")

    def __str__(self) -> str:
        return str(self.video)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the settings. The counter and its epoch are never written back from memory: what
        was posted since they were read would lose its number, and the stream would stand still."""
        if not self._state.adding and kwargs.get("update_fields") is None:
            kept = {"id", "head", "epoch"}
            names = [field.name for field in self._meta.concrete_fields if field.name not in kept]
            kwargs["update_fields"] = names
        super().save(*args, **kwargs)

    @property
    def is_open(self) -> bool:
        """Whether comments are taken now."""
        return self.accepting and self.video.state != Video.State.ENDED

    def advance(self, by: int = 1) -> int:
        """Take the next `by` change numbers; the row stays locked until the transaction ends.
        The last of them. Raises NotUpdated, a DatabaseError, where the stream is gone."""
        found = sql.fetch(
            "UPDATE comments_stream SET head = head + %s WHERE id = %s RETURNING head",
            [by, self.pk],
        )
        if not found:
            raise self.NotUpdated("The stream was deleted meanwhile.")
        ((self.head,),) = found
        self.given_at = time.time()
        return self.head


class ViewerQuerySet(models.QuerySet["Viewer"]):
    def with_ids(self, ids: Collection[int], *, lock: str = "") -> dict[int, "Viewer"]:
        """Viewers by their ids, in the order of those; `lock` is a clause that locks their rows."""
        if not ids:
            return {}
        found = self.raw(
            f"SELECT * FROM comments_viewer WHERE id IN ({sql.places(ids)}) ORDER BY id {lock}",  # noqa: S608
            list(ids),
        )
        return {viewer.pk: viewer for viewer in found}


class Viewer(models.Model):
    """Whoever watches from one session; an account's viewer once that session signs in.

    The session holds the viewer's id; the session key is stored nowhere else. `handle` is the
    public, stable name of the viewer in pages and frames.
    """

    handle = models.CharField(_("handle"), max_length=12, unique=True, default=new_handle)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="viewers",
        verbose_name=_("account"),
    )
    name = models.CharField(_("name"), max_length=NAME_CODE_POINTS, default=random_name)
    renamed_at = models.DateTimeField(_("renamed at"), null=True, blank=True)
    claimed_at = models.DateTimeField(_("claimed at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ViewerQuerySet.as_manager()

    class Meta:
        verbose_name = _("viewer")
        verbose_name_plural = _("viewers")
        indexes = [models.Index(fields=["created_at", "id"], name="viewer_time")]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """The account's name for a signed-in viewer, the chosen (or given) one for others."""
        if self.user:
            return self.user.get_full_name() or self.user.get_username()
        return self.name

    @property
    def name_to_keep(self) -> str:
        """The name as far as a comment's row has room for it."""
        return self.display_name[:KEPT_NAME]

    @property
    def colour(self) -> int:
        return colour_of(self.handle)


class AccountName(models.Model):
    """What an account is called, in the forms that names are compared by, each with an index.

    One row per account, kept by `comments.accounts.remember`: asking the accounts themselves would
    read all of them for every name that somebody tries.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", primary_key=True
    )
    # Without case a name may have three times its code points; what is longer is cut.
    username = models.CharField(max_length=300, db_index=True)
    full_name = models.CharField(max_length=600, db_index=True)
    username_likeness = models.CharField(max_length=300, db_index=True)
    full_name_likeness = models.CharField(max_length=600, db_index=True)

    def __str__(self) -> str:
        return self.username


def colour_of(handle: str) -> int:
    """Which of the eight name colours (0 to 7) a viewer has: steady, from the handle alone."""
    return crc32(handle.encode()) % 8


class CommentQuerySet(models.QuerySet["Comment"]):
    def for_fragments(self) -> Self:
        """With everything that `comments/_comment.html` shows, in one query."""
        return self.select_related("author")

    def visible(self) -> Self:
        return self.filter(state=Comment.State.VISIBLE)

    def changed_since(self, change: int) -> Self:
        return self.filter(change__gt=change).order_by("change")

    def with_keys(
        self, stream_id: int, posts: Collection[tuple[Collection[int], UUID]]
    ) -> "list[Comment]":
        """What one of these viewers has posted under each key: nothing, nearly always."""
        prepared = Comment._meta.get_field("key").get_db_prep_value
        pairs = [
            (author, prepared(key, connection)) for authors, key in posts for author in authors
        ]
        if not pairs:
            return []
        found = sql.fetch(
            "SELECT (SELECT id FROM comments_comment WHERE stream_id = %s"  # noqa: S608
            f" AND author_id = column1 AND key = column2) FROM {sql.asked(pairs)}",
            [stream_id, *(value for pair in pairs for value in pair)],
        )
        if not any(pk for (pk,) in found):
            return []
        authors = {author for of_post, _key in posts for author in of_post}
        keys = {key for _authors, key in posts}
        return list(self.filter(stream_id=stream_id, author__in=authors, key__in=keys))

    def before(self, number: int) -> Self:
        return self.filter(number__lt=number)

    def since(self, number: int) -> Self:
        return self.filter(number__gte=number)


class Comment(models.Model):
    """One comment in its present state; what it was before is not kept.

    `number` is the stream's counter when it was posted: its place on screen, and its name within
    the video. `change` is the counter at its last change. `key` is made by the client: a retry
    with the same key by the same author finds the comment that already stands.
    """

    class State(models.TextChoices):
        VISIBLE = "visible", _("visible")
        REMOVED = "removed", _("removed")

    class Badge(models.TextChoices):
        NONE = "", _("none")
        STAFF = "staff", _("staff")
        MODERATOR = "mod", _("moderator")

    # Neither key has an index of its own: others begin with the same column, and each costs every
    # post.
    stream = models.ForeignKey(
        Stream, on_delete=models.CASCADE, related_name="comments", db_index=False
    )
    number = models.BigIntegerField(_("number"), editable=False)
    change = models.BigIntegerField(_("change"), editable=False)
    author = models.ForeignKey(
        Viewer,
        on_delete=models.PROTECT,
        related_name="comments",
        db_index=False,
        verbose_name=_("author"),
    )
    key = models.UUIDField(_("key"), editable=False)
    author_name = models.CharField(_("name"), max_length=KEPT_NAME)
    badge = models.CharField(_("badge"), max_length=5, choices=Badge, blank=True)
    body = models.TextField(_("text"))
    address = models.CharField(max_length=32, blank=True, editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.VISIBLE)
    removed_by = models.CharField(_("removed by"), max_length=KEPT_NAME, blank=True)
    posted_at = models.DateTimeField(_("posted at"))

    objects = CommentQuerySet.as_manager()

    class Meta:
        verbose_name = _("comment")
        verbose_name_plural = _("comments")
        permissions = [("moderate_comment", _("Can remove and restore comments of every video"))]
        constraints = [
            models.UniqueConstraint(fields=["stream", "number"], name="comment_number"),
            models.UniqueConstraint(fields=["stream", "change"], name="comment_change"),
            models.UniqueConstraint(fields=["stream", "author", "key"], name="comment_key"),
        ]
        indexes = [
            # What the flood limits count: the last seconds of one author, of one address.
            models.Index(fields=["author", "posted_at"], name="comment_author_time"),
            models.Index(fields=["address", "posted_at"], name="comment_address_time"),
            # The latest in admin, and the latest visible ones of a page whatever was removed since.
            models.Index(fields=["posted_at", "id"], name="comment_time"),
            models.Index(
                fields=["stream", "-number"],
                name="comment_visible",
                condition=models.Q(state="visible"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.author_name}: {self.body[:60]}"

    @property
    def is_removed(self) -> bool:
        return self.state == self.State.REMOVED


class ViewerCount(models.Model):
    """How many watched a video in one minute: the most at once, over all processes. A minute in
    which nobody did has no row, nor have those after the video's end.

    Without a constraint in the database: a process writes them while an admin deletes the video,
    and neither is to fail for the other. What then stays behind, housekeeping clears away.
    """

    stream = models.ForeignKey(
        Stream,
        on_delete=models.CASCADE,
        related_name="viewer_counts",
        db_constraint=False,
        db_index=False,  # the constraint's index begins with it
    )
    minute = models.DateTimeField()  # its beginning
    viewers = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "minute"], name="viewer_count_once")
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}, {self.minute:%Y-%m-%d %H:%M}: {self.viewers}"


class JobQuerySet(models.QuerySet["Job"]):
    def active(self) -> Self:
        return self.filter(state__in=Job.ACTIVE)

    def of(self, requester_id: int, stream_id: int) -> Self:
        """What one account asked for of one video, the latest first."""
        return self.filter(requester_id=requester_id, stream_id=stream_id).order_by("-pk")


class Job(models.Model):
    """Work that a worker does for somebody, and what became of it. The truth about it is here; the
    task in the queue (django.tasks) only has a worker look at it.

    `task_id` names the one task that may write here: a worker that was given up, and wakes, finds
    another one and stops. `beat_at`, by the database's clock, is when its worker last lived.
    """

    class Kind(models.TextChoices):
        CSV = "csv", _("CSV")
        JSONL = "jsonl", _("JSON Lines")
        VTT = "vtt", _("WebVTT")
        REPORT = "report", _("Report")
        POSTER = "poster", _("Poster")

    class State(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    ACTIVE = (State.QUEUED, State.RUNNING)
    EXPORTS = (Kind.CSV, Kind.JSONL, Kind.VTT)

    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="jobs")
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="jobs",
        verbose_name=_("asked for by"),
    )
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    task_id = models.UUIDField(null=True, editable=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=1)
    beat_at = models.DateTimeField(null=True, editable=False)
    done = models.BigIntegerField(_("done"), default=0)
    total = models.BigIntegerField(_("of"), default=0)
    problem = models.CharField(_("problem"), max_length=200, blank=True)
    file = models.CharField(_("file"), max_length=80, blank=True)
    size = models.BigIntegerField(_("bytes"), default=0)
    result = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(_("asked for at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        constraints = [
            # The same request twice gives one job.
            models.UniqueConstraint(
                fields=["kind", "stream", "requester"],
                condition=models.Q(state__in=["queued", "running"]),
                name="job_once",
            ),
            models.UniqueConstraint(
                fields=["kind", "stream"],
                condition=models.Q(state__in=["queued", "running"], kind="poster"),
                name="job_once_of_poster",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "beat_at"], name="job_state_beat"),
            models.Index(fields=["stream", "kind", "state"], name="job_of_stream"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.stream}"

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE
