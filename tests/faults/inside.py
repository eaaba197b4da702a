"""Inside a server under test: what it can be asked and told by signals, and its sabotage.

SIGUSR1 writes tasks, hubs and seats to `<control>/state-<pid>.json`. SIGUSR2 makes the next post
freeze the whole process (SIGSTOP) in the middle of its transaction. FAULT_SABOTAGE takes
safeguards out, by name: the checker must notice (tests/faults/test_the_checker_bites.py).
"""

import asyncio
import gc
import json
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.db import OperationalError

CONTROL = Path(os.environ.get("FAULT_CONTROL", "."))
FAILING = 0.08  # of transactions, with the sabotage "failing"

_freeze_next = threading.Event()


class InsideConfig(AppConfig):
    name = "tests.faults"
    label = "faults"

    def ready(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, lambda *_: tell())
            signal.signal(signal.SIGUSR2, lambda *_: _freeze_next.set())
        watch_publications()
        for name in filter(None, os.environ.get("FAULT_SABOTAGE", "").split(",")):
            SABOTAGE[name]()


def tell() -> None:
    """Count what a connection could leave behind."""
    from comments import stream
    from comments.fanout import fanout
    from streamsite.accepting import connections
    from streamsite.websocket import LiveStream

    gc.collect()
    loop = stream._loop
    tasks = asyncio.all_tasks(loop) if loop else set()
    state = {
        "tasks": len(tasks),
        "kinds": Counter(getattr(task.get_coro(), "__qualname__", "?") for task in tasks),
        "hubs": len(fanout.hubs),
        "seats": sum(len(hub.seats) for hub in fanout.hubs.values()),
        "live": len(LiveStream.live),
        "connections": connections.total,
        "publish_errors": stream.publish_errors,
    }
    draft = CONTROL / f"state-{os.getpid()}.draft"
    draft.write_text(json.dumps(state))
    draft.rename(CONTROL / f"state-{os.getpid()}.json")


def watch_publications() -> None:
    """Every change passes `common.publish` inside its transaction: the place to freeze."""
    from comments.services import common

    publish = common.publish

    def published(comments: Any) -> None:
        publish(comments)
        if _freeze_next.is_set():
            _freeze_next.clear()
            # To this thread: sent to the process, another thread takes it, and this one commits.
            signal.raise_signal(signal.SIGSTOP)

    common.publish = published


# --- Sabotage -----------------------------------------------------------------------------------


def without_gap_detection() -> None:
    """The hub takes any later number for the next one, reads nothing, and polls for nothing."""
    from comments.hub import Hub
    from comments.stream import Change

    receive = Hub.receive

    def careless(self: Hub, message: dict[str, Any]) -> None:
        if message.get("type") != "changes":
            receive(self, message)
            return
        for change in map(Change.of_message, message["changes"]):
            if change.change > self.head:
                self.ring.append(change)
                self.delivery.schedule()

    Hub.receive = careless  # type: ignore[method-assign]
    Hub.heal = lambda self, **_: None  # type: ignore[method-assign]
    Hub.missed = lambda self: None  # type: ignore[method-assign]


def without_unique_keys() -> None:
    """A key is not looked up before posting; the test drops the constraint, too."""
    from comments.models import CommentQuerySet

    filter_ = CommentQuerySet.filter

    def filter_without_keys(self: CommentQuerySet, *args: Any, **kwargs: Any) -> CommentQuerySet:
        if "key__in" in kwargs:
            return self.none()
        return filter_(self, *args, **kwargs)

    CommentQuerySet.filter = filter_without_keys  # type: ignore[method-assign, assignment]


def publishing_before_the_commit() -> None:
    from comments import stream
    from comments.services import common

    common.publish = stream.publish


def failing_transactions() -> None:
    """Some transactions fail at their very end, as when the database goes away."""
    from comments.services import common

    publish = common.publish
    chance = random.Random(os.getpid())

    def publish_and_perhaps_fail(comments: Any) -> None:
        publish(comments)
        if chance.random() < FAILING:
            raise OperationalError("sabotage")

    common.publish = publish_and_perhaps_fail


def failing_poll() -> None:
    """The safety poll meets a mistake of ours in the video that was opened first."""
    from comments.hub import Hub

    tick, opened = Hub.tick, list[int]()

    def fail_in_the_first(self: Hub) -> None:
        opened.append(self.stream_id)
        if self.stream_id == opened[0]:
            raise ZeroDivisionError("sabotage")
        tick(self)

    Hub.tick = fail_in_the_first  # type: ignore[method-assign]


def staying() -> None:
    """Whose peer has left waits on, as if the news never came."""
    from comments.sockets import Socket

    Socket.websocket_disconnect = lambda self, _message: asyncio.sleep(3600)


SABOTAGE = {
    "gaps": without_gap_detection,
    "keys": without_unique_keys,
    "early": publishing_before_the_commit,
    "failing": failing_transactions,
    "poll": failing_poll,
    "staying": staying,
}
