"""The chat of Channels' tutorial, with one group member per socket: what people start from.

Its rewritten, asynchronous consumer. LAYER chooses the Redis layer, REDIS_URL the server; it runs
as `tutorial:application`, from this folder, on any ASGI server. No session, no database, no rules.
"""

import json
import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

LAYERS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
# redis-py 8 gives a quiet connection of the core layer up after 5 s unless told otherwise.
HOST = {"address": os.environ["REDIS_URL"], "socket_timeout": 20}

settings.configure(
    SECRET_KEY="only-for-the-benchmark",  # noqa: S106
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": LAYERS[os.environ["LAYER"]],
            "CONFIG": {"hosts": [HOST]}
            | ({"capacity": 10_000} if os.environ["LAYER"] == "core" else {}),
        }
    },
    LOGGING_CONFIG=None,
)
django.setup()


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.room_group_name = "chat_" + self.scope["url_route"]["kwargs"]["room_name"]
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        message = json.loads(text_data or "{}")["message"]
        await self.channel_layer.group_send(
            self.room_group_name, {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter([path("ws/chat/<str:room_name>/", ChatConsumer.as_asgi())]),
        "lifespan": lifespan,
    }
)
