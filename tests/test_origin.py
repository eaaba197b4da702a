"""Only a page of this very site opens a socket: exact scheme, host and port."""

import http.client

import pytest
from pytest_django.fixtures import Settings

from comments.admission import is_allowed
from tests.servers import Site


def handshake(site: Site, slug: str, *headers: tuple[str, str], host: str = "") -> int:
    """The status of a WebSocket handshake with these headers; 101 is a welcome."""
    port = site.servers[0].port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", f"/ws/videos/{slug}/", skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{port}")
        connection.putheader("Upgrade", "websocket")
        connection.putheader("Connection", "Upgrade")
        connection.putheader("Sec-WebSocket-Version", "13")
        connection.putheader("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def slug(sqlite_site: Site) -> str:
    return sqlite_site.video()


def test_a_page_of_this_site_is_welcome(sqlite_site: Site, slug: str) -> None:
    assert handshake(sqlite_site, slug, ("Origin", sqlite_site.origin)) == 101


@pytest.mark.parametrize(
    "origin",
    [
        "https://127.0.0.1:{port}",
        "ws://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:80",
        "http://127.0.0.1:1{port}",
        "http://localhost:{port}",
        "http://127.0.0.1.example:{port}",
        "http://example.com",
        "http://[::1]:{port}",
        "http://[",
        "http://[::1",
        "http://127.0.0.1:x",
        "http://127.0.0.1:99999999",
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}/path",
        "http://127.0.0.1:{port}?x",
        "http://127.0.0.1:{port}#x",
        "http://user@127.0.0.1:{port}",
        "http://127.0.0.1:{port} http://127.0.0.1:{port}",
        "http://127.0.0.1:{port},http://example.com",
        "127.0.0.1:{port}",
        "//127.0.0.1:{port}",
        "file://",
        "null",
        "*",
        "",
    ],
)
def test_any_other_origin_is_refused(sqlite_site: Site, slug: str, origin: str) -> None:
    foreign = origin.format(port=sqlite_site.servers[0].port)
    assert handshake(sqlite_site, slug, ("Origin", foreign)) == 403


def test_without_origin_it_is_refused(sqlite_site: Site, slug: str) -> None:
    assert handshake(sqlite_site, slug) == 403


def test_two_origins_are_refused_even_where_one_is_ours(sqlite_site: Site, slug: str) -> None:
    ours, theirs = ("Origin", sqlite_site.origin), ("Origin", "http://example.com")
    assert handshake(sqlite_site, slug, ours, theirs) == 403
    assert handshake(sqlite_site, slug, ours, ours) == 403


def test_the_host_must_be_one_of_ours_too(sqlite_site: Site, slug: str) -> None:
    foreign = ("Origin", "http://evil.example")
    assert handshake(sqlite_site, slug, foreign, host="evil.example") == 403
    port = sqlite_site.servers[0].port
    local = ("Origin", f"http://localhost:{port}")
    assert handshake(sqlite_site, slug, local, host=f"localhost:{port}") == 101


def test_behind_a_proxy_that_speaks_https_the_origin_is_https(sqlite_site: Site, slug: str) -> None:
    secure = ("X-Forwarded-Proto", "https")
    own = sqlite_site.origin.replace("http:", "https:")
    assert handshake(sqlite_site, slug, ("Origin", own), secure) == 101
    assert handshake(sqlite_site, slug, ("Origin", sqlite_site.origin), secure) == 403


def scope(
    origin: str, *, host: str = "video.example", scheme: str = "ws", **more: str
) -> dict[str, object]:
    headers = {"host": host, "origin": origin} | more
    encoded = [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in headers.items()]
    return {"type": "websocket", "scheme": scheme, "headers": encoded}


@pytest.fixture
def video_example(settings: Settings) -> Settings:
    settings.ALLOWED_HOSTS = ["video.example"]
    settings.TRUSTED_PROXIES = 0
    return settings


@pytest.mark.usefixtures("video_example")
def test_default_ports_are_the_same_as_none() -> None:
    assert is_allowed(scope("http://video.example"))
    assert is_allowed(scope("http://video.example", host="video.example:80"))
    assert is_allowed(scope("https://video.example:443", scheme="wss"))
    assert is_allowed(scope("https://VIDEO.example", scheme="wss"))


@pytest.mark.usefixtures("video_example")
def test_without_a_trusted_proxy_nobody_says_that_it_is_https() -> None:
    assert not is_allowed(scope("https://video.example", x_forwarded_proto="https"))
    assert is_allowed(scope("http://video.example", x_forwarded_proto="https"))


def test_a_site_of_https_takes_no_socket_without_tls(video_example: Settings) -> None:
    video_example.HTTPS = True
    video_example.CSRF_TRUSTED_ORIGINS = ["http://old.example"]
    assert not is_allowed(scope("http://video.example"))
    assert not is_allowed(scope("http://old.example"))
    assert is_allowed(scope("https://video.example", scheme="wss"))


def test_origins_that_the_operator_names_are_welcome(video_example: Settings) -> None:
    video_example.CSRF_TRUSTED_ORIGINS = ["https://www.video.example:8443"]
    assert is_allowed(scope("https://www.video.example:8443"))
    assert not is_allowed(scope("https://www.video.example"))
    assert not is_allowed(scope("http://www.video.example:8443"))


@pytest.mark.usefixtures("video_example")
def test_bytes_that_are_no_text_are_refused() -> None:
    for origin in ("http://vid\xe9o.example", "http://video.example\xff", "http://\u00a0"):
        assert not is_allowed(scope(origin))
