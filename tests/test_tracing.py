"""Traces go to OpenTelemetry's collector where that is set up, with nothing of anybody's in them; a
collector that is not there costs nobody anything; and without one there is no tracing at all."""

import asyncio
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from streamsite.asgi import application
from streamsite.observe import collector as settings_of_collector
from streamsite.observe import tracing
from tests.client import Person
from tests.collector import Came, Collector
from tests.conftest import MakeSite
from tests.figures import scrape
from tests.servers import end, environment, free_port, manage, wait_for
from tests.test_settings import refusal_of

OWN_WORDS = "my-own-words-5127"
OWN_NAME = "Very Own Name"
ADDRESS = "203.0.113.78"
SECRET = "secret-of-this-test-4711"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.stop()


async def test_all_that_is_done_is_traced_and_nothing_of_anybodys_with_it(
    make_site: MakeSite, collector: Collector
) -> None:
    site = make_site(
        command=("-m", "tests.without", "mistakes", "--bind", "{bind}"),
        **{ENDPOINT: collector.url},
        OTEL_SERVICE_NAME="site-of-this-test",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET}",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    slug = site.video()
    person = Person(site, address=ADDRESS).open(slug)
    strangers = "5" * 32
    nowhere_ = f"/videos/{OWN_WORDS}/?q={OWN_WORDS}"
    person.get(nowhere_, traceparent=f"00-{strangers}-{'6' * 16}-01")
    somebody = Person(site).open(slug)
    async with person.socket(slug) as socket_, somebody.socket(slug) as other:
        key = str(uuid.uuid4())
        assert (await socket_.say(OWN_WORDS, key=key)).is_ack
        assert (await socket_.ask("rename", name=OWN_NAME)).is_ack
        assert (await socket_.say(f"boom {OWN_WORDS}")).code == "try_again"
        assert (await socket_.ask("remove", number=99)).code == "not_found"
        assert (await socket_.ask("remove", number=1)).is_ack
        assert (await socket_.ask(OWN_WORDS)).code == "malformed"
        await other.reaches(2)
    assert person.say(slug, f"boom {OWN_WORDS}").status == 500
    mona = Person(site, address=ADDRESS).signed_in("mona").open(slug)
    assert mona.post(f"/videos/{slug}/desk/", {"kind": "csv"}).status == 303
    worked = site.manage("db_worker", "--batch", "--no-startup-delay", "--verbosity", "0")
    assert worked.returncode == 0, worked.stdout
    assert collector.named("job csv", outcome="done", rows=1, video=slug), "it was sent at its end"
    wait_for(lambda: collector.named("POST /videos/<slug:slug>/desk/"), "the last request's span")

    [posted] = collector.named("socket post", outcome="ok", video=slug, viewer=person.me)
    batches = collector.named("batch")
    [batch] = [span for span in batches if posted.id in span.links]
    assert batch.said["streamsite.posts"] == 1
    assert not any(span.parent for span in batches), "it is nobody's in particular"
    assert [c.parent for c in collector.named("commit post_many")].count(batch.id) == 1
    [mistake] = collector.named("socket post", outcome="error")
    assert mistake.failed
    [broken] = [span for span in batches if mistake.id in span.links]
    assert broken.failed
    outcomes = {s.said["streamsite.outcome"] for s in collector.named("socket remove")}
    assert outcomes == {"ok", "not_found"}
    assert collector.named("socket rename", outcome="ok")
    assert collector.named("socket unknown", outcome="malformed")
    [form] = collector.named("POST /videos/<slug:slug>/comments/", action="post", outcome="error")
    assert form.failed
    assert form.said["http.response.status_code"] == 500
    nowhere = next(s for s in collector.spans if s.said.get("http.response.status_code") == 404)
    assert nowhere.trace.hex() != strangers
    assert not nowhere.parent
    figures = scrape(site)
    for action in ("post", "remove", "rename", "unknown"):
        counted = sum(
            value
            for key, value in figures.items()
            if key[:3] == ("actions_total", action, "socket")
        )
        assert counted == len(collector.named(f"socket {action}")) > 0

    for span in collector.spans:
        assert span.process["service.name"] == "site-of-this-test"
        assert span.seconds < 60
    assert {headers["authorization"] for headers in collector.headers} == {f"Bearer {SECRET}"}
    sent = b"".join(collector.bodies)
    assert slug.encode() in sent
    private = (
        *(OWN_WORDS, OWN_NAME, ADDRESS, SECRET, "mona", "cannot take", key, str(site.folder)),
        *(person.session_key, person.csrf, mona.session_key),
    )
    # A short name may stand in any number.
    said_of_process = [value for span in collector.spans for value in span.process.values()]
    assert socket.gethostname() not in said_of_process
    for text in private:
        assert text.encode() not in sent, text
    assert SECRET not in site.log()


