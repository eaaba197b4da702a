"""The ASGI application: all wiring on one screen."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()  # sets Django up; what follows imports models

from channels.routing import ProtocolTypeRouter
from channels.sessions import CookieMiddleware, SessionMiddleware

from comments.admission import Admission, SharedAuthMiddleware, StrictOrigin
from comments.routing import application as comment_sockets
from streamsite import peers, websocket
from streamsite.bodies import BoundedBodies
from streamsite.cookies import CleanCookies
from streamsite.lifespan import Lifespan

peers.install()
websocket.install()

application: Any = ProtocolTypeRouter(
    {
        "http": CleanCookies(BoundedBodies(django_application)),
        # Channels' AuthMiddlewareStack in its parts: Admission needs the cookies before the rest,
        # and who is behind a session is asked for many sockets at once.
        "websocket": StrictOrigin(
            CleanCookies(
                CookieMiddleware(
                    Admission(SessionMiddleware(SharedAuthMiddleware(comment_sockets)))
                )
            )
        ),
        "lifespan": Lifespan(),
    }
)
