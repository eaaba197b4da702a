"""What an export holds, row by row as the database has it; who may ask; one worker at a time."""

import asyncio
import csv
import io
import json
import re
import uuid
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from comments import limits, services
from comments.errors import Code, Refused
from comments.identity import Actor
from comments.jobs import attempt, bell, exports, pieces, queue
from comments.jobs.attempt import Attempt
from comments.jobs.works import WORKS
from comments.models import Comment, Job, Stream
from tests import world

WORDS = [
    "plain", '=HYPERLINK("http://evil.example","x")', "+1", "-1", "@SUM(A1)", 'quote " and, comma',
    "two\nlines\n\nand an empty one", "মাছরাঙাটা আবার এলো", "<v Boss>hi</v> --> & done", "WEBVTT",
    "👩‍👩‍👧", "＝1+1",
]  # fmt: skip


@pytest.fixture
def written(stream: Stream, anon: Actor, mona: Actor, settings: Settings) -> Stream:
    """A stream with comments of every kind; one removed, one from before the start."""
    settings.RATE_VIEWER = None
    for body in WORDS:
        services.post(anon, stream.pk, body, str(uuid.uuid4()))
    services.remove(mona, stream.pk, 3)
    assert stream.video.started_at is not None
    early = stream.video.started_at - timedelta(seconds=3)
    Comment.objects.filter(stream=stream, number=1).update(posted_at=early)
    stream.refresh_from_db()
    return stream


def work(job: Job) -> Job:
    """What a worker does with the job's task, here and now."""
    assert job.task_id is not None
    attempt.run(job.pk, job.task_id, WORKS)
    job.refresh_from_db()
    return job


def exported(actor: Actor, stream: Stream, kind: str, settings: Settings) -> str:
    job = work(services.request_job(actor, stream.pk, kind))
    assert (job.state, job.problem) == ("done", "")
    path: Path = settings.EXPORT_DIR / job.file
    assert path.stat().st_size == job.size
    assert not list(path.parent.glob("*.part"))
    return path.read_bytes().decode()


def rows_by_sql(stream: Stream) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.number, v.handle, c.author_name, c.badge, c.state, c.removed_by, c.body"
            " FROM comments_comment c JOIN comments_viewer v ON v.id = c.author_id"
            " WHERE c.stream_id = %s ORDER BY c.number",
            [stream.pk],
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


# --- contents -------------------------------------------------------------------------------------


def test_csv_has_every_row_of_the_database_and_no_formula(
    written: Stream, mona: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 3)
    text = exported(mona, written, "csv", settings)
    assert text.startswith("\ufeffnumber,")
    read = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    by_sql = rows_by_sql(written)
    assert len(read) == len(by_sql) == len(WORDS)
    for row, (number, *words) in zip(read, by_sql, strict=True):
        assert row["number"] == str(number)
        cells = [row[c] for c in ("author", "name", "badge", "state", "removed_by", "body")]
        for cell, word in zip(cells, words, strict=True):
            assert cell == (f"'{word}" if word[:1] in set("=+-@\t\r\n＝") - {""} and word else word)
        assert not any(cell.startswith(tuple("=+-@\t\r\n＝")) for cell in row.values())
    assert read[0]["seconds"] == ""
    assert read[2]["state"] == "removed"


@pytest.mark.parametrize("first", [*"=+-@\t\r\n＝＋－＠"])
def test_what_a_spreadsheet_would_run_is_defused(first: str) -> None:
    assert exports.defused(f"{first}1") == f"'{first}1"
    assert exports.defused(f"1{first}") == f"1{first}"


def test_json_lines_has_every_row_as_it_is(
    written: Stream, mona: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 4)
    lines = exported(mona, written, "jsonl", settings).split("\n")
    assert lines.pop() == ""
    read = [json.loads(line) for line in lines]
    fields = ("number", "author", "name", "badge", "state", "removed_by", "body")
    assert [tuple(row[field] for field in fields) for row in read] == rows_by_sql(written)
    times = Comment.objects.filter(stream=written).order_by("number")
    assert [row["posted_at"] for row in read] == [c.posted_at.isoformat() for c in times]


