"""What happens elsewhere that the stream must follow: a new video, a changed one, a sign-in."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from comments.accounts import remember
from comments.identity import claim
from comments.jobs import posters
from comments.models import Stream
from comments.stream import announce_room
from videos.models import Video

NAMES = {"username", "first_name", "last_name"}


@receiver(post_save, sender=Video)
def video_saved(instance: Video, created: bool, raw: bool, **kwargs: Any) -> None:
    """Every video has a stream from its first moment; open pages follow its state."""
    if raw:  # loaddata brings the stream rows itself
        return
    room, _created = Stream.objects.get_or_create(video=instance)
    posters.request(instance)
    if not created:
        transaction.on_commit(lambda: announce_room(room.pk), robust=True)


@receiver(post_save, sender=Stream)
def stream_saved(instance: Stream, created: bool, **kwargs: Any) -> None:
    """A setting was changed, in admin: open pages follow it."""
    if not created:
        transaction.on_commit(lambda: announce_room(instance.pk), robust=True)


@receiver(post_save, sender=User)
def account_saved(
    instance: User, raw: bool, update_fields: frozenset[str] | None, **kwargs: Any
) -> None:
    """Nobody else may be called so. (Signing in saves `last_login` alone.)"""
    if not raw and (update_fields is None or not update_fields.isdisjoint(NAMES)):
        remember(instance)


@receiver(user_logged_in)
def signed_in(request: HttpRequest, user: User, **kwargs: Any) -> None:
    claim(request.session, user)
