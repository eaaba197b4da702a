"""People at the doors, without a browser: pages and forms over HTTP, and sockets.

Each `Person` is one browser session: its cookies, its address (as the trusted proxy tells it) and
what its page showed last.
"""

import asyncio
import http.client
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests import world
from tests.page import Answer, Element, PageModel, parse
from tests.servers import Site

SECONDS = 15.0  # the longest that anything here is waited for, unless a test says otherwise
_addresses = itertools.count(1)


def new_address() -> str:
    """An IPv4 address that no one else in this process comes from."""
    number = next(_addresses)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass
class Response:
    status: int
    headers: dict[str, str]  # by lower-case name; of repeated ones the last
    text: str

    @property
    def html(self) -> Element:
        return parse(self.text)

    @property
    def refusal(self) -> Answer | None:
        """Why the form was refused, as the page says it."""
        notice = self.html.having("id", "notice")
        if notice is None or "data-code" not in notice.attributes:
            return None
        return Answer.of(notice)


class Person:
    """Somebody with a browser session, at one server of a site; of one with TLS it reads pages,
    and tests/http2.py has the sockets."""

    def __init__(self, site: Site, *, server: int = 0, address: str | None = None) -> None:
        self.site = site
        self.server = server
        self.address = address or new_address()
        self.cookies: dict[str, str] = {}
        self.me = ""  # the handle, from the page
        self.shown_as = ""  # whom the page shows: what its actions say `as`
        self.csrf = ""
        self.page = PageModel()

    @property
    def origin(self) -> str:
        return self.site.servers[self.server].origin

    @property
    def session_key(self) -> str:
        return self.cookies.get("sessionid", "")

    @property
    def cookie_header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    # --- HTTP -----------------------------------------------------------------------------------

    def connection(self) -> http.client.HTTPConnection:
        return self.site.servers[self.server].connection(SECONDS)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Response:
        """One request, as from behind one proxy; redirects are shown, not followed."""
        connection = self.connection()
        sent = {"X-Forwarded-For": self.address}
        if self.cookies:
            sent["Cookie"] = self.cookie_header
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    self._keep(value)
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, found, text)
        finally:
            connection.close()

    def _keep(self, set_cookie: str) -> None:
        for name, morsel in SimpleCookie(set_cookie).items():
            if morsel["max-age"] == "0" or not morsel.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value

    def get(self, path: str, **headers: str) -> Response:
        return self.request("GET", path, None, **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Response:
        """A form as a browser without JavaScript sends it, with the token of the last page."""
        body = urlencode({"csrfmiddlewaretoken": self.csrf} | fields, errors="surrogatepass")
        headers = {"Content_Type": "application/x-www-form-urlencoded"} | headers
        return self.request("POST", path, body.encode(), **headers)

    def open(self, slug: str) -> Self:
        """Open a video's page."""
        response = self.get(f"/videos/{slug}/")
        assert response.status == 200, response.text[:2000]
        page = response.html
        panel = page.having("data-me")
        token = page.having("name", "csrfmiddlewaretoken")
        assert panel is not None
        assert token is not None
        self.me = panel.attributes["data-me"]
        self.shown_as = panel.attributes["data-as"]
        role = page.having("data-staff")
        assert role is not None
        self.staff = role.attributes["data-staff"] == "true"
        self.csrf = token.attributes["value"]
        self.page = PageModel(response.text)
        return self

    def say(self, slug: str, body: str, key: str = "", **fields: str) -> Response:
        """Comment by the plain form."""
        fields = {"body": body, "key": key or str(uuid.uuid4())} | fields
        return self.post(f"/videos/{slug}/comments/", fields)

    def act(self, slug: str, action: str, **fields: str) -> Response:
        return self.post(f"/videos/{slug}/comments/", {"action": action} | fields)

    def sign_in(self, username: str, password: str = world.PASSWORD) -> Self:
        page = self.get("/accounts/login/").html
        token = page.having("name", "csrfmiddlewaretoken")
        assert token is not None
        self.csrf = token.attributes["value"]
        fields = {"username": username, "password": password}
        response = self.post("/accounts/login/", fields)
        assert response.status == 302, response.text[:2000]
        return self

    def sign_up(self, username: str, password: str = world.PASSWORD) -> Response:
        token = self.get("/accounts/signup/").html.having("name", "csrfmiddlewaretoken")
        assert token is not None
        self.csrf = token.attributes["value"]
        fields = {"username": username, "password1": password, "password2": password}
        return self.post("/accounts/signup/", fields)

    def signed_in(self, username: str) -> Self:
        """Signed in without the form, and so without its password's hash (a third of a second),
        for who tries something else than signing in."""
        self.cookies["sessionid"] = self.site.call(world.session_of, username)
        return self

    def sign_out(self) -> None:
        # Any page has a token; the one at hand may be from before the sign-in.
        token = self.get("/").html.having("name", "csrfmiddlewaretoken")
        assert token is not None
        self.csrf = token.attributes["value"]
        assert self.post("/accounts/logout/", {}).status == 302

    # --- the socket -----------------------------------------------------------------------------

    @asynccontextmanager
    async def socket(
        self,
        slug: str,
        cursor: str | None = None,
        *,
        page: PageModel | None = None,
        server: int | None = None,
        **headers: str,
    ) -> "AsyncIterator[Socket]":
        """A socket of this person's page (or of another tab's, `page`), from where it stands.

        `cursor` says another place, `server` another process than the one the page came from.
        """
        page = self.page if page is None else page
        where = self.server if server is None else server
        standing = page.cursor if cursor is None else cursor
        staff = (page if "#role" in page.targets else self.page).staff
        sent = {"X-Forwarded-For": self.address}
        if self.cookies:
            sent["Cookie"] = self.cookie_header
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with connect(
            self.site.ws_url(slug, standing, server=where, staff=staff),
            origin=self.site.servers[where].origin,  # type: ignore[arg-type]
            additional_headers=sent,
            proxy=None,
            max_size=None,
            open_timeout=SECONDS,
            close_timeout=2,
            ping_interval=None,
        ) as connection:
            socket = Socket(connection, page)
            try:
                yield socket
            finally:
                await socket.stop()


def frame(fields: dict[str, Any]) -> str:
    """A client frame; characters as they are, unless UTF-8 cannot hold them."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(fields)
    return text


class ClosedError(AssertionError):
    """The server closed the socket while something else was waited for."""


@dataclass
class Socket:
    """An open socket: frames go into the page's model as they arrive, answers to who waits."""

    connection: ClientConnection
    page: PageModel
    patience: float = SECONDS
    frames: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.connection:
                assert isinstance(frame, str), "the server sends text frames only"
                self.frames.append(frame)
                self.answers += self.page.apply(frame)
                self._news.set()
        except ConnectionClosed:
            pass
        finally:
            self._news.set()

    async def stop(self) -> None:
        await self.connection.close()
        await self._reader  # fails where a frame broke the model

    @property
    def is_open(self) -> bool:
        return not self._reader.done()

    @property
    def close_code(self) -> int | None:
        return self.connection.close_code

    async def answers_a_ping(self) -> bool:
        async with asyncio.timeout(SECONDS):
            await (await self.connection.ping())
        return self.is_open

    async def until(
        self, condition: Callable[[], object], what: str = "", seconds: float = 0
    ) -> None:
        """Until the condition holds (for `patience` where no time is given); looked at after
        every frame."""
        seconds = seconds or self.patience
        deadline = time.monotonic() + seconds
        while not condition():
            if self._reader.done():
                self._reader.result()
                raise ClosedError(f"closed with {self.close_code} while waiting for {what}")
            self._news.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                last = self.page.shown[-2:]
                raise AssertionError(
                    f"not in {seconds} s: {what}; at {self.page.cursor}, last {last}"
                ) from None

    async def closed(self, seconds: float = SECONDS) -> int | None:
        """Wait until the server closes; the close code."""
        async with asyncio.timeout(seconds):
            await asyncio.wait([self._reader])
        self._reader.result()
        return self.close_code

    async def raw(self, message: str | bytes) -> Answer:
        """Send anything; the next answer."""
        had = len(self.answers)
        await self.connection.send(message)
        await self.until(lambda: len(self.answers) > had, f"an answer to {message[:80]!r}")
        return self.answers[had]

    async def ask(self, action: str, **fields: Any) -> Answer:
        """Send an action; its answer. A key of its own is made where none is given.

        What could not be read, or a key that is none, is answered without key.
        """
        fields = {"action": action, "key": str(uuid.uuid4())} | fields
        keys = {fields["key"], ""}
        had = len(self.answers)
        await self.connection.send(frame(fields))
        await self.until(
            lambda: any(answer.key in keys for answer in self.answers[had:]),
            f"an answer to {str(fields)[:200]}",
        )
        return next(answer for answer in self.answers[had:] if answer.key in keys)

    async def say(self, body: object, **fields: Any) -> Answer:
        return await self.ask("post", body=body, **fields)

    async def sees(self, body: str, seconds: float = 0) -> None:
        await self.until(lambda: body in self.page.bodies, f"a comment {body!r}", seconds)

    async def reaches(self, change: int, seconds: float = 0) -> None:
        """Until the page stands at this change or beyond."""
        await self.until(lambda: self.page.change >= change, f"change {change}", seconds)
