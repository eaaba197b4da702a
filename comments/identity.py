"""Who acts: from a session, an account or a command line to a viewer with known authority.

Nothing of it is trusted from the client, and nothing is remembered on a socket: every action
reads session, account and viewer anew, so signing out, a new password, a demotion or a
deactivation count from the next action on. What an open socket is sent follows by the safety poll.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from comments import sql
from comments.limits import address_of_request, takes_newcomer
from comments.models import MODERATE, Comment, Stream, Viewer
from streamsite.observe import context

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
SESSION_VIEWER = "viewer"  # the session's entry that holds its viewer's id
HANDLES_AT_MOST = 50  # of an account that a page is told


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a viewer (None without a session, or where too many came from its address), its
    account if signed in, its address's hash."""

    viewer: Viewer | None
    user: User | None = None
    address: str = ""

    @property
    def shown(self) -> str:
        """Whom a page of this session shows: the viewer's handle, with @ for a signed-in one."""
        if self.viewer is None:
            return ""
        return f"@{self.viewer.handle}" if self.user else self.viewer.handle

    def wrote(self, comment: Comment) -> bool:
        """Whether a comment is one's own: this viewer's, or another's that the account claimed."""
        if self.viewer is None:
            return False
        claimed = self.user is not None and comment.author.user_id == self.user.pk
        return claimed or comment.author_id == self.viewer.pk

    def handles(self) -> list[str]:
        """The handles that one's own comments are under: this viewer's, and the latest that the
        account claimed, 50 at most. Of comments under others `wrote` is true all the same."""
        if self.viewer is None or self.user is None:
            return [self.viewer.handle] if self.viewer else []
        others = Viewer.objects.filter(user=self.user).exclude(pk=self.viewer.pk)
        latest = others.order_by("-claimed_at", "-pk").values_list("handle", flat=True)
        return [self.viewer.handle, *latest[: HANDLES_AT_MOST - 1]]

    def can_moderate(self, stream: Stream) -> bool:
        """Site-wide by permission, or of this one video."""
        if self.user is None or not self.user.is_active:
            return False
        return self.user.has_perm(MODERATE) or stream.moderators.filter(pk=self.user.pk).exists()

    def badge(self, stream: Stream) -> str:
        """The mark beside the name, drawn by the server alone."""
        if self.user is None:
            return Comment.Badge.NONE
        if self.user.is_staff:
            return Comment.Badge.STAFF
        return Comment.Badge.MODERATOR if self.can_moderate(stream) else Comment.Badge.NONE


@dataclass(frozen=True, slots=True)
class Standing:
    """What a signed-in socket's authority rests on: session, account, and the password's hash."""

    session_key: str
    user_id: int
    password: str


def still_standing(
    signed_in: set[tuple[int, Standing]],
) -> dict[tuple[int, Standing], bool | None]:
    """For each stream and standing: None when it is over (signed out, deactivated, another
    password), else whether it moderates that stream now. Three queries, however many there are."""
    if not signed_in:
        return {}
    keys = {standing.session_key for _stream_id, standing in signed_in}
    ids = {standing.user_id for _stream_id, standing in signed_in}
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    alive = set(sessions.values_list("session_key", flat=True))
    active = User.objects.filter(pk__in=ids, is_active=True)
    passwords = dict(active.values_list("pk", "password"))
    moderating = moderators({stream_id for stream_id, _standing in signed_in}, ids)
    found: dict[tuple[int, Standing], bool | None] = {}
    for stream_id, standing in signed_in:
        user_id = standing.user_id
        if standing.session_key in alive and passwords.get(user_id) == standing.password:
            found[stream_id, standing] = (stream_id, user_id) in moderating
        else:
            found[stream_id, standing] = None
    return found


