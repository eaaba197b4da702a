"""How much of this process pages may take: places to be made in, and connections to the database.

Django gives a connection back when the response is closed, which is after the last byte was taken
in: a few readers that take their time, or none, would keep the whole pool from everybody. And each
request has a thread of its own, as many as there are requests. Both end here.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import reverse

from comments import limits
from comments.services.common import DATABASE_FAILED
from streamsite.logs import Seldom

logger = logging.getLogger(__name__)

# The pool has 20 connections (streamsite/env.py): these, one for /readyz, and one for each of the
# stream's threads (comments/threads.py), which so never wait for pages.
PAGES_AT_ONCE = 8
PAGE_SECONDS = 5.0  # that a request waits for its place
# Hashing a password takes a core for a third of a second, on purpose.
PASSWORDS_AT_ONCE = 2
PASSWORDS_OF_ADDRESS = 4  # under way or waiting, so that no one address takes all the turns
PASSWORD_SECONDS = 3.0
RETRY_SECONDS = 5  # after which a person is asked to try again

_away = Seldom()


class NoPlaceError(Exception):
    """All places are taken, and stayed so."""


class Places:
    """`count` at once; who has waited `seconds` for a place is turned away."""

    def __init__(self, count: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._seconds = seconds

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises NoPlaceError."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise NoPlaceError from None
        try:
            yield
        finally:
            self._free.release()


class PagesMiddleware:
    """Stands before everything that asks the database, and behind the static files."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.pages = Places(PAGES_AT_ONCE, PAGE_SECONDS)
        self.passwords = Places(PASSWORDS_AT_ONCE, PASSWORD_SECONDS)
        self.hashing: Counter[str] = Counter()  # by address
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            async with AsyncExitStack() as places:
                if request.method == "POST" and request.path in hashing_paths():
                    places.enter_context(self.turn_of_address(request))
                    await places.enter_async_context(self.passwords.one())
                await places.enter_async_context(self.pages.one())
                try:
                    return await self.get_response(request)
                finally:
                    # In the request's own thread, so behind what runs there even when its client
                    # has gone. A streamed answer that asks the database later connects anew.
                    await sync_to_async(close_old_connections)()
        except NoPlaceError:
            return unavailable(request, is_busy=True)

    @contextmanager
    def turn_of_address(self, request: HttpRequest) -> Iterator[None]:
        """Raises NoPlaceError where an address has as many under way as it may."""
        address = limits.address_of_request(request)
        if address and self.hashing[address] >= PASSWORDS_OF_ADDRESS:
            raise NoPlaceError
        self.hashing[address] += 1
        try:
            yield
        finally:
            self.hashing[address] -= 1
            if not self.hashing[address]:
                del self.hashing[address]

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A database that is away is no mistake of ours: one line in the log for all whom it
        meets in the same moment, and a page that says so."""
        if not isinstance(error, DATABASE_FAILED):
            return None
        if _away.is_due():
            logger.warning("pages: the database fails: %s", error)
        return unavailable(request)


@cache
def hashing_paths() -> frozenset[str]:
    """Where anybody's POST has a password hashed."""
    names = ("login", "signup", "password_change", "admin:login", "admin:password_change")
    return frozenset(reverse(name) for name in names)


def unavailable(
    request: HttpRequest, draft: Mapping[str, str] | None = None, *, is_busy: bool = False
) -> HttpResponse:
    """503, made without asking the database; `draft` is a comment that was not stored, which the
    page keeps in a box, to be sent again."""
    shown = {"draft": draft, "is_busy": is_busy, "path": request.path}
    if draft is not None:
        shown["token"] = get_token(request)
    response = HttpResponse(render_to_string("503.html", shown), status=503)
    response["Retry-After"] = str(RETRY_SECONDS)
    response["Cache-Control"] = "no-store"
    return response