async def test_fan_out_is_traced_by_the_flush_and_not_by_the_socket(
    make_site: MakeSite, collector: Collector
) -> None:
    site = make_site(**{ENDPOINT: collector.url}, OTEL_BSP_SCHEDULE_DELAY="50", RATE_VIEWER="off")
    slug = site.video()
    anna, ben, cleo = (Person(site).open(slug) for _ in range(3))
    started = time.monotonic()
    async with anna.socket(slug) as one, ben.socket(slug) as two, cleo.socket(slug) as three:
        said = 0

        def of_all() -> list[Came]:
            return collector.named("flush", sockets=3)

        async with asyncio.timeout(20):
            while sum(s.said["streamsite.flushes"] - 1 for s in of_all()) < 1 or len(of_all()) < 3:
                said += 1
                await one.say(f"comment {said}")
        for other in (two, three):
            await other.reaches(said)
    took = time.monotonic() - started
    flushes = collector.named("flush")
    assert len(flushes) <= took / tracing.FLUSHES_APART + 1
    assert all(span.said["streamsite.video"] == slug and not span.parent for span in flushes)
    told = sum(span.said["streamsite.flushes"] for span in flushes)
    assert len(flushes) < told <= scrape(site)["flush_seconds_count",]


async def test_a_collector_that_is_not_there_costs_nobody_anything(make_site: MakeSite) -> None:
    port = free_port()
    site = make_site(
        **{ENDPOINT: f"http://127.0.0.1:{port}"},
        OTEL_BSP_SCHEDULE_DELAY="20",
        OTEL_BSP_MAX_QUEUE_SIZE="4",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="2",
        RATE_VIEWER="off",
    )
    slug = site.video()
    person = Person(site).open(slug)
    somebody = Person(site).open(slug)
    async with person.socket(slug) as socket_, somebody.socket(slug) as other:
        wait_for(lambda: "traces are not sent" in site.log(), "a line that says so")
        slowest = 0.0
        for number in range(30):
            began = time.monotonic()
            assert (await socket_.say(f"comment {number}")).is_ack
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2, "a comment waited for the collector"
        # Now it takes connections, and never answers: the sender hangs in it at the end.
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.settimeout(15)
            connection, _address = listener.accept()
            began = time.monotonic()
            code = await asyncio.to_thread(end, site.servers[0].process)
            took = time.monotonic() - began
            connection.close()
        assert await other.closed() == 1012
    assert code == 0
    assert took < 5, "3 s for the sockets, half a second for traces"
    log = site.log()
    assert log.count("traces are not sent") == 1
    assert "Queue full" not in log
    assert "Traceback" not in log
    assert "urllib3" not in log


