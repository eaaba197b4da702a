"""Simulated people on real sockets of a running server."""

import asyncio
import json
import random
import re
import time
import urllib.request
import uuid
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from comments.names import random_name
from streamsite.env import is_loopback

REMARKS = (
    "is that a kingfisher on the left bank?",
    "আজকের আলোটা অসাধারণ",
    "just joined, what did I miss",
    "the reflections!!",
    "look at the boat, so still",
    "listen for the double note",
    "hello from Khulna",
    "how deep is the water there?",
    "that dive!! thank you",
    "মাছরাঙাটা আবার এলো",
    "the frogs just started, wow",
    "greetings from Lisbon, good night everyone",
    "which lens is this?",
    "so calm. exactly what I needed today",
    "I could watch this for hours",
    "there, behind the second tree",
    "does the tide reach the roots?",
    "sound is lovely with headphones",
    "first time here, this is wonderful",
    "same time tomorrow?",
)
PAGES_AT_ONCE = 20
SLUG = "Write the end of a video page's address, as in --video live-demo."


def bounded(least: float, most: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ArgumentTypeError(f"write a number from {least} to {most}")
        return value

    return parse


class Person:
    """One viewer: opens the page, holds the socket, counts what arrives, sometimes speaks."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.seen: set[str] = set()
        self.waiting: dict[str, float] = {}  # key -> when it was sent
        self.answers: list[float] = []  # seconds from sent to acknowledged
        self.refused: list[str] = []  # codes
        self.socket: ClientConnection | None = None
        self.lost = False  # the server closed the socket
        self.leaving = False

    async def enter(self) -> None:
        """Open the page for a session and a cursor, then the socket, as a browser does."""
        cookies, cursor = await asyncio.to_thread(self._open_page)
        address = urlsplit(self.page)
        scheme = "wss" if address.scheme == "https" else "ws"
        self.socket = await connect(
            f"{scheme}://{address.netloc}/ws{address.path}?cursor={cursor}",
            origin=f"{address.scheme}://{address.netloc}",  # type: ignore[arg-type]
            additional_headers={"Cookie": cookies},
            compression=None,
            max_size=None,
        )
        await self.send({"action": "rename", "name": random_name()})

    def _open_page(self) -> tuple[str, str]:
        jar = CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        try:
            with opener.open(self.page, timeout=30) as answer:
                html = answer.read().decode()
        except HTTPError as error:
            if error.code != 404:
                raise
            raise CommandError(f"There is no page {self.page}. {SLUG}") from None
        match = re.search(r'data-cursor="([^"]*)"', html)
        if match is None:
            raise CommandError(f"{self.page} is not a video page of this site.")
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar), match[1]

    async def send(self, action: dict[str, Any]) -> None:
        assert self.socket is not None, "enter() comes first"
        try:
            await self.socket.send(json.dumps(action))
        except ConnectionClosed:
            self.lost = True

    async def speak(self) -> None:
        key = str(uuid.uuid4())
        self.waiting[key] = time.monotonic()  # for good, where the socket is lost meanwhile
        body = random.choice(REMARKS)  # noqa: S311  no secret
        await self.send({"action": "post", "body": body, "key": key})

    async def listen(self) -> None:
        assert self.socket is not None, "enter() comes first"
        try:
            async for frame in self.socket:
                self._take(str(frame))
        except ConnectionClosed:
            pass
        self.lost = not self.leaving

    def _take(self, frame: str) -> None:
        self.seen.update(re.findall(r'<li class="comment" id="c-(\d+)"', frame))
        if match := re.search(r'data-ack="([^"]+)"', frame):
            sent = self.waiting.pop(match[1], None)
            if sent is not None:
                self.answers.append(time.monotonic() - sent)
        elif match := re.search(r'data-refused="([^"]*)" data-code="([^"]*)"', frame):
            self.waiting.pop(match[1], None)
            self.refused.append(match[2])


class Command(BaseCommand):
    help = (
        "Let simulated people watch and comment on a running server of this machine, over real "
        "sockets, for a bounded time. Each comments within the limits, so a rate above 0.5 per "
        "viewer and second is partly refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--viewers", type=bounded(1, 5000, int), default=20, metavar="N")
        parser.add_argument(
            "--rate",
            type=bounded(0, 200, float),
            default=1.0,
            metavar="R",
            help="comments a second",
        )
        parser.add_argument("--seconds", type=bounded(1, 3600, float), default=30, metavar="S")
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server's address")
        parser.add_argument("--video", default="live-demo", metavar="SLUG")

    def handle(self, *args: Any, **options: Any) -> None:
        url, video = options["url"], options["video"]
        match = re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[^/?#@:]+)(:[0-9]{1,5})?/?", url)
        if not match:
            raise CommandError(
                f"--url is {url!r}. Write scheme, host and port, as in --url http://127.0.0.1:8000."
            )
        if not is_loopback(f"{match[1]}:"):
            raise CommandError(
                f"--url is {url!r}, but a crowd is only ever let loose on this machine. Write an"
                " address of it, as in --url http://127.0.0.1:8000."
            )
        if not re.fullmatch(r"[A-Za-z0-9_-]+", video):
            raise CommandError(f"--video is {video!r}. {SLUG}")
        asyncio.run(self._gather(f"{url.rstrip('/')}/videos/{video}/", **options))

    async def _gather(
        self, page: str, viewers: int, rate: float, seconds: float, **options: Any
    ) -> None:
        people = [Person(page) for _ in range(viewers)]
        await self._let_in(people)
        listening = [asyncio.create_task(person.listen()) for person in people]
        started = time.monotonic()
        sent = 0
        try:
            while (now := time.monotonic() - started) < seconds:
                if sent < now * rate:
                    sent += 1
                    present = [person for person in people if not person.lost]
                    if not present:
                        raise CommandError("The server has closed every socket.")
                    await random.choice(present).speak()  # noqa: S311  no secret
                    self._progress(people, f"{now:4.0f} of {seconds:.0f} s", sent)
                else:
                    await asyncio.sleep(0.01)
            deadline = time.monotonic() + 5
            # Many small states and no one event: so it looks again and again.
            while any(p.waiting and not p.lost for p in people) and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
        finally:
            for person in people:
                person.leaving = True
                if person.socket:
                    await person.socket.close()
            await asyncio.gather(*listening, return_exceptions=True)
        self._summary(people, sent, time.monotonic() - started)

    async def _let_in(self, people: list[Person]) -> None:
        entered = 0
        places = asyncio.Semaphore(PAGES_AT_ONCE)

        async def enter(person: Person) -> None:
            nonlocal entered
            async with places:
                await person.enter()
            entered += 1
            self.stdout.write(f"\r{entered} of {len(people)} have come in ", ending="")
            self.stdout.flush()

        try:
            async with asyncio.TaskGroup() as group:
                for person in people:
                    group.create_task(enter(person))
        except* CommandError as errors:
            raise errors.exceptions[0] from None
        except* (OSError, InvalidStatus) as errors:
            raise CommandError(
                f"{people[0].page} cannot be opened ({errors.exceptions[0]}). Does the server run?"
            ) from None
        self.stdout.write("")

    def _progress(self, people: list[Person], when: str, sent: int) -> None:
        seen = sum(len(person.seen) for person in people)
        self.stdout.write(f"\r{when}: {sent} comments sent, {seen} deliveries ", ending="")
        self.stdout.flush()

    def _summary(self, people: list[Person], sent: int, seconds: float) -> None:
        answers = sorted(answer for person in people for answer in person.answers)
        refused = [code for person in people for code in person.refused]
        silent = sum(len(person.waiting) for person in people)
        everything = set().union(*(person.seen for person in people))
        missed = sum(len(everything - person.seen) for person in people if not person.lost)
        self.stdout.write("\n")
        self.stdout.write(f"{len(people)} viewers, {seconds:.1f} s")
        self.stdout.write(
            f"{sent} comments sent: {len(answers)} acknowledged, {len(refused)} refused"
            f"{' (' + ', '.join(sorted(set(refused))) + ')' if refused else ''}, "
            f"{silent} without answer"
        )
        if answers:
            self.stdout.write(
                f"from sent to acknowledged: median {answers[len(answers) // 2] * 1000:.0f} ms, "
                f"p99 {answers[int(len(answers) * 0.99)] * 1000:.0f} ms"
            )
        self.stdout.write(
            f"{sum(len(person.seen) for person in people)} deliveries, {missed} missing, "
            f"{sum(person.lost for person in people)} sockets lost"
        )
