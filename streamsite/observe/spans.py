"""OpenTelemetry's SDK, for streamsite.observe.tracing alone, which imports this only where spans
are made. A thread of the SDK's sends them; what it has no room for is dropped."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from streamsite.observe.collector import Collector


class Spans:
    """Makes spans, and has them sent."""

    def __init__(self, collector: Collector) -> None:
        """Raises ImproperlyConfigured."""
        try:
            self._provider = TracerProvider(
                sampler=_sampler(collector), resource=_resource(), shutdown_on_exit=False
            )
            exporter = OTLPSpanExporter(collector.endpoint, timeout=collector.timeout)
        except (ValueError, RuntimeError, ImportError) as error:
            raise ImproperlyConfigured(
                f"OpenTelemetry refuses a variable: {error}. Write OTEL_… as its documentation"
                " says, or leave it out."
            ) from None
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=collector.queue,
                max_export_batch_size=collector.batch,
                schedule_delay_millis=collector.delay,
            )
        )
        self._tracer = self._provider.get_tracer("streamsite")
        # Started now: Python starts no thread any more when it has begun to end.
        self._is_ending = threading.Event()
        self._ending = threading.Thread(target=self._end, name="traces-end", daemon=True)
        self._ending.start()

    def one(
        self,
        name: str,
        *,
        root: bool,
        server: bool,
        links: Sequence[Link | None],
        attributes: Mapping[str, Any],
    ) -> AbstractContextManager[Span]:
        """A span around what runs in it; of a `server` where a client waits for it."""
        return self._tracer.start_as_current_span(
            name,
            context=Context() if root else None,
            kind=SpanKind.SERVER if server else SpanKind.INTERNAL,
            links=[link for link in links if link is not None],
            attributes=_named(attributes),
            # An error's text may repeat what somebody wrote.
            record_exception=False,
            set_status_on_exception=False,
        )

    def past(self, name: str, took: float, attributes: Mapping[str, Any]) -> None:
        """A span of its own, for what ends now and took so many seconds."""
        now = time.time_ns()
        begin = now - int(took * 1e9)
        self._tracer.start_span(
            name, context=Context(), attributes=_named(attributes), start_time=begin
        ).end(now)

    def current(self) -> Span:
        """The span that is under way; one that takes everything and keeps nothing without any."""
        return trace.get_current_span()

    def link(self) -> Link | None:
        context = self.current().get_span_context()
        return Link(context) if context.is_valid else None

    def describe(self, span: Span, attributes: Mapping[str, Any], *, failed: bool = False) -> None:
        span.set_attributes(_named(attributes))
        if failed:
            span.set_status(Status(StatusCode.ERROR))

    def end(self, seconds: float) -> None:
        """Send what waits, for so long at most. The SDK itself would try for half a minute."""
        self._is_ending.set()
        self._ending.join(seconds)

    def _end(self) -> None:
        self._is_ending.wait()
        self._provider.shutdown()


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"streamsite.{name}": value for name, value in attributes.items()}


def _resource() -> Resource:
    """The process: what the environment says of it, and its number. Not the machine's name."""
    found = Resource.create({"process.pid": os.getpid()})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "streamsite"}))
    return found


def _sampler(collector: Collector) -> Sampler:
    samplers: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(collector.ratio),
    }
    root = samplers[collector.sampler.removeprefix("parentbased_")]
    return ParentBased(root) if collector.sampler.startswith("parentbased_") else root
