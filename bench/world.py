"""What the benchmark asks of our product's own process beside the servers (tests.servers.Remote)."""

from datetime import timedelta

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone

from comments.identity import MODEL_BACKEND, SESSION_VIEWER
from comments.models import Stream, Viewer


def make_sessions(count: int, signed_in: int = 0) -> list[str]:
    """Sessions with a viewer each, as the page makes them; the first `signed_in` have accounts.
    Their keys."""
    store = SessionStore()
    expire = timezone.now() + timedelta(days=1)
    users = User.objects.bulk_create(
        User(username=f"person-{number}-{store._get_new_session_key()}", password="!")
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
        key = store._get_new_session_key()
        sessions.append(
            Session(session_key=key, session_data=store.encode(held), expire_date=expire)
        )
    Session.objects.bulk_create(sessions, batch_size=500)
    return [session.session_key for session in sessions]


def cursor_of(slug: str, behind: int = 0) -> str:
    stream = Stream.objects.get(video__slug=slug)
    return f"{stream.epoch}-{max(0, stream.head - behind)}"
