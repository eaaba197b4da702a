"""streamsite.websocket: what is put in Hypercorn's and wsproto's place, and when it can go."""

import inspect
import json
import uuid
import zlib
from importlib.metadata import version
from socket import SHUT_WR, create_connection

import pytest
from hypercorn.config import Config
from hypercorn.protocol import h11, ws_stream
from websockets.asyncio.client import connect
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameDecoder, Opcode, RsvBits

from streamsite.websocket import (
    INFLATED_AT_MOST,
    Frame,
    LiveStream,
    SharedDeflate,
    install,
)
from tests.client import Person
from tests.conftest import MakeSite
from tests.faults.viewers import handshake
from tests.servers import Site, wait_for

BOMB = "0" * 60_000_000  # deflates to 58 KB, which is below every limit on frames


def inflate_by(extension: PerMessageDeflate, message: bytes) -> int:
    """How many bytes an extension hands on of one compressed message."""
    extension.accept("permessage-deflate")
    packer = zlib.compressobj(wbits=-15)
    folded = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
    decoder = FrameDecoder(client=False, extensions=[extension])
    extension.frame_inbound_header(decoder, Opcode.TEXT, RsvBits(True, False, False), len(folded))
    payload = extension.frame_inbound_payload_data(decoder, folded[:-4])
    rest = extension.frame_inbound_complete(decoder, True)
    assert isinstance(payload, bytes)
    return len(payload) + len(rest if isinstance(rest, bytes) else b"")


async def test_a_frame_that_unfolds_to_60_mb_is_refused_and_takes_no_memory(
    sqlite_site: Site,
) -> None:
    person = Person(sqlite_site).open(slug := sqlite_site.video())
    server = sqlite_site.servers[0]
    async with person.socket(slug) as socket:
        assert "permessage-deflate" in str(socket.connection.response)
        before = server.resident_kib
        await socket.connection.send(BOMB)
        assert await socket.closed() == 1009
    assert server.resident_kib - before < 20_000


async def test_compressed_comments_arrive_as_they_were_written(sqlite_site: Site) -> None:
    person = Person(sqlite_site).open(slug := sqlite_site.video())
    body = "the tide, the tide, the tide " * 12
    async with person.socket(slug) as socket:
        assert (await socket.say(body)).code == ""
        await socket.sees(body.strip())


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=abc",
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate; client_max_window_bits=",
    ],
)
async def test_an_offer_that_makes_no_sense_gets_a_socket_without_compression(
    sqlite_site: Site, offer: str
) -> None:
    person = Person(sqlite_site).open(slug := sqlite_site.video())
    async with connect(
        sqlite_site.ws_url(slug),
        origin=sqlite_site.origin,  # type: ignore[arg-type]
        additional_headers={
            "Cookie": person.cookie_header,
            "X-Forwarded-For": person.address,
            "Sec-WebSocket-Extensions": offer,
        },
        compression=None,
        proxy=None,
    ) as socket:
        assert socket.response is not None
        assert "sec-websocket-extensions" not in socket.response.headers
        await socket.send(json.dumps({"action": "post", "body": "hi", "key": str(uuid.uuid4())}))
        while "data-ack" not in await socket.recv():
            pass


async def test_a_socket_leaves_nothing_behind_when_it_is_closed(sqlite_site: Site) -> None:
    server = sqlite_site.servers[0]
    person = Person(sqlite_site).open(slug := sqlite_site.video())
    async with person.socket(slug) as socket:
        await socket.say("hello")
    open_before = server.descriptors
    for _ in range(20):
        async with person.socket(slug) as socket:
            assert await socket.answers_a_ping()
    wait_for(lambda: server.descriptors <= open_before, "the sockets' descriptors are closed")


async def test_who_leaves_during_the_handshake_costs_the_others_nothing(
    make_site: MakeSite,
) -> None:
    site = make_site()
    person = Person(site).open(slug := site.video())
    server = site.servers[0]
    async with person.socket(slug) as socket:
        for number in range(60):
            with create_connection(("127.0.0.1", server.port)) as leaver:
                path = f"/ws/videos/{slug}/?cursor="
                leaver.sendall(handshake(server.port, path, address=f"10.7.0.{number}"))
                leaver.shutdown(SHUT_WR)  # before the application has accepted it
        await socket.say("still here")
        await socket.sees("still here")
    assert not site.tracebacks


async def test_what_is_sent_to_a_socket_that_is_closed_already_is_dropped(
    make_site: MakeSite,
) -> None:
    site = make_site()
    port = site.servers[0].port
    post = json.dumps({"action": "post", "body": "late", "key": str(uuid.uuid4())}).encode()
    close = (4404).to_bytes(2)
    with create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(handshake(port, "/ws/videos/no-such-video/?cursor=", address="10.7.1.1"))
        heard = b""
        while close not in heard:
            heard += peer.recv(4096)
        # It has been told, and goes on for a while all the same.
        peer.sendall((b"\x81" + bytes([0x80 | len(post)]) + bytes(4) + post) * 3)
        peer.sendall(b"\x88\x82" + bytes(4) + close)
        while peer.recv(4096):
            pass
    person = Person(site).open(slug := site.video())
    async with person.socket(slug) as socket:
        assert (await socket.say("others go on")).code == ""
    assert not site.tracebacks


def test_a_frame_is_made_and_compressed_once_for_all_sockets() -> None:
    text = "<li>the same for everybody</li>" * 10
    frame = Frame(text)
    made = frame.framed(15)
    assert frame.framed(15) is made  # not equal bytes: the same
    assert len(made) < len(frame.framed(0)) / 3
    assert frame.framed(9) is not made  # another window is another frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 2000, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("window_bits", [0, 9, 15])
def test_a_client_reads_the_frame_as_it_was_written(length: int, window_bits: int) -> None:
    text = "né " * (length // 4) + "x" * (length - length // 4 * 4)
    extension = PerMessageDeflate()
    if window_bits:
        answer = f"permessage-deflate; server_max_window_bits={window_bits}"
        extension.finalize(f"{answer}; server_no_context_takeover")
    client = Connection(ConnectionType.CLIENT, extensions=[extension])
    for _ in range(2):
        client.receive_data(Frame(text).framed(window_bits))
        parts = [event for event in client.events() if isinstance(event, TextMessage)]
        assert "".join(part.data for part in parts) == text
        assert parts[-1].message_finished


def test_inflating_stops_at_the_bound() -> None:
    assert inflate_by(SharedDeflate(), b"0" * 10_000) == 10_000
    assert inflate_by(SharedDeflate(), b"0" * INFLATED_AT_MOST) == INFLATED_AT_MOST
    assert inflate_by(SharedDeflate(), b"0" * 50_000_000) == INFLATED_AT_MOST + 1


def test_the_libraries_still_need_it() -> None:
    """Where this fails a library has changed: see whether the class in question can go."""
    assert version("hypercorn").startswith("0.18.")
    assert inflate_by(PerMessageDeflate(), b"0" * 50_000_000) == 50_000_000
    assert "Pong" not in inspect.getsource(ws_stream)
    assert not [name for name in dir(Config) if "deflate" in name or "compress" in name]


def test_both_are_in_place_and_can_be_put_there_again() -> None:
    install()
    install()
    assert vars(ws_stream)["PerMessageDeflate"] is SharedDeflate
    assert vars(h11)["WSStream"] is LiveStream
