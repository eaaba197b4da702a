"""Comments that were there before, written where the data is (see `Site.call`)."""

import uuid

from comments import services
from comments.identity import Actor
from comments.models import Comment, Stream, Viewer


def write(slug: str, count: int, first: int = 1) -> None:
    """`count` comments "comment 1", "comment 2", … of one viewer, through the service."""
    stream = Stream.objects.get(video__slug=slug)
    writer = Actor(Viewer.objects.create(name="Past Writer"))
    for number in range(first, first + count):
        services.post(writer, stream.pk, f"comment {number}", str(uuid.uuid4()))


def write_as(slug: str, said: list[tuple[str, str]]) -> None:
    """One comment each of new viewers: their name, and what they say."""
    stream = Stream.objects.get(video__slug=slug)
    for name, body in said:
        writer = Actor(services.rename(Actor(Viewer.objects.create()), name))
        services.post(writer, stream.pk, body, str(uuid.uuid4()))


def keys_of(slug: str, body: str) -> list[str]:
    """The keys of the comments that say exactly this: one for each time it is stored."""
    found = Comment.objects.filter(stream__video__slug=slug, body=body)
    return [str(key) for key in found.values_list("key", flat=True)]


def removed(slug: str) -> list[str]:
    """What the removed comments say."""
    found = Comment.objects.filter(stream__video__slug=slug, state=Comment.State.REMOVED)
    return list(found.order_by("number").values_list("body", flat=True))
