"""A client of HTTP/2 that a test drives by hand: it opens no window that it is not told to."""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

from tests.servers import Site

SECONDS = 15.0


@dataclass
class Stream:
    """One request and what came back for it."""

    id: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    size: int = 0  # bytes of the body so far
    ended: bool = False
    reset: int | None = None  # the code, if the server broke it off


class Http2:
    """One connection to the first server of a site with TLS, whose certificate alone is trusted.
    With `reads=False` the server may send no more than `window` bytes on a stream; else room is
    made as data comes."""

    def __init__(self, site: Site, *, window: int = 65_535, reads: bool = True) -> None:
        self.port = site.servers[0].port
        self.origin = site.origin
        self.reads = reads
        self.streams: dict[int, Stream] = {}
        self.closed = False
        tls = ssl.create_default_context(cafile=site.variables["TLS_CERT"])
        tls.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        self.socket = tls.wrap_socket(plain, server_hostname="127.0.0.1")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        values = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.h2.local_settings = Settings(client=True, initial_values=values)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(16 * 1024 * 1024)  # of the connection as a whole
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def request(
        self, method: str, path: str, *, end: bool = True, pseudo: dict[str, str] | None = None,
        **headers: str,
    ) -> Stream:  # fmt: skip
        found = Stream(self.h2.get_next_available_stream_id())
        self.streams[found.id] = found
        lines = {":method": method, ":scheme": "https", ":path": path}
        lines |= {":authority": f"127.0.0.1:{self.port}"} | (pseudo or {})
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.h2.send_headers(found.id, [*lines.items()], end_stream=end)
        self.flush()
        return found

    def get(self, path: str) -> Stream:
        """A request and the whole answer."""
        found = self.request("GET", path)
        self.until(lambda: found.ended or found.reset is not None, f"the answer of {path}")
        return found

    def until(
        self, condition: Callable[[], object], what: str, seconds: float = SECONDS
    ) -> None:  # fmt: skip
        """Take in what comes until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"not in {seconds} s: {what}"
            assert not self.closed, f"the connection ended while waiting for {what}"
            self.take(left)

    def take(self, seconds: float) -> None:
        """What comes within this time, if anything."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65_536)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self._hear(event)
        self.flush()

    def _hear(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.headers = {str(name): str(value) for name, value in event.headers}
            stream.status = int(stream.headers[":status"])
        elif isinstance(event, DataReceived):
            stream.body += event.data
            stream.size += len(event.data)
            if self.reads:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream.id)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = int(event.error_code)


class Http2Socket:
    """A WebSocket on a stream of its own (RFC 8441)."""

    def __init__(self, http2: Http2, path: str, **headers: str) -> None:
        self.http2 = http2
        self.texts: list[str] = []
        self.close_code: int | None = None
        self.pongs = 0
        given = {
            "origin": http2.origin,
            "sec_websocket_version": "13",
            "sec_websocket_extensions": "permessage-deflate",
        }
        pseudo = {":protocol": "websocket"}
        self.stream = http2.request("CONNECT", path, end=False, pseudo=pseudo, **(given | headers))
        http2.until(lambda: self.stream.status or self.stream.reset is not None, "a welcome")
        extension = PerMessageDeflate()
        if agreed := self.stream.headers.get("sec-websocket-extensions"):
            extension.finalize(agreed)
        extensions: list[Extension] = [extension] if agreed else []
        self._frames = Connection(ConnectionType.CLIENT, extensions=extensions)
        self._text = ""

    def send(self, event: Any) -> None:
        self.http2.h2.send_data(self.stream.id, self._frames.send(event))
        self.http2.flush()

    def say(self, text: str) -> None:
        self.send(TextMessage(data=text))

    def until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        def heard() -> object:
            self._read()
            return condition()

        self.http2.until(heard, what, seconds)

    def _read(self) -> None:
        data, self.stream.body = self.stream.body, b""
        if not data:
            return
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, Message):
                self._text += str(event.data)
                if event.message_finished:
                    self.texts.append(self._text)
                    self._text = ""
            elif isinstance(event, Ping):
                self.send(event.response())
            elif isinstance(event, Pong):
                self.pongs += 1
            elif isinstance(event, CloseConnection):
                self.close_code = event.code