# `Actor.can_moderate` for many active accounts: who may everywhere, by permission (one's own or a
# group's), then who was appointed for a video.
_MODERATORS = """
SELECT 0, account.id FROM auth_user AS account
 WHERE account.id IN ({accounts}) AND (
    account.is_superuser
    OR EXISTS (SELECT 1 FROM auth_permission AS permission
                 JOIN django_content_type AS kind ON kind.id = permission.content_type_id
                WHERE kind.app_label = %s AND permission.codename = %s AND (
                   EXISTS (SELECT 1 FROM auth_user_user_permissions AS own
                            WHERE own.user_id = account.id AND own.permission_id = permission.id)
                   OR EXISTS (SELECT 1 FROM auth_user_groups AS member
                                JOIN auth_group_permissions AS granted
                                  ON granted.group_id = member.group_id
                               WHERE member.user_id = account.id
                                 AND granted.permission_id = permission.id))))
 UNION ALL
SELECT stream_id, user_id FROM comments_stream_moderators
 WHERE stream_id IN ({streams}) AND user_id IN ({accounts})
"""


def moderators(stream_ids: Collection[int], user_ids: Collection[int]) -> set[tuple[int, int]]:
    """Which of these accounts, which are active, moderate which of these streams."""
    if not stream_ids or not user_ids:
        return set()
    statement = _MODERATORS.format(streams=sql.places(stream_ids), accounts=sql.places(user_ids))
    values = [*user_ids, *MODERATE.split("."), *stream_ids, *user_ids]
    found = set(sql.fetch(statement, values))
    everywhere = [user_id for stream_id, user_id in found if not stream_id]
    return found.union((stream_id, user_id) for stream_id in stream_ids for user_id in everywhere)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a socket belongs, and as whom: `standing` is None for who is not signed in."""

    stream_id: int
    standing: Standing | None
    moderates: bool


def entries(slug: str, session_keys: Sequence[str | None]) -> list[Entry | None]:
    """What there is to know of sockets that open on a video's page, in four queries for all of
    them; None for each where there is no such video."""
    found = sql.fetch(
        "SELECT stream.id FROM comments_stream AS stream"
        " JOIN videos_video AS video ON video.id = stream.video_id WHERE video.slug = %s",
        [slug],
    )
    if not found:
        return [None] * len(session_keys)
    ((stream_id,),) = found
    users = _users(_sessions({key for key in session_keys if key}))
    moderating = moderators({stream_id}, {user.pk for user in users.values()})
    standings = {key: Standing(key, user.pk, user.password) for key, user in users.items()}
    return [
        Entry(stream_id, standing, (stream_id, standing.user_id) in moderating)
        if (standing := standings.get(key or ""))
        else Entry(stream_id, None, moderates=False)
        for key in session_keys
    ]


def people_of_standing() -> QuerySet[User]:
    """Staff, and moderators of the site or of a video: whose names nobody else may wear."""
    permitted = User.objects.with_perm(MODERATE, backend=MODEL_BACKEND).values("pk")
    appointed = Stream.moderators.through.objects.values("user_id")
    return User.objects.filter(
        Q(is_staff=True) | Q(pk__in=permitted) | Q(pk__in=appointed), is_active=True
    )


def actor_of_request(request: HttpRequest) -> Actor:
    """Who sent an HTTP request. Makes the session and its viewer where there is none, unless too
    many were made for its address in this minute: then nobody is behind it, who may read."""
    address = address_of_request(request)
    user = request.user if isinstance(request.user, User) and request.user.is_active else None
    kept = request.session.get(SESSION_VIEWER, 0)
    viewer = _own(Viewer.objects.filter(pk=kept).first(), user)
    if viewer is None and user is not None:
        viewer = viewer_of_account(user)
    if viewer is None:
        if user is None and not takes_newcomer(address):
            return Actor(None, address=address)
        viewer = _new_viewer(user)
        request.session[SESSION_VIEWER] = viewer.pk
    context.know(viewer=viewer.handle)
    return Actor(viewer, user, address)


def actor_of_session(session_key: str | None, address: str) -> Actor:
    """Who is behind a socket's session now; without viewer when the session has ended."""
    (actor,) = actors_of_sessions([(session_key, address)])
    return actor


