"""The ASGI application: all wiring on one screen."""

import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

try:
    django_application = get_asgi_application()  # sets Django up; what follows imports models
except ImproperlyConfigured as error:
    sys.exit(str(error))  # a sentence, as from manage.py

from channels.routing import ProtocolTypeRouter
from channels.sessions import CookieMiddleware, SessionMiddleware

from comments.admission import Admission, StrictOrigin
from comments.routing import application as comment_sockets
from streamsite import http2, peers, websocket
from streamsite.bodies import BoundedBodies
from streamsite.cookies import CleanCookies
from streamsite.lifespan import Lifespan
from streamsite.observe import tracing
from streamsite.observe.context import Traced

peers.install()
websocket.install()
http2.install()

application: Any = ProtocolTypeRouter(
    {
        "http": Traced(tracing.requests(CleanCookies(BoundedBodies(django_application)))),
        # Channels' AuthMiddlewareStack in its parts: Admission needs the cookies before the rest.
        # Its last is left out: the consumer asks who is behind a session, for many at once.
        "websocket": Traced(
            StrictOrigin(
                CleanCookies(CookieMiddleware(Admission(SessionMiddleware(comment_sockets))))
            )
        ),
        "lifespan": Lifespan(),
    }
)