def test_the_sampler_of_the_environment_decides(make_site: MakeSite, collector: Collector) -> None:
    """By commands, which have sent all when they have ended."""
    site = make_site()
    slug = site.video()

    def spans_of_a_comment(**variables: str) -> int:
        had = len(collector.spans)
        given = site.variables | {ENDPOINT: collector.url} | variables
        done = manage(given, "comment", "post", slug, "hello", "--as", "mona")
        assert done.returncode == 0, done.stdout
        return len(collector.spans) - had

    assert spans_of_a_comment() == 1
    assert collector.spans[-1].process["service.name"] == "streamsite"
    assert spans_of_a_comment(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0") == 0
    assert spans_of_a_comment(OTEL_SDK_DISABLED="true") == 0


# --- off ------------------------------------------------------------------------------------------


def test_without_a_collector_nothing_is_imported_and_nothing_wrapped() -> None:
    # redis-py imports some of what is installed by itself, for figures of its own.
    assert not {"opentelemetry.sdk.trace", "streamsite.observe.spans"} & set(sys.modules)

    def function() -> None: ...

    assert tracing.spanned("name")(function) is function
    assert tracing.requests(application) is application
    assert tracing.span("one") is tracing.span("another", posts=3)
    assert tracing.here() is None


# --- what cannot work -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (ENDPOINT, "localhost:4317", "http://127.0.0.1:4318"),
        (ENDPOINT, "http:///v1", "http://127.0.0.1:4318"),
        (ENDPOINT, "grpc://collector:4317", "http://127.0.0.1:4318"),
        (ENDPOINT, "http://[::1", "http://127.0.0.1:4318"),
        (ENDPOINT, "http://collector:port", "http://127.0.0.1:4318"),
        (ENDPOINT, "http://collector:0", "http://127.0.0.1:4318"),
        (ENDPOINT, "http://two words:4318", "http://127.0.0.1:4318"),
        (ENDPOINT, f"http://me:{SECRET}@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        (ENDPOINT, f"http://collector:4318/?key={SECRET}", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector", "http://127.0.0.1:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", SECRET, "=name=value,name=value"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "a whole number from 1 to 60"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/x.pem", "a PEM file that this process may read"),
        ("OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER=otlp"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "OTEL_TRACES_SAMPLER=parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "50", "from 0 to 1, as in OTEL_TRACES_SAMPLER_ARG=0.1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "a whole number from 1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "a whole number from 1 to 2048"),
        ("OTEL_SDK_DISABLED", "perhaps", "OTEL_SDK_DISABLED=on"),
    ],
)
def test_a_value_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    assert settings_of_collector.collector() is not None
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as refused:
        settings_of_collector.collector()
    sentence = str(refused.value)
    assert sentence.startswith(name)
    assert says in sentence
    assert SECRET not in sentence


def test_values_that_work_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of_collector.collector() is None
    monkeypatch.setenv(ENDPOINT, "https://[::1]:4318/otlp/")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%2Fb, other = c")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    found = settings_of_collector.collector()
    assert found is not None
    assert found.endpoint == "https://[::1]:4318/otlp/v1/traces"
    assert (found.sampler, found.ratio) == ("parentbased_traceidratio", 0.25)
    assert found.secrets == ("a%2Fb", "a/b", "c", "c")
    assert found.timeout == 3
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/here")
    found = settings_of_collector.collector()
    assert found is not None
    assert found.endpoint == "http://other/here"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert settings_of_collector.collector() is None


def test_the_start_is_refused_in_a_sentence(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    malformed = manage(variables | {ENDPOINT: "localhost:4317"}, "serve")
    assert refusal_of(malformed).startswith(f"{ENDPOINT} is no URL with http:// or https://")
    # Of the SDK's own variables, those that only it knows.
    given = {ENDPOINT: "http://127.0.0.1:4318", "OTEL_ATTRIBUTE_COUNT_LIMIT": "many"}
    assert "OTEL_ATTRIBUTE_COUNT_LIMIT" in refusal_of(manage(variables | given, "serve"))
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules['opentelemetry.sdk'] = None"
    )
    without = variables | {ENDPOINT: "http://127.0.0.1:4318", "PYTHONPATH": str(tmp_path)}
    assert "uv pip install" in refusal_of(manage(without, "serve"))