def test_webvtt_puts_what_everybody_could_read_onto_the_videos_clock(
    written: Stream, mona: Actor, settings: Settings
) -> None:
    started = written.video.started_at
    assert started is not None
    at = started + timedelta(hours=1, minutes=2, seconds=3, milliseconds=40)
    Comment.objects.filter(stream=written, number=4).update(posted_at=at)
    text = exported(mona, written, "vtt", settings)
    header, *cues = text.split("\n\n")
    assert header == "WEBVTT"
    found = {}
    for cue in cues:
        number, clock, *words = cue.strip("\n").split("\n")
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}", clock)
        assert all("-->" not in line and line for line in words)
        found[int(number)] = clock, "\n".join(words)
    # Not the first, from before the start; not the third, which is removed.
    assert list(found) == [2, *range(4, len(WORDS) + 1)]
    assert found[4] == ("01:02:03.040 --> 01:02:08.040", "<v Anon>-1")
    # The fourth's process had a fast clock; cues begin in their order all the same.
    assert {clock for number, (clock, _text) in found.items() if number > 4} == {found[4][0]}
    assert found[7][1] == "<v Anon>two\nlines\nand an empty one"
    assert found[9][1] == "<v Anon>&lt;v Boss&gt;hi&lt;/v&gt; --&gt; &amp; done"


def test_a_video_without_clock_has_no_webvtt(written: Stream, mona: Actor) -> None:
    world.set_state("talk", "upcoming")
    with pytest.raises(Refused) as refused:
        services.request_job(mona, written.pk, "vtt")
    assert refused.value.code == Code.NOT_ALLOWED


# --- asking ---------------------------------------------------------------------------------------


def test_only_who_moderates_this_video_may_ask(
    stream: Stream, alice: Actor, max: Actor, anon: Actor, mona: Actor
) -> None:
    for actor in (alice, max, anon, Actor(None)):
        with pytest.raises(Refused) as refused:
            services.request_job(actor, stream.pk, "csv")
        assert refused.value.code == Code.NOT_ALLOWED
    for kind in ("exe", "poster", None, ["csv"]):
        with pytest.raises(Refused) as refused:
            services.request_job(mona, stream.pk, kind)
        assert refused.value.code == Code.MALFORMED
    assert not Job.objects.exists()


def test_the_same_request_again_is_the_same_job_until_it_is_done(
    written: Stream, mona: Actor, root: Actor
) -> None:
    job = services.request_job(mona, written.pk, "csv")
    assert services.request_job(mona, written.pk, "csv") == job
    others = {services.request_job(mona, written.pk, "jsonl").pk}
    others.add(services.request_job(root, written.pk, "csv").pk)
    assert len(others | {job.pk}) == 3
    work(job)
    assert services.request_job(mona, written.pk, "csv") != job


