"""The job of making posters, and asking for it. The work itself is in videos/posters.py."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from comments.jobs.attempt import Attempt, NotWantedError, ProblemError
from comments.models import Job, Stream
from videos import posters
from videos.models import Video


def make(attempt: Attempt) -> tuple[Mapping[str, Any] | None, str]:
    attempt.step(0, 1)
    attempt.job.total = 1
    try:
        posters.make(Video.objects.get(pk=attempt.job.stream.video_id))
    except posters.PosterError as error:
        raise ProblemError(str(error)) from error
    except Video.DoesNotExist:
        raise NotWantedError from None  # deleted meanwhile, and the job with it
    return None, ""


def request(video: Video) -> None:
    """Have the video's poster made, where there is something to make it of."""
    from comments.services.jobs import enter

    # The row decides: a worker may have done it since `video` was read.
    wanting = Video.objects.with_something_for_a_poster().filter(pk=video.pk)
    if video.poster_wanted and wanting.exists():
        with transaction.atomic():
            enter(Stream.objects.get(video=video), Job.Kind.POSTER, None)


def request_missing() -> None:
    """For what was there before a worker was: an older version's posters, a restored backup's."""
    for video in Video.objects.with_something_for_a_poster():
        request(video)
