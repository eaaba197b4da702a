"""Background work with real workers: followed in the page, fetched, killed, taken up again."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from comments.jobs import attempt
from comments.management.commands.db_worker import Worker
from tests import world
from tests.client import Person
from tests.conftest import MakeSite
from tests.servers import Site, wait_for


@pytest.fixture(scope="module")
def site(make_site_for_module: MakeSite) -> Iterator[Site]:
    """Server and worker, as `make run` starts them, but on PostgreSQL and Valkey; on SQLite workers
    are tried in tests/test_exports.py and tests/browser/test_desk.py."""
    run = ("manage.py", "run", "--bind", "{bind}")
    found = make_site_for_module(command=run, backend="postgres", RATE_VIEWER="off")
    yield found
    assert not found.tracebacks


@pytest.fixture
def slug(site: Site) -> str:
    return site.video()


@pytest.fixture
def mona(site: Site) -> Person:
    return Person(site).signed_in("mona")


def children(site: Site) -> dict[str, int]:
    """The processes of the site that is run, by their command."""
    parent = site.servers[0].process.pid
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = {}
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        found[words[2]] = int(pid)
    assert set(found) == {"serve", "db_worker"}
    return found


def are_gone(pids: dict[str, int]) -> None:
    def gone(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(lambda: all(gone(pid) for pid in pids.values()), f"an end of {pids}", 30)


def asks_for(person: Person, slug: str, kind: str) -> str:
    """By the desk's form; the path of the job's file."""
    page = person.get(f"/videos/{slug}/desk/")
    assert page.status == 200
    token = page.html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    person.csrf = token.attributes["value"]
    answer = person.post(f"/videos/{slug}/desk/", {"kind": kind})
    assert answer.status == 303, answer.text[:2000]
    number = answer.headers["location"].rpartition("#job-")[2]
    return f"/videos/{slug}/desk/{number}/"


def is_done(site: Site, slug: str) -> bool:
    states = [job["state"] for job in site.call(world.jobs_of, slug)]
    assert set(states) <= {"queued", "running", "done"}, states
    return set(states) == {"done"}


async def test_the_page_is_told_until_the_file_is_there(
    site: Site, slug: str, mona: Person
) -> None:
    from websockets.asyncio.client import connect

    site.call(world.write_many, slug, 3000)
    path = asks_for(mona, slug, "csv")
    assert asks_for(mona, slug, "csv") == path or is_done(site, slug)
    url = site.ws_url(slug).replace("?", "") + "jobs/"
    headers = {"Cookie": mona.cookie_header, "X-Forwarded-For": mona.address}
    origin: Any = site.servers[0].origin
    async with connect(url, origin=origin, additional_headers=headers, proxy=None) as socket:
        frames = [str(await socket.recv())]
        while 'data-state="done"' not in frames[-1]:
            frames.append(str(await socket.recv()))
    assert f'href="{path}"' in frames[-1]
    file = mona.get(path)
    assert file.status == 200
    assert file.headers["content-disposition"].startswith(f'attachment; filename="{slug}-')
    assert file.headers["cache-control"] == "private, no-store"
    assert len(file.text.split("\r\n")) == 3000 + 2


async def test_who_may_not_have_it_is_told_nothing_at_any_door(
    site: Site, slug: str, mona: Person
) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    path = asks_for(mona, slug, "jsonl")
    wait_for(lambda: is_done(site, slug), "an export")
    desk = f"/videos/{slug}/desk/"
    strangers = {4401: Person(site), 4403: Person(site).signed_in("max")}
    strangers[4403].open(slug)
    for code, person in strangers.items():
        for url in (desk, f"/videos/{slug}/report/", path):
            answer = person.get(url)
            assert answer.status in (302, 403), url
            assert "number" not in answer.text
        for url in (desk, f"{desk}cancel/"):
            assert person.post(url, {"kind": "csv", "job": "1"}).status in (302, 403), url
        ws = site.ws_url(slug).replace("?", "") + "jobs/"
        headers = {"Cookie": person.cookie_header, "X-Forwarded-For": person.address}
        origin: Any = site.servers[0].origin
        async with connect(ws, origin=origin, additional_headers=headers, proxy=None) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == code
    # Another moderator of the video, who did not ask for it.
    assert Person(site).signed_in("root").get(path).status == 404
    assert len(site.call(world.jobs_of, slug)) == 1

    assert mona.get(path).status == 200
    site.call(world.set_moderator, slug, "mona", moderates=False)
    assert mona.get(path).status == 403
    site.call(world.set_moderator, slug, "mona", moderates=True)
    assert mona.get(path).status == 200
    site.call(world.age_job, int(path.split("/")[-2]), expires_at=25)
    assert mona.get(path).status == 404
    assert "no longer kept" in mona.get(desk).text


def test_admin_asks_for_exports_of_the_chosen_videos(site: Site, slug: str) -> None:
    root = Person(site).signed_in("root")
    url = "/admin/videos/video/"
    token = root.get(url).html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    root.csrf = token.attributes["value"]
    pk = str(site.call(world.video_pk, slug))
    answer = root.post(url, {"action": "export_jsonl", "_selected_action": pk})
    assert answer.status == 302
    assert f"/videos/{slug}/desk/" in root.get(url).text
    wait_for(lambda: is_done(site, slug), "an export")
    [job] = site.call(world.jobs_of, slug)
    page = root.get(f"/admin/comments/job/{job['pk']}/change/")
    assert page.status == 200
    assert "JSON Lines" in page.text


def test_a_worker_killed_in_its_job_loses_nothing(site: Site, slug: str, mona: Person) -> None:
    """Killed by SIGKILL in the midst of a file, then ended in order in the midst of it, and taken
    up again both times. With the worker the server ends, and with Ctrl+C both."""
    exports = site.folder / "data" / "exports"
    site.call(world.write_many, slug, 60_000, 0.01)
    running = children(site)
    asks_for(mona, slug, "jsonl")
    with closing(psycopg.connect(site.variables["DATABASE_URL"], autocommit=True)) as database:

        def state() -> tuple[str, int]:
            query = "SELECT state, attempts FROM comments_job ORDER BY id DESC LIMIT 1"
            found: tuple[str, int] | None = database.execute(query).fetchone()
            assert found is not None
            return found

        # It is running an instant before it has a file.
        in_its_midst = lambda: state()[0] == "running" and any(exports.glob("*.part"))  # noqa: E731
        wait_for(in_its_midst, "a job under way")
        os.kill(running["db_worker"], signal.SIGKILL)
        are_gone(running)
        assert site.servers[0].process.wait(15) == signal.SIGKILL
        assert state() == ("running", 1)
        assert len(list(exports.glob("*.part"))) == 1

        # As if it had been dead for as long as it takes to be found so.
        database.execute(
            "UPDATE comments_job SET beat_at = now() - interval '1 minute' WHERE state = 'running'"
        )
        site.start_server()
        running = children(site)
        wait_for(lambda: state() == ("running", 2), "the job to be taken up")
        site.servers[0].process.send_signal(signal.SIGINT)
        are_gone(running)
        assert site.servers[0].process.wait(15) == 0
        assert state() == ("queued", 2)  # given back: nobody is to blame for it
        assert not list(exports.glob("*.part"))

    site.start_server()
    wait_for(lambda: is_done(site, slug), "an export", 20)
    [job] = site.call(world.jobs_of, slug)
    assert (job["attempts"], job["done"]) == (2, 60_000)
    numbers = re.findall(r'(?m)^\{"number": (\d+),', (exports / job["file"]).read_text())
    assert list(map(int, numbers)) == list(range(1, 60_001))

    # Who kills the one in front leaves nobody behind.
    running = children(site)
    site.servers[0].process.kill()
    are_gone(running)
    with suppress(ProcessLookupError):
        site.servers[0].process.wait(5)


def test_a_second_signal_in_the_midst_of_the_first_ends_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when `serve` and who started both are killed together."""
    worker = Worker.__new__(Worker)
    worker.running, worker.running_task = True, True

    class Interrupted(threading.Event):
        def set(self) -> None:
            with self._cond:  # type: ignore[attr-defined]
                worker.shutdown(signal.SIGTERM, None)
            super().set()

    monkeypatch.setattr(attempt, "stopping", Interrupted())
    monkeypatch.setattr(worker, "reset_signals", lambda: None)

    def end() -> None:
        with suppress(SystemExit):  # it was asked twice
            worker.shutdown(signal.SIGTERM, None)

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    ending.join(5)
    assert not ending.is_alive()
    assert not worker.running
