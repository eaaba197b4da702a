"""The people and videos of the tests, and what the database says of them.

These run where the data is: in the tests' own process, or in a Site's (`site.call(function, …)`),
so they take and return plain values only.
"""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.cached_db import SessionStore
from django.contrib.sessions.models import Session
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import get_random_string

from comments.identity import MODEL_BACKEND, SESSION_VIEWER, claim
from comments.models import Comment, Job, Stream, Viewer, ViewerCount
from videos.models import Video

PASSWORD = "a-long-enough-phrase-7"
UNUSABLE = "!"


def make_people() -> None:
    """alice (an account), mona (moderates every video below), max (moderates elsewhere), root."""
    for name in ("alice", "mona", "max"):
        User.objects.create_user(name, password=PASSWORD)
    User.objects.create_superuser("root", password=PASSWORD)
    make_video("elsewhere", moderator="max")


def make_video(slug: str, state: str = "live", moderator: str = "mona") -> int:
    """A video with its stream; the stream's id."""
    video = Video.objects.create(slug=slug, title=f"Video {slug}", state=state)
    stream = Stream.objects.get(video=video)
    stream.moderators.add(User.objects.get(username=moderator))
    return stream.pk


def set_stream(slug: str, **fields: Any) -> None:
    """Change the comment settings as the admin does, with a save."""
    stream = Stream.objects.get(video__slug=slug)
    for field, value in fields.items():
        setattr(stream, field, value)
    stream.save(update_fields=list(fields))


def set_state(slug: str, state: str) -> None:
    video = Video.objects.get(slug=slug)
    video.state = state
    video.save()


def set_files(slug: str, **names: Any) -> None:
    """As an upload and a worker would."""
    Video.objects.filter(slug=slug).update(**names)


def set_source(slug: str, url: str) -> None:
    Video.objects.filter(slug=slug).update(source_url=url)


def set_account(username: str, **fields: Any) -> None:
    User.objects.filter(username=username).update(**fields)


def make_account(
    username: str, *, password: bool = True, may: list[str] | None = None, **fields: Any
) -> None:
    """An account; `may` are permissions (`view_comment`). Without password it is made at once."""
    user = User.objects.create_user(username, password=PASSWORD if password else None, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=may or []))


def delete_account(username: str) -> None:
    User.objects.get(username=username).delete()


def stream_of(slug: str) -> dict[str, Any]:
    stream = Stream.objects.get(video__slug=slug)
    return {"id": stream.pk, "head": stream.head, "epoch": stream.epoch}


def settings_of(slug: str) -> dict[str, Any]:
    stream = Stream.objects.get(video__slug=slug)
    return {"max_length": stream.max_length, "accepting": stream.accepting}


def video_pk(slug: str) -> int:
    return Video.objects.get(slug=slug).pk


def comments_of(slug: str, *, staff: bool = False) -> list[dict[str, Any]]:
    """Every comment as a page (the staff's page) should show it, in order."""
    found = Comment.objects.filter(stream__video__slug=slug).select_related("author")
    if not staff:
        found = found.filter(state=Comment.State.VISIBLE)
    return [
        {
            "number": comment.number,
            "change": comment.change,
            "author": comment.author.handle,
            "name": comment.author_name,
            "body": comment.body,
            "state": comment.state,
            "badge": comment.badge,
            "removed_by": comment.removed_by,
        }
        for comment in found.order_by("number")
    ]


def everything_of(slug: str) -> dict[str, Any]:
    """All that an action could change: to be compared before and after a refusal."""
    comments = Comment.objects.filter(stream__video__slug=slug).order_by("number")
    return {
        "stream": stream_of(slug),
        "comments": [str(row) for row in comments.values_list()],
    }


def ids_of(slug: str, *numbers: int) -> list[int]:
    """Primary keys, as the admin's check boxes hold them."""
    found = Comment.objects.filter(stream__video__slug=slug, number__in=numbers)
    return list(found.order_by("number").values_list("pk", flat=True))


def viewer_of(handle: str) -> dict[str, Any]:
    viewer = Viewer.objects.get(handle=handle)
    account = viewer.user.get_username() if viewer.user else None
    return {"pk": viewer.pk, "name": viewer.name, "account": account}


