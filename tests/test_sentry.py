"""Mistakes are reported to Sentry where that is set up, and nothing of anybody's with them."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.client import Person
from tests.conftest import MakeSite
from tests.servers import environment, manage, wait_for
from tests.test_settings import refusal_of

OWN_WORDS = "my-own-words-5127"
ADDRESS = "203.0.113.78"


@pytest.fixture
def sentry() -> Iterator[tuple[str, list[str]]]:
    """A listener in Sentry's place: its DSN, and what came."""
    came: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            came.append(f"{self.path}\n{self.headers}\n{body.decode()}")
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://publickey@127.0.0.1:{server.server_port}/7", came
    server.shutdown()
    server.server_close()


async def test_a_mistake_is_reported_without_anything_of_the_persons(
    make_site: MakeSite, sentry: tuple[str, list[str]]
) -> None:
    dsn, came = sentry
    command = ("-m", "tests.without", "mistakes", "--bind", "{bind}")
    site = make_site(command=command, SENTRY_DSN=dsn, METRICS_TOKEN="secret-of-this-test-4711")
    slug = site.video()
    person = Person(site, address=ADDRESS).open(slug)
    said = f"boom {OWN_WORDS}"
    async with person.socket(slug) as socket:
        assert (await socket.say(said)).code == "try_again"
    wait_for(lambda: len(came) == 1, "the mistake at the socket is reported")
    refused = person.get("/videos/nowhere/")
    form = person.say(slug, said)
    assert (refused.status, form.status) == (404, 500)
    wait_for(lambda: len(came) == 2, "the mistake at the form is reported")
    for report in came:
        assert report.startswith("/api/7/envelope/")
        for told in ("ValueError", "cannot take '***'", "posting.py", slug):
            assert told in report
        private = (OWN_WORDS, ADDRESS, person.session_key, person.csrf, "secret-of-this-test")
        for text in (*private, str(site.folder), "User-Agent: python", "REMOTE_ADDR"):
            assert text not in report.partition("\n\n")[2], text
    assert form.headers["x-request-id"] in came[1]
    assert person.me in came[1]


def test_without_its_package_it_is_refused_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['sentry_sdk'] = None")
    variables = environment(tmp_path, PYTHONPATH=str(tmp_path))
    assert manage(variables, "check").returncode == 0
    done = manage(variables | {"SENTRY_DSN": "https://key@sentry.example/1"}, "check")
    assert "uv pip install" in refusal_of(done)
