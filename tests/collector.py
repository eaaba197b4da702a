"""A collector of OpenTelemetry's traces on loopback: OTLP by HTTP, with its own protobuf."""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

ERROR = 2  # of a status


@dataclass(frozen=True)
class Came:
    """One span."""

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    links: tuple[bytes, ...]
    seconds: float
    failed: bool
    said: dict[str, Any] = field(hash=False)  # its attributes
    process: dict[str, Any] = field(hash=False)  # those of its resource


class Collector:
    """Listens from the start; `spans` are those that came, in order of their arrival."""

    def __init__(self) -> None:
        self.spans: list[Came] = []
        self.bodies: list[bytes] = []  # as they came, but unpacked
        self.headers: list[dict[str, str]] = []
        outer = self

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                outer.take(body, {name.lower(): value for name, value in self.headers.items()})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        self.headers.append(headers)
        for resource in request.resource_spans:
            process = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [
                    Came(
                        span.name,
                        span.span_id,
                        span.parent_span_id,
                        span.trace_id,
                        tuple(link.span_id for link in span.links),
                        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        span.status.code == ERROR,
                        _plain(span.attributes),
                        process,
                    )
                    for span in scope.spans
                ]
                assert not any(span.events for span in scope.spans)

    def named(self, name: str, **said: Any) -> list[Came]:
        """Those of a name that say this of themselves (`outcome`: streamsite.outcome)."""
        wanted = {f"streamsite.{key}": value for key, value in said.items()}.items()
        return [span for span in self.spans if span.name == name and wanted <= span.said.items()]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _plain(attributes: "list[KeyValue] | Any") -> dict[str, Any]:
    kinds = ("string_value", "int_value", "bool_value", "double_value")
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        assert kind in kinds, "plain values alone"
        found[attribute.key] = getattr(attribute.value, kind)
    return found
