"""What goes with a video: its files."""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from videos.models import Video


@receiver(pre_delete, sender=Video)
def video_goes(instance: Video, **kwargs: Any) -> None:
    """Its files are deleted once it is: in admin, in bulk too, and at the command line.

    Their names are the row's, which a worker may have changed since `instance` was read; the lock
    keeps the worker from doing it after this.
    """
    names = Video.objects.select_for_update().filter(pk=instance.pk).file_names()
    transaction.on_commit(partial(Video.objects.clear_files, names), robust=True)
