"""What is old goes when `manage.py housekeeping` says so, and pages that show it converge."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from pytest_django.fixtures import Settings

from comments import services
from comments.errors import Refused
from comments.identity import Actor
from comments.jobs import attempt
from comments.jobs.works import WORKS
from comments.models import Comment, Job, Stream, Viewer, ViewerCount
from comments.services import common, retention
from comments.services.viewer_counts import record
from tests import world
from tests.client import Person
from tests.faults.truth import waits_for_a_lock
from tests.servers import Site, wait_for
from videos.models import Video

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
def old(stream: Stream, mona: Actor, settings: Settings, tmp_path: Path) -> dict[str, Any]:
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
    season = timedelta(seconds=settings.SESSION_COOKIE_AGE + 2 * 86400)
    viewers = {}
    for name in ("silent", "wrote", "account", "young"):
        viewers[name] = Viewer.objects.create(user=mona.user if name == "account" else None)
        if name != "young":
            Viewer.objects.filter(pk=viewers[name].pk).update(created_at=now - season)
    services.post(Actor(viewers["wrote"]), stream.pk, "hello", str(uuid.uuid4()))
    files: Path = settings.EXPORT_DIR
    for name, hours in (("stray.csv", 2), ("young.part", 0)):
        (files / name).write_text("x")
        at = (now - timedelta(hours=hours)).timestamp()
        os.utime(files / name, (at, at))
    # Both videos have files that are old too: one an upload, the other a poster with its sizes.
    world.set_files("talk", source_file="videos/named.mp4")
    sizes = [[320, 180, "posters/small.webp"], [640, 360, "posters/large.webp"]]
    world.set_files("elsewhere", poster="posters/large.webp", poster_sizes=sizes)
    settings.MEDIA_ROOT = tmp_path
    for name in ("videos/lost.mp4", "posters/lost.webp", "videos/young.mp4", *NAMED):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        at = (now - timedelta(hours=23 if "young" in name else 25)).timestamp()
        os.utime(path, (at, at))
    tasks = DBTaskResult.objects.count()
    found = {"jobs": jobs, "files": files, "tasks": tasks, "viewers": viewers}
    return found | {"uploads": tmp_path}


NAMED = ("videos/named.mp4", "posters/small.webp", "posters/large.webp", "of-somebody-else.txt")


def uploads(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_old_goes_and_what_is_not_stays(
    old: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys)
    csv, jsonl, _first, second, vtt = old["jobs"]
    assert list(Session.objects.values_list("session_key", flat=True)) == ["alive"]
    # The last report stays for its page.
    assert set(Job.objects.values_list("pk", flat=True)) == {second.pk, vtt.pk}
    assert DBTaskResult.objects.count() == old["tasks"] - 1
    left = set(Viewer.objects.values_list("pk", flat=True))
    assert {name for name, viewer in old["viewers"].items() if viewer.pk not in left} == {"silent"}
    names = {path.name for path in old["files"].iterdir()}
    assert {csv.file, jsonl.file, "stray.csv"}.isdisjoint(names)
    assert {vtt.file, "young.part"} <= names
    assert uploads(old["uploads"]) == {"videos/young.mp4", *NAMED}


def test_a_dry_run_says_the_same_and_deletes_nothing(
    old: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def everything() -> list[int]:
        rows = [model.objects.count() for model in (Session, Job, Viewer)]
        return [*rows, len(list(old["files"].iterdir())), len(uploads(old["uploads"]))]

    before = everything()
    said = run(capsys, "--dry-run")
    assert before == everything()
    done = run(capsys)
    counts = [line.split()[0] for line in said.splitlines()]
    assert counts == [line.split()[0] for line in done.splitlines()]
    assert counts == ["1", "1", "0", "2", "3", "1", "1", "2"]
    assert {line.split()[0] for line in run(capsys).splitlines()} == {"0"}


def test_uploads_stay_where_the_database_has_no_video_yet(
    transactional_db: None, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.MEDIA_ROOT = tmp_path
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "talk.mp4"
    path.write_text("x")
    os.utime(path, (0, 0))
    assert "0 uploads that no video names" in run(capsys)
    assert path.exists()


def test_files_go_with_the_last_video_that_names_them(postgres_site: Site) -> None:
    assert postgres_site.call(delete_both_with_their_file) == [True, True, False]


def delete_both_with_their_file() -> list[bool]:
    """Two videos that name one file; whether it is there at first, and after each deletion."""
    video = Video(slug="first", title="1", source_file=ContentFile(b"x", "clip.mp4"))
    video.save()
    names = {"source_file": video.source_file.name, "poster_sizes": [[320, 180, "posters/x.webp"]]}
    other = Video.objects.create(slug="second", title="2", **names)
    path = Path(video.source_file.path)
    there = [path.exists()]
    for which in (video, other):
        which.delete()
        there.append(path.exists())
    return there


def test_comments_of_a_video_without_retention_are_kept(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write_many("talk", 3)
    world.age_comments("talk", 3, 4000)
    epoch = world.stream_of("talk")["epoch"]
    run(capsys)
    assert (Comment.objects.count(), world.stream_of("talk")["epoch"]) == (3, epoch)


def test_minutes_of_viewers_go_with_comments_of_their_age_and_with_their_video(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    minute = int(time.time() // 60)
    kept, gone = Stream.objects.get(video__slug="elsewhere"), 10**9
    for days in (1, 8):
        record(minute - days * 24 * 60, dict.fromkeys((stream.pk, kept.pk), 5))
    # Written while their video was deleted.
    ViewerCount.objects.create(stream_id=gone, minute=timezone.now(), viewers=1)
    world.set_stream("talk", retention_days=7)
    said = run(capsys)
    assert "1 minutes of viewers of talk from before that: deleted" in said
    assert "1 minutes of viewers of deleted videos: deleted" in said
    rows = ViewerCount.objects.values_list("stream_id", flat=True)
    assert sorted(rows) == sorted([stream.pk, kept.pk, kept.pk])


# --- who comes back in that very moment -----------------------------------------------------------


def forget_when(moment: str, slug: str, handle: str) -> list[Any]:
    """Clear a viewer and two others away, as housekeeping does, while that viewer posts: "before"
    it is locked and after it was chosen; a post that is "under way" all the time; "after" it is
    deleted, and before that is committed. How many are gone, whether it is left, how many of the
    three are, and what the post got."""
    stream = Stream.objects.get(video__slug=slug)
    viewer = Viewer.objects.get(handle=handle)
    others = Viewer.objects.bulk_create([Viewer(), Viewer()])
    told: list[Any] = []
    lock_viewers = common.lock_viewers

    def post(wait_until: Callable[[], bool] | None = None) -> None:
        try:
            with transaction.atomic():
                services.post(Actor(viewer), stream.pk, moment, str(uuid.uuid4()))
                posted.set()
                if wait_until:
                    wait_for(wait_until, "housekeeping")
            told.append("posted")
        except Refused as refusal:
            told.append(refusal.code)
        except IntegrityError as error:
            told.append(str(error))
        finally:
            connection.close()

    def post_first(*args: Any, **kwargs: Any) -> dict[int, Viewer]:
        posting.start()
        posting.join()
        return lock_viewers(*args, **kwargs)

    posted, forgotten = threading.Event(), threading.Event()
    until = forgotten.is_set if moment == "under way" else None
    posting = threading.Thread(target=post, args=[until])
    if moment == "under way":
        posting.start()
        assert posted.wait(10)
    if moment == "before":
        retention.lock_viewers = post_first  # type: ignore[attr-defined]
    try:
        with transaction.atomic():
            before = timezone.now() + timedelta(days=1)
            piece = retention.forget_viewers(before, viewer.pk - 1, 1000)
            if moment == "after":
                posting.start()
                url = os.environ["DATABASE_URL"]
                wait_for(lambda: waits_for_a_lock(url), "the post waits")
    finally:
        retention.lock_viewers = lock_viewers  # type: ignore[attr-defined]
    forgotten.set()
    posting.join()
    assert piece is not None
    left = Viewer.objects.filter(pk__in=[viewer.pk, *(other.pk for other in others)])
    return [piece[0], left.filter(pk=viewer.pk).exists(), left.count(), *told]


@pytest.mark.parametrize(
    ("moment", "outcome"),
    [
        ("before", [2, True, 1, "posted"]),
        ("under way", [2, True, 1, "posted"]),
        ("after", [3, False, 0, "sign_in_required"]),
    ],
)
def test_who_writes_while_viewers_are_cleared_stays_or_is_told(
    postgres_site: Site, moment: str, outcome: list[Any]
) -> None:
    site = postgres_site
    slug = site.video()
    person = Person(site).open(slug)
    assert site.call(forget_when, moment, slug, person.me) == outcome
    # The page is whoever it is now, and can write.
    person.open(slug)
    assert person.say(slug, "here again").status == 303
    assert site.call(world.comments_of, slug)[-1]["author"] == person.me


def test_a_purge_takes_pieces_and_names_the_history_anew_with_each(stream: Stream) -> None:
    world.write_many("talk", 5)
    epochs = {world.stream_of("talk")["epoch"]}
    gone = []
    for _ in range(4):
        gone.append(retention.purge(stream.pk, timezone.now() + timedelta(days=1), 2))
        epochs.add(world.stream_of("talk")["epoch"])
    assert (gone, len(epochs)) == ([2, 2, 1, 0], 4)
    assert world.stream_of("talk")["head"] == 5
