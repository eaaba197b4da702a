"""Posting: alone, or with what others post in the same moment (group commit)."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext as _

from comments import limits, text
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.models import Comment, Stream, Viewer
from comments.services import common
from comments.services.common import (
    Held,
    busy,
    lock_viewers,
    nobody,
    require_shown,
    require_viewer,
    verb,
)
from comments.services.rows import insert


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to post. `key` is the client's UUID for it.

    `by_form`: the key is the page's, which "back" brings again: with another text it is another
    comment. `shown`: whom the page shows, where it says so (`Actor.shown`).
    """

    actor: Actor
    body: object
    key: object
    by_form: bool = False
    shown: object = None


def post(
    actor: Actor,
    stream_id: int,
    body: object,
    key: object,
    *,
    by_form: bool = False,
    shown: object = None,
) -> Comment:
    """Post a comment; arguments as in `Draft`. The same key again returns what stands.

    Refused: malformed, empty, too_long, too_fast, closed, sign_in_required, not_allowed,
    not_found.
    """
    (outcome,) = post_many(stream_id, [Draft(actor, body, key, by_form, shown)])
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


@verb
def post_many(
    stream_id: int, drafts: Sequence[Draft], *, wait: bool = True
) -> list[Comment | Refused]:
    """Post what several people write to one video, in one transaction and in this order.

    Each draft has its own outcome: the comment, or the refusal of that draft alone. Without `wait`
    that is Held where another transaction has the viewer's row: nobody waits for a stranger.
    Raises Refused (`try_again`) for all of them where the database is busy or gone.
    """
    batch = _Batch(stream_id, wait=wait)
    read = [_outcome(_Entry.of, draft) for draft in drafts]
    batch.prepare([entry for entry in read if isinstance(entry, _Entry)])
    outcomes = [
        _outcome(batch.take, entry) if isinstance(entry, _Entry) else entry for entry in read
    ]
    batch.write()
    return outcomes


@verb
def require_takes(stream_id: int, draft: Draft) -> None:
    """Raise what would refuse a draft now. Nothing is written."""
    batch = _Batch(stream_id, wait=True)
    entry = _Entry.of(draft)
    batch.prepare([entry])
    batch.take(entry)


def _outcome[A, R](step: Callable[[A], R], argument: A) -> R | Refused:
    try:
        return step(argument)
    except Refused as refusal:
        return refusal


@dataclass(frozen=True, slots=True)
class _Entry:
    """A well-formed draft: what can be said without the database is said."""

    draft: Draft
    key: uuid.UUID
    body: str
    viewer_id: int

    @classmethod
    def of(cls, draft: Draft) -> "_Entry":
        key, body = parse_key(draft.key), text.clean(draft.body)
        return cls(draft, key, body, require_viewer(draft.actor).pk)

    @property
    def other_key(self) -> uuid.UUID:
        """Of a plain form's second text: the key is the page's, which "back" brings again."""
        return uuid.uuid5(self.key, self.body)


class _Batch:
    """Entries for one video. What the rules look at is read once for all of them; then each is
    taken as if those before it stood already."""

    def __init__(self, stream_id: int, *, wait: bool) -> None:
        self.stream_id = stream_id
        self.wait = wait
        self.new: list[Comment] = []
        self.badges: dict[User | None, str] = {}

    def prepare(self, entries: list[_Entry]) -> None:
        if not entries:
            return
        self.viewers = lock_viewers({entry.viewer_id for entry in entries}, wait=self.wait)
        self.standing = self._standing(entries)
        self.room = Stream.objects.with_state(self.stream_id)
        self.of_viewer = limits.flood_per_viewer(self.viewers)
        self.of_address = limits.flood_per_address({e.draft.actor.address for e in entries})

    def _standing(self, entries: list[_Entry]) -> dict[tuple[int, uuid.UUID], Comment]:
        """The comments of these keys, by the viewer or by another of the same account: who signs
        in between a post and its retry goes on as the account's first viewer."""
        accounts: dict[int | None, int] = {
            viewer.user_id: pk for pk, viewer in self.viewers.items() if viewer.user_id
        }
        self.owners = {pk: accounts.get(viewer.user_id, pk) for pk, viewer in self.viewers.items()}
        if accounts:
            claimed = Viewer.objects.filter(user__in=list(accounts)).values_list("pk", "user_id")
            self.owners |= {pk: accounts[user_id] for pk, user_id in claimed}
        of_owner: dict[int, list[int]] = {}
        for viewer_id, owner in self.owners.items():
            of_owner.setdefault(owner, []).append(viewer_id)
        posts = [
            (of_owner[self.owners[entry.viewer_id]], key)
            for entry in entries
            if entry.viewer_id in self.owners
            for key in ([entry.key, entry.other_key] if entry.draft.by_form else [entry.key])
        ]
        found = Comment.objects.with_keys(self.stream_id, posts)
        return {(self.owners[comment.author_id], comment.key): comment for comment in found}

    def take(self, entry: _Entry) -> Comment:
        """The comment that stands or is to be written. Raises Refused."""
        actor, key = entry.draft.actor, entry.key
        author = self.viewers.get(entry.viewer_id)
        if author is None:
            raise nobody() if self.wait else busy(Held)
        owner = self.owners[author.pk]
        standing = self.standing.get((owner, key))
        if standing and entry.draft.by_form and standing.body != entry.body:
            key = entry.other_key
            standing = self.standing.get((owner, key))
        if standing:
            return standing
        require_shown(actor, entry.draft.shown)
        if self.room is None:
            raise Refused(Code.NOT_FOUND, _("This video is gone."))
        if not self.room.is_open:
            raise Refused(Code.CLOSED, _("Comments are closed here."))
        text.require_length(entry.body, self.room.max_length)
        self.of_viewer.require(author.pk)
        self.of_address.require(actor.address)
        if actor.user not in self.badges:
            self.badges[actor.user] = actor.badge(self.room)
        comment = Comment(
            stream=self.room,
            author=author,
            key=key,
            author_name=author.name_to_keep,
            badge=self.badges[actor.user],
            body=entry.body,
            address=actor.address,
            posted_at=timezone.now(),
        )
        self.new.append(comment)
        self.standing[owner, key] = comment
        self.of_viewer.add(author.pk)
        self.of_address.add(actor.address)
        return comment

    def write(self) -> None:
        """Number what was taken, in its order, and publish it after the commit."""
        if not self.new or self.room is None:
            return
        first = self.room.advance(len(self.new)) - len(self.new) + 1
        for number, comment in enumerate(self.new, first):
            comment.number = comment.change = number
        insert(self.new)
        common.publish(self.new)


def parse_key(key: object) -> uuid.UUID:
    """Refuse (`malformed`) a key that is not a UUID in its usual form."""
    try:
        if isinstance(key, str) and len(key) <= 36:
            return uuid.UUID(key)
    except ValueError:
        pass
    raise Refused(Code.MALFORMED, _("The comment's key must be a UUID."))