def session_of(username: str) -> str:
    """The key of a new session in which the account is signed in; no password is hashed for it."""
    user = User.objects.get(username=username)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = MODEL_BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    claim(session, user)
    session.create()
    assert session.session_key is not None
    return session.session_key


def end_session(key: str) -> None:
    Session.objects.filter(session_key=key).delete()


def make_sessions(count: int, signed_in: int = 0) -> list[str]:
    """Sessions with a viewer each, as the page makes them; the first `signed_in` have accounts.
    Their keys."""
    store = SessionStore()
    expire = timezone.now() + timedelta(days=1)
    users = User.objects.bulk_create(
        User(
            username=f"person-{number}-{get_random_string(32, VALID_KEY_CHARS)}", password=UNUSABLE
        )
        for number in range(signed_in)
    )
    viewers = Viewer.objects.bulk_create(
        (Viewer(user=users[n] if n < signed_in else None) for n in range(count)), batch_size=500
    )
    sessions = []
    for number, viewer in enumerate(viewers):
        held: dict[str, object] = {SESSION_VIEWER: viewer.pk}
        if number < signed_in:
            user = users[number]
            held |= {
                SESSION_KEY: str(user.pk),
                BACKEND_SESSION_KEY: MODEL_BACKEND,
                HASH_SESSION_KEY: user.get_session_auth_hash(),
            }
        key = get_random_string(32, VALID_KEY_CHARS)
        sessions.append(
            Session(session_key=key, session_data=store.encode(held), expire_date=expire)
        )
    Session.objects.bulk_create(sessions, batch_size=500)
    return [session.session_key for session in sessions]


def cursor_of(slug: str, behind: int = 0) -> str:
    stream = Stream.objects.get(video__slug=slug)
    return f"{stream.epoch}-{max(0, stream.head - behind)}"


def set_moderator(slug: str, username: str, *, moderates: bool) -> None:
    stream, user = Stream.objects.get(video__slug=slug), User.objects.get(username=username)
    (stream.moderators.add if moderates else stream.moderators.remove)(user)


def write_many(slug: str, count: int, seconds: float = 0.01) -> None:
    """Comments as if posted one after another since the video's start, `seconds` apart."""
    stream = Stream.objects.select_related("video").get(video__slug=slug)
    author, began = Viewer.objects.create(), stream.video.started_at
    assert began is not None
    first = stream.advance(count) - count + 1
    Comment.objects.bulk_create(
        [
            Comment(
                stream=stream,
                number=number,
                change=number,
                author=author,
                author_name=f"Writer {number % 7}",
                key=uuid.uuid4(),
                body=f"comment {number}",
                posted_at=began + timedelta(seconds=number * seconds),
            )
            for number in range(first, first + count)
        ],
        batch_size=5000,
    )


def watch(slug: str, viewers: list[int]) -> None:
    """So many watched at once in each minute from a video's start on."""
    stream = Stream.objects.select_related("video").get(video__slug=slug)
    began = stream.video.started_at
    assert began is not None
    ViewerCount.objects.bulk_create(
        ViewerCount(stream=stream, minute=began + timedelta(minutes=minute), viewers=count)
        for minute, count in enumerate(viewers)
    )


def jobs_of(slug: str) -> list[dict[str, Any]]:
    fields = ("pk", "kind", "state", "attempts", "done", "total", "file", "size", "problem")
    jobs = Job.objects.filter(stream__video__slug=slug).order_by("pk")
    return [dict(zip(fields, row, strict=True)) for row in jobs.values_list(*fields)]


def age_job(pk: int, **hours: float) -> None:
    """Set times of a job back, as if so many hours had passed."""
    job = Job.objects.get(pk=pk)
    for field, by in hours.items():
        setattr(job, field, getattr(job, field) - timedelta(hours=by))
    job.save(update_fields=list(hours))


def age_comments(slug: str, last: int, days: int) -> None:
    """Set the comments up to number `last` back, as if they had been posted so many days ago."""
    comments = Comment.objects.filter(stream__video__slug=slug, number__lte=last)
    comments.update(posted_at=F("posted_at") - timedelta(days=days))


def set_job(slug: str, **fields: Any) -> None:
    """How the latest job of a video stands, as its worker would have it."""
    latest = Job.objects.filter(stream__video__slug=slug).order_by("-pk").first()
    assert latest is not None
    Job.objects.filter(pk=latest.pk).update(**fields)
