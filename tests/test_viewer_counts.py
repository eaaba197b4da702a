"""How many watched is kept minute by minute, over all processes, and the report tells it."""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from comments import services, threads, viewer_counts
from comments.identity import Actor
from comments.jobs import attempt
from comments.jobs.works import WORKS
from comments.models import Comment, Job, Stream, ViewerCount
from comments.plots import Curve, Plot
from comments.services.viewer_counts import record
from comments.threads import READING, WAITING, in_database
from comments.viewer_counts import ViewerCounts
from tests import world
from tests.client import Person
from tests.conftest import MakeSite
from tests.servers import Site, wait_for
from tests.test_hub import say
from videos.models import Video

TABLE = ViewerCount._meta.db_table
IN_A_HURRY = ("-m", "tests.without", "minutes", "--bind", "{bind}")


def counted(slug: str) -> list[int]:
    """What is kept of a video, minute by minute."""
    rows = ViewerCount.objects.filter(stream__video__slug=slug).order_by("minute")
    return list(rows.values_list("viewers", flat=True))


def rename_table(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')


# --- What a running site keeps --------------------------------------------------------------------


async def test_the_most_at_once_is_kept_over_all_processes(make_site: MakeSite) -> None:
    """Once the minute is over, or the process."""
    site = make_site(backend="postgres", processes=2)
    slug, silent = site.video(), site.video()
    here, *others = [Person(site, server=server).open(slug) for server in (1, 0, 0)]
    began = time.time() // 60
    # Who came first is told of the others by the safety poll alone, which is what counts.
    async with here.socket(slug) as socket, others[0].socket(slug), others[1].socket(slug):
        await socket.until(lambda: here.page.watching == 3, "three viewers")
        await asyncio.gather(*(asyncio.to_thread(site.end_server, number) for number in (0, 1)))
    kept = site.call(counted, slug)
    assert max(kept) == 3
    assert len(kept) <= 1 + time.time() // 60 - began, "processes share their minutes"
    assert site.call(counted, silent) == []
    assert not site.tracebacks


async def test_minutes_that_cannot_be_kept_are_lost_and_nothing_else_is(
    make_site: MakeSite,
) -> None:
    site = make_site(command=IN_A_HURRY)
    slug = site.video()
    person = Person(site).open(slug)

    def is_told() -> bool:
        return "viewers of 1 videos not kept: OperationalError" in site.log()

    site.call(rename_table, TABLE, "away")
    async with person.socket(slug) as socket:
        await asyncio.to_thread(wait_for, is_told, site.log)
        # What no message tells of is found by the same poll.
        await socket.reaches(site.call(say, slug, 1))
        site.call(rename_table, "away", TABLE)
        await asyncio.to_thread(wait_for, lambda: site.call(counted, slug), "a minute is kept")
    assert set(site.call(counted, slug)) == {1}
    assert not site.tracebacks


@asynccontextmanager
async def somebody_writes() -> AsyncIterator[None]:
    """Nobody else can write to the database meanwhile: SQLite has one writer."""
    begun, written = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            begun.set()
            written.wait(10)
        connection.close()

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    await asyncio.to_thread(begun.wait, 10)
    try:
        yield
    finally:
        written.set()
        await writing


async def test_minutes_that_wait_to_be_written_hold_back_nobody_who_reads(stream: Stream) -> None:
    minutes = [(29_000_000 + number, {stream.pk: 7}) for number in range(READING._max_workers)]
    async with somebody_writes():
        keeping = [asyncio.ensure_future(viewer_counts.keep(minute)) for minute in minutes]
        await asyncio.sleep(0)  # they have their places
        async with asyncio.timeout(2):
            assert await in_database(Stream.objects.count)() == 2
        assert not any(kept.done() for kept in keeping)
    await asyncio.gather(*keeping)
    assert await in_database(counted)("talk") == [7] * len(minutes)


async def test_a_minute_that_is_given_up_at_the_end_is_nobodys_action(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with somebody_writes():
        keeping = asyncio.ensure_future(viewer_counts.keep((29_000_000, {stream.pk: 7})))
        while not threads._under_way:
            await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(threads, "_is_given_up", False)
            patch.setattr(threads, "given_up", 0)
            threads.give_up()
            await keeping
            assert threads.given_up == 0, "the exit code tells of people's actions"
        assert "not kept: UnansweredError" in caplog.text
    # Its thread may have it done all the same: until then the database is not left.
    idle = threading.Barrier(WAITING._max_workers)
    waits = [asyncio.wrap_future(WAITING.submit(idle.wait, 10)) for _ in range(idle.parties)]
    await asyncio.gather(*waits)


def test_processes_may_write_a_minute_together_and_the_greater_stays(site: Site) -> None:
    slugs = [site.video() for _ in range(8)]
    assert site.call(write_together, slugs) == []
    assert [site.call(counted, slug) for slug in slugs] == [[60]] * 8


def write_together(slugs: list[str]) -> list[str]:
    """As six processes in the same minute, each with its own order and numbers; what failed."""
    pks = list(Stream.objects.filter(video__slug__in=slugs).values_list("pk", flat=True))
    failed = []

    def write(number: int) -> None:
        try:
            for round_ in range(10):
                order = reversed(pks) if number % 2 else pks
                record(29_000_000, dict.fromkeys(order, 1 + (number * 10 + round_) * 7 % 60))
        except Exception as error:
            failed.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


# --- In this process ------------------------------------------------------------------------------


def test_of_each_minute_the_greatest_is_written_and_of_one_without_viewers_nothing() -> None:
    counts = ViewerCounts()
    assert counts.turn(60 * 100) is None
    for viewers in (3, 5, 4):
        assert counts.turn(60 * 100 + 59.9) is None
        counts.see(1, viewers)
    counts.see(2, 1)
    assert counts.turn(60 * 101) == (100, {1: 5, 2: 1})
    counts.see(1, 2)
    assert counts.turn(60 * 102) == (101, {1: 2})
    assert counts.turn(60 * 103) is None
    counts.see(1, 9)
    assert counts.take() == (103, {1: 9})
    assert counts.take() is None


def test_a_recording_is_not_counted_and_a_deleted_video_is_no_mistake(stream: Stream) -> None:
    minute = 29_000_000
    ended_at = datetime.fromtimestamp(minute * 60 + 30, UTC)
    Video.objects.filter(pk=stream.video_id).update(state="ended", ended_at=ended_at)
    other = Stream.objects.get(video__slug="elsewhere")
    for after in range(3):
        record(minute + after, {stream.pk: 10 + after, other.pk: 20 + after, 10**9: 1})
    # The minute that it ended in is the last.
    assert (counted("talk"), counted("elsewhere")) == ([10], [20, 21, 22])
    assert ViewerCount.objects.count() == 4
    other.video.delete()
    assert counted("elsewhere") == []
    assert ViewerCount.objects.count() == 1


def report_of(stream: Stream, mona: Actor) -> dict[str, Any]:
    job = services.request_job(mona, stream.pk, "report")
    assert job.task_id is not None
    attempt.run(job.pk, job.task_id, WORKS)
    found = Job.objects.get(pk=job.pk).result
    assert found is not None
    return dict(found)


def keep(stream: Stream, minutes: dict[int, int], seconds: int = 0) -> None:
    """Counts of minutes after the hour of a stream that started `seconds` after that."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    Video.objects.filter(pk=stream.video_id).update(started_at=hour + timedelta(seconds=seconds))
    first = int(hour.timestamp() // 60)
    for minute, viewers in minutes.items():
        record(first + minute, {stream.pk: viewers})


def test_the_report_has_viewers_on_the_same_clock_as_comments(stream: Stream, mona: Actor) -> None:
    # What began before the start counts as far as it reaches into it; 0:20 is nearer to 0:00.
    keep(stream, {-3: 99, -1: 98, 0: 5, 1: 20, 2: 40, 4: 40, 9: 3}, seconds=20)
    world.write_many("talk", 3, seconds=60.0)
    found = report_of(stream, mona)
    assert found["step"] == 1
    assert [count for count, _gone in found["bars"]] == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert found["viewers"] == [5, 20, 40, 0, 40, 0, 0, 0, 0, 3]
    assert found["peak"] == {"minute": 2, "viewers": 40}, "the first of two that are equal"


def test_the_minute_that_the_start_is_in_still_counts(stream: Stream, mona: Actor) -> None:
    keep(stream, {-1: 10, 0: 9, 1: 5, 2: 4}, seconds=40)
    assert report_of(stream, mona)["viewers"] == [9, 4]


def test_bars_of_several_minutes_have_the_most_of_them_and_the_peak_its_own_minute(
    stream: Stream, mona: Actor
) -> None:
    keep(stream, {minute: 100 + minute % 10 for minute in range(200)} | {57: 500})
    found = report_of(stream, mona)
    assert (found["step"], len(found["bars"]), len(found["viewers"])) == (2, 100, 100)
    assert found["viewers"][:3] == [101, 103, 105]
    assert found["viewers"][28] == 500
    assert found["peak"] == {"minute": 57, "viewers": 500}


def test_a_report_without_viewers_says_so_and_without_clock_counts_from_the_first(
    stream: Stream, mona: Actor
) -> None:
    found = report_of(stream, mona)
    assert (found["peak"], found["viewers"]) == (None, [0])
    keep(stream, {5: 2, 7: 4})
    Video.objects.filter(pk=stream.video_id).update(state="upcoming", started_at=None)
    found = report_of(stream, mona)
    assert (found["has_clock"], found["viewers"]) == (False, [2, 0, 4])


def test_a_curve_ends_where_nothing_is_known_and_marks_its_peak() -> None:
    curve = Curve([0, 100, 50, 0, 200, 0], 5, 24)
    assert [slot.viewers for slot in curve.slots] == [100, 50, 0, 200]
    assert curve.ticks == [200, 100, 0]
    assert (curve.peak.begins, curve.peak.viewers) == ("0\xa0h\xa020", 200)
    assert curve.line == "M10 500 L15 500 25 750 35 1000 45 0 50 0"
    assert curve.area == f"{curve.line} V1000 H10 Z"


def test_a_short_reports_axis_says_each_minute_once_and_links_are_no_words(
    stream: Stream, mona: Actor
) -> None:
    keep(stream, {0: 1, 1: 1})
    services.post(mona, stream.pk, "boats https://wiki.example/Ghost_ship sails", str(uuid.uuid4()))
    found = report_of(stream, mona)
    assert dict(found["words"]) == {"boats": 1, "sails": 1}
    assert said(Plot([(1, 0), (1, 0)], 1)) == ["0 h 00", "0 h 01", "0 h 02"]


def said(plot: Plot) -> list[str]:
    return [time.clock.replace("\xa0", " ") for time in plot.times]


def test_an_axis_goes_in_round_steps_each_at_its_place() -> None:
    plot = Plot([(1, 0)] * 34, 1)
    assert said(plot) == ["0 h 00", "0 h 10", "0 h 20", "0 h 30"]
    assert [time.across for time in plot.times] == ["0.00", "29.41", "58.82", "88.24"]
    assert said(Plot([(1, 0)] * 100, 2)) == ["0 h 00", "1 h 00", "2 h 00", "3 h 00"]
    assert said(Plot([(1, 0)] * 20, 1440)) == [f"{hours} h 00" for hours in range(0, 481, 96)]


def test_a_moment_is_as_busy_as_half_of_the_busiest_and_not_beside_it(
    stream: Stream, mona: Actor
) -> None:
    keep(stream, {})
    began = Video.objects.get(pk=stream.video_id).started_at
    assert began is not None
    counts = [46, 18, 34, 1, 11, 0, 23, 22]
    world.write_many("talk", sum(counts))
    first = 1
    for minute, count in enumerate(counts):
        written = Comment.objects.filter(stream=stream, number__range=(first, first + count - 1))
        written.update(posted_at=began + timedelta(minutes=minute))
        first += count
    moments = report_of(stream, mona)["moments"]
    assert [(moment["minute"], moment["comments"]) for moment in moments] == [(0, 46), (6, 23)]
