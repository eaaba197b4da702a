"""Where traces go: OpenTelemetry's own variables, checked when the settings are loaded.

The SDK is given what was found here. Of a value that makes no sense it would only warn, and go on
with another; and a collector that was written down is meant to be there.
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from streamsite import env
from streamsite.env import refuse

# The first counts, and is the whole address; at the second's there are others than traces, too.
OWN, BASE = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_ROOTS = ("always_on", "always_off", "traceidratio")
SAMPLERS = (*_ROOTS, *(f"parentbased_{name}" for name in _ROOTS))
OF_EXPORTER = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")


@dataclass(frozen=True, slots=True)
class Collector:
    """`endpoint` takes OTLP by HTTP. `sampler` and its `ratio` choose the traces that are kept.
    A batch has `timeout` seconds; spans wait in a queue of `queue`, are sent `batch` at a time and
    at least every `delay` ms. `secrets` are those of its headers."""

    endpoint: str
    sampler: str
    ratio: float
    timeout: int
    queue: int
    batch: int
    delay: int
    secrets: tuple[str, ...]


def collector() -> Collector | None:
    """What the environment says; None where nothing is to be traced."""
    if env.flag("OTEL_SDK_DISABLED", default=False):
        return None
    own, base = (_endpoint(name) for name in (OWN, BASE))
    if not (own or base):
        return None
    exporter = env.choice("OTEL_TRACES_EXPORTER", default="otlp", allowed=("otlp", "none"))
    if exporter == "none":
        return None
    _require_packages(OWN if own else BASE)
    of_traces, of_all = (f"{prefix}PROTOCOL" for prefix in OF_EXPORTER)
    counts = of_traces if env.text(of_traces) else of_all
    env.choice(counts, default="http/protobuf", allowed=("http/protobuf",))
    for prefix in OF_EXPORTER:
        env.choice(f"{prefix}COMPRESSION", default="none", allowed=("none", "gzip", "deflate"))
        for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            _require_file(f"{prefix}{file}")
    queue = _number("OTEL_BSP_MAX_QUEUE_SIZE", default=2048, most=100_000)
    return Collector(
        endpoint=own or f"{base.removesuffix('/')}/v1/traces",
        sampler=env.choice(
            "OTEL_TRACES_SAMPLER", default="parentbased_always_on", allowed=SAMPLERS
        ),
        ratio=_ratio("OTEL_TRACES_SAMPLER_ARG"),
        # In seconds, as this SDK reads it; others take milliseconds, which are out of bounds here.
        timeout=_number(
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            default=_number("OTEL_EXPORTER_OTLP_TIMEOUT", default=10, most=60),
            most=60,
        ),
        queue=queue,
        batch=_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default=min(512, queue), most=queue),
        delay=_number("OTEL_BSP_SCHEDULE_DELAY", default=5000, most=600_000),
        secrets=(
            *(secret for prefix in OF_EXPORTER for secret in _secrets(f"{prefix}HEADERS")),
            # Some collectors take their key as a part of the path.
            *(part for part in urlsplit(own or base).path.split("/") if len(part) > 8),
        ),
    )


def _endpoint(name: str) -> str:
    """The URL; empty where none is set."""
    value = env.text(name) or ""
    instead = f"the collector's address for OTLP by HTTP, as in {name}=http://127.0.0.1:4318"
    if name == OWN:
        instead += "/v1/traces"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # brackets or a port that make no sense
        refuse(name, "cannot be read as a URL", instead)
    if not value:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        refuse(name, "is no URL with http:// or https://, a host, and a port", instead)
    if not re.fullmatch(r"[!-~]+", value) or not re.fullmatch(r"[\w.:-]+", parts.hostname):
        refuse(name, "has characters that no URL has", instead)
    if "@" in parts.netloc or parts.query or parts.fragment:
        refuse(
            name,
            "has a password, a ? or a # in it",
            f"{instead}, and keys into OTEL_EXPORTER_OTLP_HEADERS",
        )
    return value


def _require_packages(name: str) -> None:
    for package in PACKAGES:
        try:
            found = find_spec(package)
        except ModuleNotFoundError:  # not even what it is in
            found = None
        if found is None:
            raise ImproperlyConfigured(
                f"{name} is set, but OpenTelemetry's packages are not installed. Install them"
                " beside the others (uv pip install --python .venv/bin/python"
                " 'opentelemetry-sdk>=1.40,<2' 'opentelemetry-exporter-otlp-proto-http>=1.40,<2'),"
                f" or leave {name} out."
            )


def _number(name: str, *, default: int, most: int) -> int:
    return env.number(name, default=default, least=1, most=most, example=default)


def _ratio(name: str) -> float:
    value = env.text(name) or "1"
    if not re.fullmatch(r"0|1|[01]?\.[0-9]{1,9}|1\.0*", value) or float(value) > 1:
        refuse(name, f"is {value!r}", f"the part of traces to keep, from 0 to 1, as in {name}=0.1")
    return float(value)


def _require_file(name: str) -> None:
    value = env.text(name)
    if value is None:
        return
    try:
        with Path(value).open("rb"):
            pass
    except OSError as error:
        reason = f"names {value}, which cannot be read ({error.strerror})"
        refuse(name, reason, "the path of a PEM file that this process may read")


def _secrets(name: str) -> list[str]:
    """The values of `name=value,name=value`, as they stand there and as they are sent."""
    found = []
    for part in (env.text(name) or "").split(","):
        header, is_there, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not is_there or not re.fullmatch(r"[\w.!#$%&'*+^`|~-]+", header.strip()):
            refuse(name, "is no list of headers", f"{name}=name=value,name=value")
        found += [value.strip(), unquote(value.strip())]
    return found
