"""`python -m bench.exports [sqlite] [postgres] [--quick]`: 1,000,000 comments as a file.

A real worker (`manage.py db_worker`) makes each kind of export of a video with 10,000 comments,
then another worker those of one with 1,000,000: how long it took, the most memory it had, and
whether the file has what SQL counts. More memory for more comments is an error here.
"""

import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.db_site import BACKENDS, TITLES, running, say
from bench.db_size import analyze, fill
from tests import world
from tests.servers import ROOT, Site, end

SMALL, LARGE, QUICK = 10_000, 1_000_000, 100_000
KINDS = ("csv", "jsonl", "vtt")
FLAT = 1.1  # of the memory at SMALL, that is still the same
SECONDS_AT_MOST = 900


@dataclass(frozen=True)
class Made:
    """One export: MiB of its file, and the most that the worker had in memory meanwhile."""

    kind: str
    rows: int
    seconds: float
    file_mib: float
    peak_mib: float


# --- What runs where the data is ------------------------------------------------------------------


def start_before(slug: str) -> None:
    """Let the video have started before its first comment, for WebVTT to have them all."""
    from datetime import timedelta

    from comments.models import Comment
    from videos.models import Video

    first = Comment.objects.filter(stream__video__slug=slug).order_by("number")[0]
    Video.objects.filter(slug=slug).update(started_at=first.posted_at - timedelta(seconds=10))


def ask(slug: str, kind: str) -> int:
    """Ask for an export as a moderator does; the job's id."""
    from django.contrib.auth.models import User

    from comments import services
    from comments.identity import actor_of_account
    from comments.models import Stream

    actor = actor_of_account(User.objects.get(username="mona"))
    return services.request_job(actor, Stream.objects.get(video__slug=slug).pk, kind).pk


def counted(slug: str, *, public: bool) -> tuple[int, int]:
    """How many comments there are, and the sum of their numbers; of the `public` ones alone."""
    from django.db import connection

    sql = (
        "SELECT COUNT(*), SUM(c.number) FROM comments_comment c"
        " JOIN comments_stream s ON s.id = c.stream_id JOIN videos_video v ON v.id = s.video_id"
        " WHERE v.slug = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql + (" AND c.state = 'visible'" if public else ""), [slug])
        count, total = cursor.fetchone()
    return int(count), int(total)


# --- The worker and what it made ------------------------------------------------------------------


@contextmanager
def worker(site: Site) -> Iterator["subprocess.Popen[bytes]"]:
    with (site.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "db_worker", "--no-startup-delay", "--interval", "0.1"],
            cwd=ROOT, env=site.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def peak_mib(pid: int) -> float:
    """The most memory since the last call; Linux is told to begin anew."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the worker has ended: {status}")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return int(found[1]) / 1024


def export(site: Site, pid: int, slug: str, kind: str) -> Made:
    """One export from the request to its end. Raises RuntimeError where the file is wrong."""
    began = time.perf_counter()
    pk = site.call(ask, slug, kind)
    while True:
        [job] = [job for job in site.call(world.jobs_of, slug) if job["pk"] == pk]
        seconds = time.perf_counter() - began
        if job["state"] not in ("queued", "running"):
            break
        if seconds > SECONDS_AT_MOST:
            raise RuntimeError(f"{kind}: not in {SECONDS_AT_MOST} s, at {job['done']}")
        time.sleep(0.05 if seconds < 5 else 0.5)
    if job["state"] != "done" or job["attempts"] != 1:
        raise RuntimeError(f"{kind}: {job}")
    path = Path(site.variables["DATA_DIR"]) / "exports" / job["file"]
    by_sql = site.call(counted, slug, public=kind == "vtt")
    found = rows_of(path, kind)
    if list(found) != list(by_sql):
        raise RuntimeError(f"{kind}: the file has (rows, sum) {found}, SQL says {by_sql}")
    return Made(kind, found[0], seconds, path.stat().st_size / 2**20, peak_mib(pid))


def rows_of(path: Path, kind: str) -> tuple[int, int]:
    """How many comments a file has, and the sum of their numbers, by a reader of its own."""
    count = total = last = 0
    for number in numbers_of(path, kind):
        if number <= last:
            raise RuntimeError(f"{kind}: number {number} comes after {last}")
        count, total, last = count + 1, total + number, number
    return count, total


def numbers_of(path: Path, kind: str) -> Iterator[int]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if kind == "csv":
            for row in csv.DictReader(file):
                yield int(row["number"])
        elif kind == "jsonl":
            for line in file:
                yield json.loads(line)["number"]
        else:
            before = ""
            for line in file:
                if " --> " in line:
                    yield int(before)
                before = line


def measure(backend: str, large: int) -> tuple[list[Made], list[Made]]:
    """All kinds for the small and for the large video."""
    with running(backend) as site:
        found = []
        for count in (SMALL, large):
            slug = site.video()
            site.call(fill, slug, count)
            site.call(start_before, slug)
            site.call(analyze)
            with worker(site) as process:
                made = [export(site, process.pid, slug, kind) for kind in KINDS]
            for one in made:
                say(
                    f"  {TITLES[backend]}, {count:,} comments, {one.kind}: {one.rows:,} rows in"
                    f" {one.seconds:.1f} s, {one.file_mib:.0f} MiB; the worker had"
                    f" {one.peak_mib:.1f} MiB at most"
                )
            found.append(made)
        log = (site.folder / "worker.log").read_text()
        if "Traceback" in log:
            raise RuntimeError(log)
        return found[0], found[1]


def main(words: list[str]) -> None:
    large = QUICK if "--quick" in words else LARGE
    for backend in [name for name in BACKENDS if name in words] or BACKENDS:
        small, big = measure(backend, large)
        least, most = (max(one.peak_mib for one in made) for made in (small, big))
        say(f"  {TITLES[backend]}: {most:.1f} MiB against {least:.1f} MiB, {most / least:.2f}x")
        if most > FLAT * least:
            raise SystemExit("The worker's memory grows with the number of comments.")


if __name__ == "__main__":
    # By its name, by which the process beside the servers finds the functions too.
    from bench import exports

    exports.main(sys.argv[1:])
