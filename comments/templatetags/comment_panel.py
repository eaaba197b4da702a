"""`{% comment_panel video %}`: the comments beside a video, ready to live on over the socket."""

import uuid
from typing import Any

from django import template
from django.http import HttpRequest
from django.template.context import Context
from django.utils.translation import gettext as _

from comments import services, stream
from comments.errors import Code, Refused
from comments.identity import Actor, actor_of_request
from comments.models import Stream
from comments.stream import Cursor
from comments.text import NAME_CHARACTERS
from videos.models import Video

register = template.Library()


@register.inclusion_tag("comments/_panel.html", takes_context=True)
def comment_panel(context: Context, video: Video) -> dict[str, Any]:
    """The panel as this session sees it. Makes the session and its viewer where there is none.

    `refusal` and `draft` in the page's context are what the plain form came to.
    """
    request: HttpRequest = context["request"]
    # Asked for the head alone (link checkers do), a page makes nobody.
    is_head = request.method == "HEAD"
    actor = Actor(None) if is_head else actor_of_request(request)
    # The head before the comments: what commits in between comes again over the socket.
    room, _created = Stream.objects.select_related("video").get_or_create(video=video)
    staff = actor.can_moderate(room)
    comments = stream.window_comments(room, staff=staff)
    return {
        "request": request,
        "csrf_token": context.get("csrf_token"),
        "video": video,
        "room": room,
        "viewer": actor.viewer,
        "handles": actor.handles(),
        "shown": actor.shown,
        "user": actor.user,
        "badge": actor.badge(room),
        "staff": staff,
        "rows": [stream.fragment(comment, staff=staff) for comment in comments],
        "older": stream.older_than(room, comments, staff=staff),
        "cursor": Cursor(room.epoch, room.head),
        "key": _form_key(context.get("draft") or {}),
        "name_characters": NAME_CHARACTERS,
        "refusal": context.get("refusal") or (None if actor.viewer or is_head else crowded()),
        "draft": context.get("draft", {}),
    }


def crowded() -> Refused:
    """What a page without a viewer says: its reader may try again in a minute."""
    sentence = _(
        "Very many people have just come from your network. You can read along; to comment, sign in"
        " or reload this page in a minute."
    )
    return Refused(Code.SIGN_IN_REQUIRED, sentence)


def _form_key(draft: dict[str, Any]) -> uuid.UUID:
    """The key of the plain form: of what was refused the same again, as that may yet be stored."""
    try:
        return services.parse_key(draft.get("key"))
    except Refused:
        return uuid.uuid4()
