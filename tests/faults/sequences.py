"""Hypothesis against one hub: an old page and its frames come to the same as a fresh page.

In one process, on a real database, without sockets: thousands of short histories of posts,
removals, restorings, rollbacks, lost and doubled and shuffled messages, dead links, returns and
restarts. Runs beside a site (`site.call(check, …)`).
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import override_settings
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from comments import hub as hubs
from comments import pace, services, stream
from comments.errors import Code, Refused
from comments.hub import Hub
from comments.identity import Actor, actor_of_account
from comments.models import Comment, Stream, Viewer, new_epoch
from comments.seats import Seat
from comments.services import common
from comments.stream import Cursor
from streamsite.websocket import Frame
from tests.faults.frames import Page, parse


async def no_look() -> None:
    """The safety poll: here the hub is told what it would find."""


PAGES = 3  # the last one is a moderator's

type Step = tuple[str, int]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.integers(0, 1)),
        st.tuples(st.just("post"), st.integers(0, 1)),
        st.tuples(st.sampled_from("remove restore ring ring lose".split()), st.integers(0, 9)),
        st.tuples(
            st.sampled_from(["leave", "come", "die", "fill", "drain"]), st.integers(0, PAGES - 1)
        ),
        st.tuples(st.sampled_from(["fail", "restart", "poll", "breathe"]), st.just(0)),
    ),
    min_size=1,
    max_size=24,
)


class Link:
    """A connection: what is written to it arrives unless it is dead or full."""

    seat: Seat

    def __init__(self, tab: "Tab") -> None:
        self.tab = tab

    def write(self, frame: Frame) -> bool:
        if self.tab.full:
            return False
        if self.tab.seat is self.seat:
            self.tab.page.apply(parse(frame.text))
        return True

    @property
    def is_ending(self) -> bool:
        return self.tab.seat is not self.seat


class Tab:
    """A page, and its socket while it has one."""

    def __init__(self, *, staff: bool) -> None:
        self.staff = staff
        self.page = Page()
        self.seat: Seat | None = None
        self.full = False  # its connection has no room for a frame

    def sit(self, hub: Hub) -> None:
        async def close(_code: int) -> None:
            hub.leave(seat)

        self.full = False
        link = Link(self)
        seat = link.seat = Seat(link, close, staff=self.staff, standing=None)
        self.seat = seat
        cursor = Cursor.parse(self.page.cursor) if self.page.epoch else None
        hub.join(seat, cursor)


class History:
    """One history of a stream and of the pages that watch it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stream_id: int, authors: list[Actor], mona: Actor
    ) -> None:
        self.loop = loop
        self.stream_id = stream_id
        self.authors = authors
        self.mona = mona
        self.bell: list[dict[str, Any]] = []  # published, not yet heard
        self.tabs = [Tab(staff=n == PAGES - 1) for n in range(PAGES)]
        self.hub = self.start()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def start(self) -> Hub:
        async def open_hub() -> Hub:
            hub = Hub(self.stream_id, no_look)
            await hub.start()
            for tab in self.tabs:
                tab.sit(hub)
            return hub

        return self.run(open_hub())

    def do(self, step: Step) -> None:
        verb, which = step
        getattr(self, verb)(which)
        self.run(asyncio.sleep(0))

    # --- what people do -----------------------------------------------------------------------

    def post(self, author: int) -> None:
        services.post(self.authors[author], self.stream_id, "x", str(uuid.uuid4()))

    def fail(self, _which: int) -> None:
        """A transaction that takes a number and is rolled back."""
        publish = common.publish

        def fail(comments: list[Comment]) -> None:
            raise Refused(Code.CLOSED, "")

        common.publish = fail
        try:
            with suppress(Refused):
                self.post(0)
        finally:
            common.publish = publish

    def _moderate(self, verb: Callable[..., Any], which: int) -> None:
        numbers = list(
            Comment.objects.filter(stream=self.stream_id).values_list("number", flat=True)
        )
        if numbers:
            verb(self.mona, self.stream_id, numbers[which % len(numbers)])

    def remove(self, which: int) -> None:
        self._moderate(services.remove, which)

    def restore(self, which: int) -> None:
        self._moderate(services.restore, which)

    # --- what happens to messages and links ---------------------------------------------------

    def ring(self, which: int) -> None:
        """One of the messages is heard, perhaps not the next, and perhaps not for the last time."""
        if self.bell:
            place = which % len(self.bell)
            message = self.bell[place] if which % 3 == 0 else self.bell.pop(place)
            self.run(self._hear(message))

    async def _hear(self, message: dict[str, Any]) -> None:
        self.hub.receive(message)

    def lose(self, which: int) -> None:
        if self.bell:
            self.bell.pop(which % len(self.bell))

    def leave(self, which: int) -> None:
        tab = self.tabs[which]
        if tab.seat:
            self.hub.leave(tab.seat)
        tab.seat = None

    def die(self, which: int) -> None:
        """The link is dead, and the server does not know: it goes on sending."""
        self.tabs[which].seat = None

    def fill(self, which: int) -> None:
        """The peer stops reading for a while: no frame finds room."""
        self.tabs[which].full = True

    def drain(self, which: int) -> None:
        self.tabs[which].full = False

    def come(self, which: int) -> None:
        async def sit() -> None:
            self.tabs[which].sit(self.hub)

        if self.tabs[which].seat is None:
            self.run(sit())

    def restart(self, _which: int) -> None:
        self.run(self._stop())
        self.hub = self.start()

    async def _stop(self) -> None:
        tasks = list(self.hub._tasks)
        self.hub.stop()
        if tasks:
            await asyncio.wait(tasks)

    def poll(self, _which: int) -> None:
        async def missed() -> None:
            self.hub.missed()

        self.run(missed())

    def breathe(self, _which: int) -> None:
        self.run(asyncio.sleep(0.002))

    # --- the end ------------------------------------------------------------------------------

    def settle(self) -> None:
        for n in range(PAGES):
            self.drain(n)
            self.come(n)
        head = Stream.objects.get(pk=self.stream_id).head
        self.run(self._settle(head))

    async def _settle(self, head: int) -> None:
        async with asyncio.timeout(5):
            while True:
                if self.hub.head != head:
                    self.hub.missed()
                current = all(
                    tab.page.change == head and tab.seat and not tab.seat.reading
                    for tab in self.tabs
                )
                if current:
                    return
                await asyncio.sleep(0.001)

    def compare(self) -> None:
        room = Stream.objects.get(pk=self.stream_id)
        for tab in self.tabs:
            comments = stream.window_comments(room, staff=tab.staff)
            rows = "".join(stream.fragment(comment, staff=tab.staff) for comment in comments)
            fresh = {state.number: state for state in parse(rows).states}
            shown = {
                n: tab.page.rows[n]
                for n in tab.page.order
                if tab.staff or not tab.page.rows[n].removed
            }
            assert shown == fresh
            assert tab.page.order == sorted(set(tab.page.order))
            assert tab.page.disordered == 0
            assert tab.page.doubled == 0

    def end(self) -> None:
        self.run(self._stop())


