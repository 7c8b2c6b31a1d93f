"""Spans of a process, by OpenTelemetry's standard variables alone (docs/observability.md).

Without OTEL_TRACES_EXPORTER or an OTLP endpoint there is no SDK, no span and no work: whoever asks
`Tracing.open` for one gets None. The provider is this process's own and not the API's global one,
so no library adds spans that could carry what somebody wrote.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import asyncio
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ibex.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("ibex.telemetry")

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value | None]

_CLOSE_LIMIT: Final = 5.0  # seconds to send what waits
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NOTHING: Final = Context()
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

#: Under which calls to other processes are made; None as long as nobody traces.
_current: ContextVar[Span | None] = ContextVar("ibex_span", default=None)


class Tracing:
    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ibex")

    @classmethod
    def open(cls, service: str) -> "Tracing | None":
        """What the environment asks for; None when it asks for nothing. `service` is the name
        unless OTEL_SERVICE_NAME gives one. Raises ConfigurationError."""
        names = _exporter_names(os.environ)
        if not names:
            return None
        # Nobody pays for the SDK who does not use it.
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        provider = TracerProvider(resource=resource(service), shutdown_on_exit=False)
        for name in names:
            provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        _log.info("spans go to %s", ", ".join(names))
        return cls(provider)

    async def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        # A daemon: the exporter may try for half a minute, and no exit waits for it.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_LIMIT):
                while closing.is_alive():  # noqa: ASYNC110  a thread tells nobody
                    await asyncio.sleep(0.01)

    def server(self, name: str, headers: Mapping[str, str]) -> Span:
        """A span for a request that came in; `headers` may say what it is part of (W3C
        traceparent, by lower-case name)."""
        parent = _PROPAGATOR.extract(headers, _NOTHING) if "traceparent" in headers else _NOTHING
        return self._tracer.start_span(name, parent, SpanKind.SERVER)

    def child(
        self,
        parent: Span,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        start_ns: int | None = None,
    ) -> Span:
        """`start_ns` since 1970; default now. Of a parent that nobody records the parent itself:
        what is not sampled costs next to nothing."""
        if not parent.is_recording():
            return parent
        context = trace.set_span_in_context(parent, _NOTHING)
        return self._tracer.start_span(name, context, kind, start_time=start_ns)


def become_current(span: Span | None) -> None:
    """Calls of this task, and of tasks that it makes from now on, belong to the span."""
    _current.set(span)


def outgoing() -> dict[str, str]:
    """The headers that tell another process what its work is part of; empty when nobody traces."""
    span = _current.get()
    carrier: dict[str, str] = {}
    if span is not None:
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, _NOTHING))
    return carrier


def outgoing_metadata() -> tuple[tuple[str, str], ...] | None:
    """`outgoing` for gRPC."""
    return None if _current.get() is None else tuple(outgoing().items())


def describe(span: Span, attributes: Attributes) -> None:
    """Set what is known; None is not. Ids, counts, names and times only, never content."""
    if span.is_recording():
        for name, value in attributes.items():
            if value is not None:
                span.set_attribute(name, value)


def failed(span: Span, kind: str) -> None:
    """`kind` is a code, not a message: a message may quote."""
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))


def resource(service: str) -> Any:
    """OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME, and `service` when they name none."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  only who traces pays for it

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {"service.name": service})


def _exporter_names(environment: Mapping[str, str]) -> list[str]:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    asked = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if not asked and any(environment.get(name) for name in _ENDPOINTS):
        asked = "otlp"
    names = [name.strip() for name in asked.split(",") if name.strip()]
    return [
        _otlp_by_protocol(environment) if name == "otlp" else name
        for name in names
        if name != "none"
    ]


def _otlp_by_protocol(environment: Mapping[str, str]) -> str:
    """The specification's default is http/protobuf, whatever the SDK's is."""
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "")
    found = _OTLP.get(protocol.strip() or "http/protobuf")
    if found is None:
        raise ConfigurationError(
            f"The OTLP protocol {protocol!r} is none of {', '.join(_OTLP)}.",
            hint="Set OTEL_EXPORTER_OTLP_PROTOCOL, or leave it out.",
        )
    return found


def _exporter(name: str) -> "SpanExporter":
    found: Iterable[Any] = entry_points(group="opentelemetry_traces_exporter", name=name)
    for one in found:
        exporter: SpanExporter = one.load()()
        return exporter
    raise ConfigurationError(
        f"There is no exporter {name!r} for spans.",
        hint="Set OTEL_TRACES_EXPORTER to otlp, console or none, or install the exporter.",
    )
