"""Whether this process lives, and whether what it needs answers; for supervisors and proxies."""

import asyncio

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

SECONDS = 2.0


@never_cache
async def healthz(request: HttpRequest) -> JsonResponse:
    """200 as long as the event loop runs."""
    return JsonResponse({"live": True})


@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database and channel layer answer, else 503; says which does not."""
    database, layer = await asyncio.gather(
        _answers(sync_to_async(_ask_database)()), _answers(_ask_layer())
    )
    ready = database and layer
    body = {"ready": ready, "database": database, "channel_layer": layer}
    return JsonResponse(body, status=200 if ready else 503)


async def _answers(question: "asyncio.Future[None] | object") -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            await question  # type: ignore[misc]
    except Exception:
        return False
    return True


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        if cursor.fetchone() != (1,):
            raise DatabaseError


async def _ask_layer() -> None:
    layer = get_channel_layer()
    assert layer is not None, "settings.CHANNEL_LAYERS has a default"
    await layer.group_send("health", {"type": "ping"})
