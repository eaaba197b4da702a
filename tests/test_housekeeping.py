"""What is old goes when `manage.py housekeeping` says so, and pages that show it converge."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from pytest_django.fixtures import Settings

from comments import services
from comments.identity import Actor
from comments.jobs import attempt
from comments.jobs.works import WORKS
from comments.models import Comment, Job, Stream
from comments.services import retention
from tests import world
from tests.client import Person
from tests.servers import Site

# --- an open page ---------------------------------------------------------------------------------


async def test_pages_open_and_pages_that_resume_lose_what_was_purged(sqlite_site: Site) -> None:
    site = sqlite_site
    slug = site.video(retention_days=7)
    site.call(world.write_many, slug, 60)
    watcher, sleeper = Person(site).open(slug), Person(site).open(slug)
    async with watcher.socket(slug) as socket:
        await socket.until(lambda: "comment 60" in socket.page.bodies)
        site.call(world.age_comments, slug, 30, 8)
        code, printed = site.command("housekeeping", "--dry-run")
        assert (code, "30 comments of" in printed, "would be" in printed) == (0, True, True)
        assert len(site.call(world.comments_of, slug)) == 60
        code, printed = site.command("housekeeping")
        assert code == 0, printed
        assert f"30 comments of {slug} older than 7 days: deleted" in printed
        kept = [row["body"] for row in site.call(world.comments_of, slug)]
        assert kept == [f"comment {number}" for number in range(31, 61)]
        await socket.until(lambda: socket.page.bodies == kept, "the page without them")
        # The numbers go on: no number is given a second time.
        await socket.say("afterwards")
        await socket.sees("afterwards")
        assert site.call(world.stream_of, slug)["head"] == 61
        late = sleeper.page.cursor
        assert "comment 11" in sleeper.page.bodies
        async with sleeper.socket(slug, late) as resumed:
            everything = [*kept, "afterwards"]
            await resumed.until(lambda: resumed.page.bodies == everything, "the same in both")


# --- the parts ------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    call_command("housekeeping", *options)
    return capsys.readouterr().out


@pytest.fixture
def old(stream: Stream, mona: Actor, settings: Settings) -> dict[str, Any]:
    """Of each kind one that is old, and one that is not."""
    now = timezone.now()
    month = timedelta(days=31)
    for key, days in (("gone", -1), ("alive", 1)):
        expires = now + timedelta(days=days)
        Session.objects.create(session_key=key, session_data="", expire_date=expires)
    jobs = []
    for kind in ("csv", "jsonl", "report", "report", "vtt"):
        job = services.request_job(mona, stream.pk, kind)
        assert job.task_id is not None
        attempt.run(job.pk, job.task_id, WORKS)
        jobs.append(Job.objects.get(pk=job.pk))
    DBTaskResult.objects.update(status="SUCCESSFUL", finished_at=now)
    ancient = [job.pk for job in jobs[:4]]
    Job.objects.filter(pk__in=ancient).update(finished_at=now - month)
    Job.objects.filter(pk__in=ancient, kind__in=["csv", "jsonl"]).update(expires_at=now - month)
    DBTaskResult.objects.filter(pk=str(jobs[0].task_id)).update(finished_at=now - month)
    files: Path = settings.EXPORT_DIR
    for name, hours in (("stray.csv", 2), ("young.part", 0)):
        (files / name).write_text("x")
        at = (now - timedelta(hours=hours)).timestamp()
        os.utime(files / name, (at, at))
    return {"jobs": jobs, "files": files, "tasks": DBTaskResult.objects.count()}


def test_what_is_old_goes_and_what_is_not_stays(
    old: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys)
    csv, jsonl, _first, second, vtt = old["jobs"]
    assert list(Session.objects.values_list("session_key", flat=True)) == ["alive"]
    # The last report stays for its page.
    assert set(Job.objects.values_list("pk", flat=True)) == {second.pk, vtt.pk}
    assert DBTaskResult.objects.count() == old["tasks"] - 1
    names = {path.name for path in old["files"].iterdir()}
    assert {csv.file, jsonl.file, "stray.csv"}.isdisjoint(names)
    assert {vtt.file, "young.part"} <= names


def test_a_dry_run_says_the_same_and_deletes_nothing(
    old: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Session.objects.count(), Job.objects.count(), len(list(old["files"].iterdir()))
    said = run(capsys, "--dry-run")
    after = Session.objects.count(), Job.objects.count(), len(list(old["files"].iterdir()))
    assert before == after
    done = run(capsys)
    counts = [line.split()[0] for line in said.splitlines()]
    assert counts == [line.split()[0] for line in done.splitlines()]
    assert counts == ["1", "2", "3", "1", "1"]
    assert {line.split()[0] for line in run(capsys).splitlines()} == {"0"}


def test_comments_of_a_video_without_retention_are_kept(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write_many("talk", 3)
    world.age_comments("talk", 3, 4000)
    epoch = world.stream_of("talk")["epoch"]
    run(capsys)
    assert (Comment.objects.count(), world.stream_of("talk")["epoch"]) == (3, epoch)


def test_a_purge_takes_pieces_and_names_the_history_anew_with_each(stream: Stream) -> None:
    world.write_many("talk", 5)
    epochs = {world.stream_of("talk")["epoch"]}
    gone = []
    for _ in range(4):
        gone.append(retention.purge(stream.pk, timezone.now() + timedelta(days=1), 2))
        epochs.add(world.stream_of("talk")["epoch"])
    assert (gone, len(epochs)) == ([2, 2, 1, 0], 4)
    assert world.stream_of("talk")["head"] == 5
