"""The ASGI application: all wiring on one screen."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()  # sets Django up; what follows imports models

from channels.routing import ProtocolTypeRouter
from channels.sessions import SessionMiddlewareStack

from comments.admission import Admission, SharedAuthMiddleware, StrictOrigin
from comments.routing import application as comment_sockets
from streamsite import websocket
from streamsite.bodies import BoundedBodies
from streamsite.lifespan import Lifespan

websocket.install()

application: Any = ProtocolTypeRouter(
    {
        "http": BoundedBodies(django_application),
        # The last two are Channels' AuthMiddlewareStack with its last part made for many sockets.
        "websocket": StrictOrigin(
            Admission(SessionMiddlewareStack(SharedAuthMiddleware(comment_sockets)))
        ),
        "lifespan": Lifespan(),
    }
)
