"""The socket of a video page: joins the hub, takes actions, answers each to its sender alone."""

import asyncio
import json
import logging
import time
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.db import DatabaseError
from django.utils.translation import gettext as _

from comments import actions, batches, frames, limits, services
from comments.errors import Code, Refused
from comments.fanout import fanout
from comments.identity import actor_of_session
from comments.seats import Seat
from comments.services.common import DATABASE_FAILED
from comments.sockets import Socket
from comments.stream import Cursor
from comments.threads import ACTING, in_database
from streamsite.env import Rate
from streamsite.logs import Seldom
from streamsite.observe import context, tracing
from streamsite.websocket import Frame

logger = logging.getLogger(__name__)

# What one socket may send before any rule is looked at: 50 frames at once, then 10 a second; or as
# many as RATE_VIEWER allows comments, where that is more. What is beyond is not refused but read
# later, which the sender's own connection then holds back.
FRAMES_AT_ONCE = 50
FRAMES_PER_SECOND = 10.0

_away = Seldom()

type Fields = dict[str, Any]


class CommentConsumer(Socket):
    """`/ws/videos/<slug>/?cursor=<cursor>&audience=<whose rows the page shows: staff or public>`,
    after origin, admission and session."""

    stream_id = 0
    seat: Seat | None = None
    closing = False

    def leave(self) -> None:
        # The hub is the member of the group, not each socket.
        if self.seat:
            fanout.leave(self.stream_id, self.seat)

    async def connect(self) -> None:
        await self.accept()
        self.acting = asyncio.Lock()
        self.address = self.scope["address"]  # its hash, from Admission
        self.allowance = float(FRAMES_AT_ONCE)
        self.allowance_at = time.monotonic()
        try:
            async with fanout.arriving():
                await self._take_seat()
        except DATABASE_FAILED as error:
            if not fanout.draining:
                if _away.is_due():
                    logger.warning("sockets cannot be seated: the database fails: %s", error)
                await self.close(1013)
        except Exception:
            if not fanout.draining:
                logger.exception("a socket could not be seated")
                await self.close(1013)
        # Not among those that the process closes when it ends: who has no seat then, nor who got
        # one in that very moment.
        if fanout.draining and not self.closing:
            await self.close(1012)

    async def _take_seat(self) -> None:
        slug = self.scope["url_route"]["kwargs"]["slug"]
        entry = await batches.enter(slug, self.session_key())
        if entry is None:
            await self._tell(Refused(Code.NOT_FOUND, _("There is no such video.")))
            await self.close(4404)
            return
        self.stream_id = entry.stream_id
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        cursor = Cursor.parse(query.get("cursor", [""])[0])
        if entry.moderates is not (query.get("audience") == ["staff"]):
            cursor = None  # another audience's rows: it signed in or out, or another authority
        peer = self.scope["extensions"]["streamsite.peer"]  # given by streamsite.websocket
        seat = Seat(peer, self._close_after_answer, staff=entry.moderates, standing=entry.standing)
        await fanout.join(self.stream_id, seat, cursor)
        self.seat = seat

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.closing:
            return  # it could not be answered; the page sends it again when it is back
        await self._wait_for_allowance()
        async with self.acting:
            await self._act(text_data)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        self.closing = True
        await super().close(code, reason)

    @tracing.spanned("socket", server=True)
    async def _act(self, text_data: str | None) -> None:
        fields: Fields = {}
        try:
            fields = parse_frame(text_data)
            context.hide(fields.get("body"), fields.get("name"))
            sent = actions.Sent(self.session_key(), self.address, fields)
            if fields.get("action") == "post":
                outcome = await batches.post(self.stream_id, sent)
            else:
                outcome = await in_database(_perform, ACTING)(self.stream_id, sent)
            actions.count("socket", fields["action"], "ok")
            await self._answer(frames.ack(shown_key(fields), fields["action"], outcome))
        except Refused as refusal:
            actions.count("socket", fields.get("action"), refusal.code)
            await self._tell(refusal, fields)
        except DatabaseError as error:
            logger.warning("an action found the database failing: %s", type(error).__name__)
            actions.count("socket", fields.get("action"), Code.TRY_AGAIN)
            await self._tell(services.busy(), fields)
        except Exception:
            # A mistake of ours: it is logged whole, and the person is not left without an answer.
            logger.exception("an action failed")
            actions.count("socket", fields.get("action"), "error")
            sentence = _("Something went wrong here. Nothing was lost; please try again.")
            await self._tell(Refused(Code.TRY_AGAIN, sentence, retry_after=2), fields)

    async def _close_after_answer(self, code: int) -> None:
        """Close, but let an action that is under way be answered first."""
        async with self.acting:
            await self.close(code)

    async def _tell(self, refusal: Refused, fields: Fields | None = None) -> None:
        await self._answer(frames.refusal(shown_key(fields or {}), refusal))

    async def _answer(self, text: str) -> None:
        """Tell this socket alone; the short way if it has room."""
        if self.seat is None or not self.seat.peer.write(Frame(text)):
            await self.send(text)

    async def _wait_for_allowance(self) -> None:
        """A bucket of frames per socket, before work is done for any; off with RATE_VIEWER=off."""
        rate: Rate | None = settings.RATE_VIEWER
        if rate is None:
            return
        most = max(FRAMES_AT_ONCE, rate.count)
        per_second = max(FRAMES_PER_SECOND, rate.count / rate.seconds)
        now = time.monotonic()
        self.allowance = min(most, self.allowance + (now - self.allowance_at) * per_second) - 1
        self.allowance_at = now
        if self.allowance < 0:
            await asyncio.sleep(-self.allowance / per_second)


def parse_frame(text: str | None) -> Fields:
    """A client frame as its fields. Refused (`malformed`) unless it is a JSON object of 16 KiB."""
    if text is None:
        raise Refused(Code.MALFORMED, _("Binary messages are not understood here."))
    if len(text) > limits.FRAME_BYTES or len(text.encode("utf-8", "replace")) > limits.FRAME_BYTES:
        raise Refused(Code.TOO_LONG, _("This message is too long."))
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(Code.MALFORMED, _("This message is not JSON.")) from None
    if not isinstance(fields, dict):
        raise Refused(Code.MALFORMED, _("This message is not a JSON object."))
    return fields


def shown_key(fields: Fields) -> str:
    """The key that an answer repeats: what the client sent, if it is the length of a key."""
    key = fields.get("key")
    return key if isinstance(key, str) and len(key) <= 64 and key.isprintable() else ""


def _perform(stream_id: int, sent: actions.Sent) -> actions.Outcome:
    actor = actor_of_session(sent.session_key, sent.address)
    if actor.viewer:
        context.know(viewer=actor.viewer.handle)
    return actions.perform(actor, stream_id, sent.fields)
