"""The server and a worker in the foreground, as one: where one ends, the other does.

For a checkout (`make run`). In production a supervisor runs `serve` and `db_worker` as services of
their own, each restarted when it ends.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

from django.conf import settings

SERVER_HAS = 12.0  # seconds to end in order: more than `serve` takes at most
PR_SET_PDEATHSIG = 1


def run(bind: str) -> int:
    """Until Ctrl+C, SIGTERM, or the end of either; the exit code of the one that ended first."""
    ended = threading.Event()
    asked = 0

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        ended.set()
        if asked > 1:  # a second time: at once
            _signal(children, signal.SIGTERM)

    children = [
        _start("serve", "--bind", bind),
        _start("db_worker", "--no-startup-delay", "--verbosity", "0"),
    ]
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, end)
    watching = [threading.Thread(target=_wait, args=(c, ended), daemon=True) for c in children]
    for thread in watching:
        thread.start()
    while not ended.wait(1.0):  # in steps: a signal's handler runs in between
        pass
    first = [child.returncode for child in children if child.poll() is not None]
    _signal(children, signal.SIGTERM)
    for child in children:
        try:
            child.wait(SERVER_HAS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    codes = first or [child.returncode for child in children]
    return next((abs(code) for code in codes if code), 0)


def _start(*command: str) -> "subprocess.Popen[bytes]":
    # A group of its own: Ctrl+C in a terminal reaches this process alone, which passes it on once.
    return subprocess.Popen(  # noqa: S603  our own commands
        [sys.executable, str(settings.BASE_DIR / "manage.py"), *command],
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Linux ends this process too when its parent is killed, which passes nothing on."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:  # it was killed before that
        os._exit(1)


def _wait(child: "subprocess.Popen[bytes]", ended: threading.Event) -> None:
    child.wait()
    ended.set()


def _signal(children: "list[subprocess.Popen[bytes]]", signum: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signum)
