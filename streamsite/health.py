"""Whether this process lives, and whether what it needs answers; for supervisors and proxies."""

import asyncio
from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from comments.fanout import fanout
from comments.threads import Threads, in_database

SECONDS = 2.0
ASKING = Threads("ready", 1, SECONDS)


class HealthMiddleware:
    """Answers /healthz and /readyz before everything else: a load balancer asks by address, not
    by a host name of ALLOWED_HOSTS, and by http."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == "/healthz":
            # As long as the event loop runs.
            response = JsonResponse({"live": True})
        elif request.path == "/readyz":
            response = await _ready()
        else:
            return await self.get_response(request)
        response["Cache-Control"] = "no-store"
        return response


async def _ready() -> JsonResponse:
    """200 when database and channel layer answer, and the pages that are open here are followed;
    else 503. Says which is not so."""
    database, layer = await asyncio.gather(_answers(_ask_database_here()), _answers(_ask_layer()))
    # A database that answers here may still keep the stream's own threads waiting.
    stream = not fanout.is_blind
    ready = database and layer and stream
    body = {"ready": ready, "database": database, "channel_layer": layer, "stream": stream}
    return JsonResponse(body, status=200 if ready else 503)


async def _answers(question: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            await question
    except Exception:
        return False
    return True


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        if cursor.fetchone() != (1,):
            raise DatabaseError


_ask_database_here = in_database(_ask_database, ASKING)


async def _ask_layer() -> None:
    layer = get_channel_layer()
    assert layer is not None, "settings.CHANNEL_LAYERS has a default"
    await layer.group_send("health", {"type": "ping"})