def test_nobody_fills_the_disk_with_jobs(
    stream: Stream, mona: Actor, root: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOBS_PER_HOUR", 2)
    jobs = [services.request_job(mona, stream.pk, kind) for kind in ("csv", "jsonl")]
    with pytest.raises(Refused) as refused:
        services.request_job(mona, stream.pk, "report")
    assert refused.value.code == Code.TOO_FAST
    assert services.request_job(mona, stream.pk, "csv") == jobs[0]  # which is no new one
    services.request_job(root, stream.pk, "report")
    world.age_job(jobs[0].pk, created_at=1.01)
    services.request_job(mona, stream.pk, "report")


def test_who_moderates_no_more_when_the_turn_comes_is_given_nothing(
    written: Stream, mona: Actor
) -> None:
    job = services.request_job(mona, written.pk, "csv")
    world.set_moderator("talk", "mona", moderates=False)
    work(job)
    assert (job.state, job.file, job.problem) == ("failed", "", attempt.NOT_ALLOWED)


async def test_the_requesters_group_hears_of_it(mona: Actor, max: Actor, stream: Stream) -> None:
    layer = get_channel_layer()
    assert layer is not None
    channel, other = await layer.new_channel(), await layer.new_channel()
    for actor, name in ((mona, channel), (max, other)):
        assert actor.user is not None
        await layer.group_add(bell.group_name(actor.user.pk), name)
    job = await sync_to_async(services.request_job)(mona, stream.pk, "csv")
    async with asyncio.timeout(5):
        heard = await layer.receive(channel)
    assert heard["job"] == asdict(bell.JobState.of(job))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await layer.receive(other)


# --- one worker at a time -------------------------------------------------------------------------


def test_a_cancelled_job_stops_at_its_next_step_and_leaves_no_file(
    written: Stream, mona: Actor, alice: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 3)
    monkeypatch.setattr(attempt, "TELL_SECONDS", 0.0)
    job = services.request_job(mona, written.pk, "csv")
    step = Attempt.step
    steps = []

    def cancelling(self: Attempt, done: int, total: int) -> None:
        steps.append(done)
        if done == 3:
            services.cancel_job(mona, written.pk, str(job.pk))
        step(self, done, total)

    monkeypatch.setattr(Attempt, "step", cancelling)
    work(job)
    assert (job.state, job.file, steps) == ("cancelled", "", [0, 3])
    assert not list(settings.EXPORT_DIR.glob(f"{job.task_id}*"))
    for actor in (alice, Actor(None)):
        with pytest.raises(Refused):
            services.cancel_job(actor, written.pk, str(job.pk))


def test_nobody_cancels_the_job_of_somebody_else(written: Stream, mona: Actor, root: Actor) -> None:
    job = services.request_job(mona, written.pk, "csv")
    for number in (str(job.pk), "x", None, "9" * 30):
        with pytest.raises(Refused) as refused:
            services.cancel_job(root, written.pk, number)
        assert refused.value.code == Code.NOT_FOUND
    job.refresh_from_db()
    assert job.state == "queued"


def silent(job: Job) -> None:
    """As if the job's worker had been dead for some time."""
    long_ago = timezone.now() - timedelta(seconds=queue.LEASE_SECONDS + 1)
    Job.objects.filter(pk=job.pk).update(state="running", beat_at=long_ago)


def test_a_worker_that_was_given_up_and_wakes_writes_nothing_more(
    written: Stream, mona: Actor, settings: Settings
) -> None:
    job = services.request_job(mona, written.pk, "csv")
    frozen = Attempt(job, job.task_id or uuid.uuid4())
    silent(job)
    frozen.part.parent.mkdir(exist_ok=True)
    frozen.part.write_text("half of it")
    assert queue.reclaim() == 1
    assert queue.reclaim() == 0
    assert not frozen.part.exists()
    # Another is at the job already when the first one wakes, and goes on.
    Job.objects.filter(pk=job.pk).update(state="running")
    frozen.part.write_text("whole")
    frozen.fail("wrong")
    frozen.give_back(counted=True)
    with pytest.raises(attempt.NotWantedError):
        frozen.step(1, 2)
    with pytest.raises(attempt.NotWantedError):
        frozen.finish(None, "csv")
    assert not list(settings.EXPORT_DIR.glob(f"{frozen.task_id}.csv"))
    standing = Job.objects.get(pk=job.pk)
    assert (standing.state, standing.attempts, standing.problem) == ("running", 2, "")
    Job.objects.filter(pk=job.pk).update(state="queued")
    again = work(standing)
    assert (again.state, again.attempts, again.done) == ("done", 2, len(WORDS))


def test_a_job_is_given_up_after_three_lost_workers(written: Stream, mona: Actor) -> None:
    job = services.request_job(mona, written.pk, "csv")
    states = []
    for _ in range(3):
        silent(job)
        queue.reclaim()
        job.refresh_from_db()
        states.append(job.state)
    assert states == ["queued", "queued", "failed"]
    assert job.problem == queue.LOST


def test_a_worker_that_is_lost_before_it_took_the_job_is_found_too(
    written: Stream, mona: Actor
) -> None:
    from django_tasks_db.models import DBTaskResult

    job = services.request_job(mona, written.pk, "csv")
    began = timezone.now()
    DBTaskResult.objects.filter(pk=str(job.task_id)).update(status="RUNNING", started_at=began)
    assert queue.reclaim() == 0  # it may be about to
    began -= timedelta(seconds=queue.LEASE_SECONDS + 1)
    DBTaskResult.objects.filter(pk=str(job.task_id)).update(started_at=began)
    assert queue.reclaim() == 1
    assert work(Job.objects.get(pk=job.pk)).state == "done"


def test_a_mistake_of_ours_is_logged_and_said_without_details(
    written: Stream, mona: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    job = services.request_job(mona, written.pk, "csv")

    def broken(_attempt: Attempt) -> tuple[None, str]:
        raise ValueError("the reason")

    assert job.task_id is not None
    attempt.run(job.pk, job.task_id, {"csv": broken})
    job.refresh_from_db()
    assert (job.state, job.problem) == ("failed", attempt.OUR_MISTAKE)
    assert "the reason" in caplog.text


def test_a_deleted_account_leaves_its_jobs_to_nobody(written: Stream, mona: Actor) -> None:
    job = services.request_job(mona, written.pk, "csv")
    User.objects.get(username="mona").delete()
    work(job)
    assert (job.state, job.requester_id) == ("failed", None)
