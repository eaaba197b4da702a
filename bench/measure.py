"""What the kernel says of processes (CPU, memory), and which cores they may use."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

SERVER_CORE = 0
LOAD_CORE = 1


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile runs on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def stay_on(core: int) -> None:
    os.sched_setaffinity(0, {core})


def with_children(pids: Iterable[int]) -> list[int]:
    """The processes, and all that they started (nginx's workers, PostgreSQL's backends)."""
    found = list(pids)
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                found += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue  # it has ended meanwhile
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """What all of them have used so far, in user code and in the kernel, to the nanosecond.

    From each thread's schedstat; /proc/<pid>/stat counts in steps of 10 ms.
    """
    total = 0
    for pid in with_children(pids):
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def resident_kib(pids: Iterable[int]) -> int:
    total = 0
    for pid in with_children(pids):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def percentile(histogram: Sequence[int], fraction: float) -> float:
    """Of counts by ms: the ms below which this fraction lies."""
    wanted, so_far = sum(histogram) * fraction, 0
    for ms, count in enumerate(histogram):
        so_far += count
        if count and so_far >= wanted:
            return float(ms)
    return 0.0


def medians(rounds: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median, minimum and maximum of each number over the rounds."""
    names = [name for name, value in rounds[0].items() if isinstance(value, int | float)]
    return {name: spread([float(one[name]) for one in rounds]) for name in names}