def actors_of_sessions(sockets: Sequence[tuple[str | None, str]]) -> list[Actor]:
    """Who is behind each session key, at each address, in three queries for all of them; in four
    where an account's session does not hold one of its viewers."""
    # The database's own sessions, not the cached ones that pages use: a sign-out counts here and
    # now, also where the cache could not be reached to forget it.
    sessions = _sessions({key for key, _address in sockets if key})
    users = _users(sessions)
    viewers = Viewer.objects.with_ids(
        {session[SESSION_VIEWER] for session in sessions.values() if SESSION_VIEWER in session}
    )
    people: dict[str, tuple[Viewer | None, User | None]] = {}
    for key, session in sessions.items():
        user = users.get(key)
        people[key] = _own(viewers.get(session.get(SESSION_VIEWER, 0)), user), user
    lacking = {user.pk: user for viewer, user in people.values() if user and not viewer}
    firsts = _viewers_of_accounts(lacking)
    for key, (viewer, user) in people.items():
        if user and not viewer:
            people[key] = firsts.get(user.pk), user
    nobody = (None, None)
    return [Actor(*people.get(sent or "", nobody), address) for sent, address in sockets]


def user_of_session(key: str) -> User | None:
    """The account that a session is signed in as; None for who is not."""
    return _users(_sessions({key})).get(key)


def _sessions(keys: set[str]) -> dict[str, Mapping[str, Any]]:
    """What the sessions that have not ended hold, by their keys."""
    if not keys:
        return {}
    alive = sql.fetch(
        "SELECT session_key, session_data FROM django_session"  # noqa: S608
        f" WHERE session_key IN ({sql.places(keys)}) AND expire_date > %s",
        [*keys, sql.moment(timezone.now())],
    )
    return {key: _decoded(data) for key, data in alive}


@lru_cache(maxsize=4096)
def _decoded(data: str) -> Mapping[str, Any]:
    """What a session's row says: read anew each time, but its signature and JSON are checked once
    for the same text."""
    return MappingProxyType(SessionStore().decode(data))


def _users(sessions: Mapping[str, Mapping[str, Any]]) -> dict[str, User]:
    """The accounts that sessions are signed in as: what `django.contrib.auth.get_user` finds with
    the ModelBackend, in one query for all of them."""
    ids = {
        key: int(session[SESSION_KEY])
        for key, session in sessions.items()
        if session.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
    }
    if not ids:
        return {}
    people = set(ids.values())
    rows = User.objects.raw(
        f"SELECT * FROM auth_user WHERE is_active AND id IN ({sql.places(people)})",  # noqa: S608
        list(people),
    )
    active = {user.pk: user for user in rows}
    found = {}
    for key, pk in ids.items():
        if (user := active.get(pk)) is None:
            continue
        # Of the password, under this SECRET_KEY or those that it replaced.
        hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
        claimed = sessions[key].get(HASH_SESSION_KEY, "")
        if any(constant_time_compare(claimed, valid) for valid in hashes):
            found[key] = user
    return found


def actor_of_account(user: User) -> Actor:
    """An account at a door without session: admin, command line."""
    return Actor(viewer_of_account(user) or _new_viewer(user), user)


def viewer_of_account(user: User) -> Viewer | None:
    """The account's viewer: the first that it claimed, the same from every browser."""
    return _viewers_of_accounts({user.pk: user}).get(user.pk)


def _viewers_of_accounts(users: Mapping[int, User]) -> dict[int, Viewer]:
    """`viewer_of_account` of several, by the accounts' ids, in one query."""
    if not users:
        return {}
    found: dict[int, Viewer] = {}
    for viewer in Viewer.objects.filter(user__in=list(users)).order_by("claimed_at", "pk"):
        if viewer.user_id not in found and viewer.user_id is not None:
            viewer.user = users[viewer.user_id]
            found[viewer.user_id] = viewer
    return found


def claim(session: SessionBase, user: User) -> None:
    """At sign-in the account claims the session's viewer; what that viewer wrote stays its own.

    An account that had claimed one before goes on as that. At sign-out the viewer stays with
    the account, and the browser is somebody new.
    """
    if anonymous := session.get(SESSION_VIEWER):
        Viewer.objects.filter(pk=anonymous, user=None).update(user=user, claimed_at=timezone.now())
    viewer = viewer_of_account(user)
    if viewer is not None:
        session[SESSION_VIEWER] = viewer.pk


def _new_viewer(user: User | None) -> Viewer:
    return Viewer.objects.create(user=user, claimed_at=timezone.now() if user else None)


def _own(viewer: Viewer | None, user: User | None) -> Viewer | None:
    """The session's viewer, if it still belongs to whom the session belongs to."""
    if viewer is not None and viewer.user_id == (user.pk if user else None):
        viewer.user = user
        return viewer
    return None
