"""From what a client sent to a verb, for the socket and the plain form alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from comments import services
from comments.errors import Code, Refused
from comments.identity import Actor, actors_of_sessions
from streamsite.observe import context, tracing
from streamsite.observe.counts import counts


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action came to: `number` of the comment it was about, or the new `name`."""

    number: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A client's frame, and from whom: the session behind the socket, the address's hash."""

    session_key: str | None
    address: str
    fields: Mapping[str, Any]
    trace: Any = field(default_factory=tracing.here)  # leads to its span, where there is one
    about: context.About = field(default_factory=context.about)  # what lines of it are about


def _post(
    actor: Actor, stream_id: int, fields: Mapping[str, Any], *, by_form: bool = False
) -> Outcome:
    name = fields.get("name")
    body, key, shown = fields.get("body"), fields.get("key"), fields.get("as")
    if by_form and actor.viewer and name not in (None, "", actor.viewer.display_name):
        comment = services.post_as(actor, stream_id, name, body, key, shown=shown)
    else:
        comment = services.post(actor, stream_id, body, key, by_form=by_form, shown=shown)
    return Outcome(number=comment.number)


def _remove(actor: Actor, stream_id: int, fields: Mapping[str, Any]) -> Outcome:
    return Outcome(number=services.remove(actor, stream_id, fields.get("number")).number)


def _restore(actor: Actor, stream_id: int, fields: Mapping[str, Any]) -> Outcome:
    return Outcome(number=services.restore(actor, stream_id, fields.get("number")).number)


def _rename(actor: Actor, stream_id: int, fields: Mapping[str, Any]) -> Outcome:
    return Outcome(name=services.rename(actor, fields.get("name")).display_name)


ACTIONS: Mapping[str, Callable[[Actor, int, Mapping[str, Any]], Outcome]] = {
    "post": _post,
    "remove": _remove,
    "restore": _restore,
    "rename": _rename,
}


def count(door: str, action: object, outcome: str) -> None:
    """Count an answer: `door` it went out by, `outcome` "ok" or the code of the refusal."""
    known = action if isinstance(action, str) and action in ACTIONS else "unknown"
    counts.actions.add(door, known, outcome)
    tracing.answered(door, known, outcome)


def perform(
    actor: Actor, stream_id: int, fields: Mapping[str, Any], *, by_form: bool = False
) -> Outcome:
    """Do what `fields["action"]` names. Raises Refused, `malformed` for an unknown action too."""
    action = fields.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise Refused(Code.MALFORMED, _("This action is not known."))
    if action != "post":  # a post that stands already is found again, whoever asks
        services.require_shown(actor, fields.get("as"))
    if by_form and action == "post":
        return _post(actor, stream_id, fields, by_form=True)
    return ACTIONS[action](actor, stream_id, fields)


def perform_posts(
    stream_id: int, posts: list[Sent], *, wait: bool = False
) -> list[Outcome | Refused]:
    """Post what several sockets sent, in one transaction; each has its own outcome, which without
    `wait` may be Held (services.post_many)."""
    with tracing.span("batch", root=True, links=[sent.trace for sent in posts], posts=len(posts)):
        context.hide(*(sent.fields.get("body") for sent in posts))
        actors = actors_of_sessions([(sent.session_key, sent.address) for sent in posts])
        for sent, actor in zip(posts, actors, strict=True):
            if actor.viewer:
                sent.about.known["viewer"] = actor.viewer.handle
        drafts = [
            services.Draft(actor, fields.get("body"), fields.get("key"), shown=fields.get("as"))
            for actor, fields in zip(actors, (sent.fields for sent in posts), strict=True)
        ]
        return [
            outcome if isinstance(outcome, Refused) else Outcome(number=outcome.number)
            for outcome in services.post_many(stream_id, drafts, wait=wait)
        ]
