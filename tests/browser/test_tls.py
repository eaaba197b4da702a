"""TLS by `serve` itself: Chromium over HTTP/2, what comes without TLS, renewal of certificates, and
who is let in."""

import http.client
import json
import resource
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.browser.conftest import VARIABLES, Enter
from tests.faults.tls import Authority
from tests.http2 import Http2
from tests.servers import Databases, Site, free_port, wait_for

PLAIN = free_port()


@pytest.fixture(scope="module")
def site(
    databases: Databases,
    static: Path,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(static, folder / "data" / "static")
    pair = shutil.copy(authority.issue("127.0.0.1"), folder / "pair.pem")
    own = {"TRUSTED_PROXIES": "0", "HTTPS": "on", "HTTP_BIND": f"127.0.0.1:{PLAIN}"}
    own |= {"TLS_CERT": str(pair), "TLS_KEY": str(pair), "SOCKETS_PER_ADDRESS": "20"}
    found = Site(databases, folder, **(VARIABLES | own))
    yield found
    found.kill()
    assert not found.tracebacks


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.fixture(scope="module")
def silent(site: Site) -> Iterator[socket.socket]:
    """A peer that never begins with TLS, from the first test on: it is given some seconds."""
    with connect_from(site, "127.0.0.9") as peer:
        yield peer


@pytest.fixture(autouse=True)
def begun(silent: socket.socket) -> None:
    """It waits from the first test of this file on."""


def connect_from(site: Site, address: str) -> socket.socket:
    there = ("127.0.0.1", site.servers[0].port)
    return socket.create_connection(there, 10, source_address=(address, 0))


def is_let_in(site: Site, trusting: ssl.SSLContext, address: str) -> bool:
    """Whether somebody from there is welcomed by TLS."""
    try:
        with (
            connect_from(site, address) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False


def is_ended(peer: socket.socket) -> bool:
    """Whether the server ends the connection, within the peer's timeout."""
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def serial_of(port: int, context: ssl.SSLContext) -> str:
    """Of the certificate that a new connection is shown; it must be valid."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        certificate = secure.getpeercert()
    assert certificate
    return str(certificate["serialNumber"])


def by_http(method: str, path: str, *, host: str = "", port: int = PLAIN) -> tuple[int, str]:
    """Status and Location of the plain listener's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{PLAIN}"})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location", "")
    finally:
        connection.close()


def test_chromium_comments_over_http2_and_comes_back_after_a_restart(
    site: Site, slug: str, enter: Enter
) -> None:
    ann, ben = (enter(ignore_https_errors=True).open(slug) for _ in range(2))
    ann.says("over the same connection")
    ben.sees("over the same connection")
    # A WebSocket over HTTP/1.1 is answered 101.
    lines = [json.loads(line)["message"] for line in site.log().splitlines()]
    sockets = [line for line in lines if "/ws/videos/" in line]
    assert len(sockets) == 2
    assert all(' 2" 200 ' in line for line in sockets), sockets
    for visitor in (ann, ben):
        visitor.may_lose_the_network()
    site.end_server()
    assert site.servers[0].process.returncode == 0
    site.start_server()
    for visitor in (ann, ben):
        visitor.is_live()
    ben.says("and after it")
    ann.sees("and after it")


def test_wss_over_http1_goes_on_beside_it(
    site: Site, slug: str, enter: Enter, trusting: ssl.SSLContext
) -> None:
    url = site.ws_url(slug).replace("ws:", "wss:")
    with connect(url, ssl=trusting, origin=site.origin, proxy=None) as listener:  # type: ignore[arg-type]
        enter(ignore_https_errors=True).open(slug).says("heard by both")
        while "heard by both" not in str(listener.recv(timeout=10)):
            pass


def test_pages_by_https_promise_to_stay_so(site: Site) -> None:
    with Http2(site) as http2:
        page = http2.get("/accounts/login/")
        assert page.status == 200
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert "; Secure" in page.headers["set-cookie"]


def test_what_comes_without_tls_is_shown_the_way_or_refused(site: Site, slug: str) -> None:
    port = site.servers[0].port
    assert by_http("GET", "/videos/x/?a=b%20c") == (
        301,
        f"https://127.0.0.1:{port}/videos/x/?a=b%20c",
    )
    assert by_http("GET", "/", host="127.0.0.1") == (301, "https://127.0.0.1/")
    assert by_http("GET", "/", host="elsewhere.example") == (403, "")
    assert by_http("POST", "/accounts/login/") == (403, "")
    assert by_http("GET", "/healthz") == (200, "")
    plain = f"ws://127.0.0.1:{PLAIN}/ws/videos/{slug}/"
    for origin in (f"http://127.0.0.1:{PLAIN}", site.origin):
        with pytest.raises(InvalidStatus, match="403"), connect(plain, origin=origin, proxy=None):  # type: ignore[arg-type]
            pass
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        by_http("GET", "/", port=port)


def test_a_renewed_certificate_is_shown_from_sighup_on(
    site: Site, authority: Authority, trusting: ssl.SSLContext
) -> None:
    server, pair = site.servers[0], Path(site.variables["TLS_CERT"])
    first = serial_of(server.port, trusting)
    shutil.copy(authority.issue("127.0.0.1"), pair)
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: serial_of(server.port, trusting) != first, "the new certificate")
    second = serial_of(server.port, trusting)
    # The certificate is there already, its key is not yet.
    pair.write_text(authority.issue("127.0.0.1").read_text().partition("-----BEGIN CERT")[0])
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the certificate stays the old one: TLS_CERT" in site.log(), "the refusal")
    assert serial_of(server.port, trusting) == second


# --- Who is let in ------------------------------------------------------------------------------


def test_who_does_not_begin_with_tls_is_cut(site: Site, silent: socket.socket) -> None:
    assert is_ended(silent)
    assert site.servers[0].holds({silent.getsockname()[1]}) == 0


def test_connections_count_for_their_address_from_their_accept_on(
    site: Site, trusting: ssl.SSLContext
) -> None:
    """Twice, since nothing of the first time may count the second time."""
    for _ in range(2):
        with ExitStack() as some:
            peers = [some.enter_context(connect_from(site, "127.0.0.7")) for _ in range(40)]
            ports = {peer.getsockname()[1] for peer in peers}
            for peer in peers[::2]:  # the others are silent
                some.enter_context(trusting.wrap_socket(peer, server_hostname="127.0.0.1"))
            assert is_ended(some.enter_context(connect_from(site, "127.0.0.7")))
            assert not is_let_in(site, trusting, "127.0.0.7")
            assert site.servers[0].holds(ports) == 40
            assert is_let_in(site, trusting, "127.0.0.8")
        wait_for(lambda found=ports: site.servers[0].holds(found) == 0, "they are gone")  # type: ignore[misc]


def test_silent_connections_do_not_use_up_the_descriptors(
    site: Site, trusting: ssl.SSLContext
) -> None:
    """The last one of this file: what a limit was lowered to stays."""
    server = site.servers[0]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    with ExitStack() as some:
        for number in range(240):
            some.enter_context(connect_from(site, f"127.0.1.{number // 40}"))
        wait_for(lambda: not is_let_in(site, trusting, "127.0.2.1"), "nobody else is let in")
        assert server.descriptors < 240, "not even they alone"
    wait_for(lambda: is_let_in(site, trusting, "127.0.2.1"), "there is room again")