def check(slug: str, examples: int, number: int) -> int:
    """Run so many histories; how many. Raises with the shortest one that fails."""
    stream_id = Stream.objects.get(video__slug=slug).pk
    pace.APART = 0
    hubs.GAP_SECONDS = 0.001
    # Each read would open the database anew; nothing here depends on that.
    connections.settings["default"]["CONN_MAX_AGE"] = None
    authors = [Actor(Viewer.objects.create()) for _ in range(2)]
    mona = actor_of_account(User.objects.get(username="mona"))
    done = 0
    loop = asyncio.new_event_loop()
    ring = stream._ring

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(STEPS)
    def old_page_and_frames_are_a_fresh_page(steps: list[Step]) -> None:
        nonlocal done
        Comment.objects.filter(stream=stream_id).delete()
        Stream.objects.filter(pk=stream_id).update(head=0, epoch=new_epoch())
        history = History(loop, stream_id, authors, mona)
        stream._ring = lambda stream_id, message: history.bell.append(message)
        try:
            for step in steps:
                history.do(step)
            history.settle()
            history.compare()
        finally:
            stream._ring = ring
            history.end()
        done += 1

    try:
        with override_settings(RATE_VIEWER=None, RATE_ADDRESS=None):
            old_page_and_frames_are_a_fresh_page()
    finally:
        loop.close()
        connection.close()
    return done
