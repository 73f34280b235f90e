"""A span of OpenTelemetry for each call, sent to a collector."""

from __future__ import annotations

import os
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span

    from ..calls.context import CallContext, Ending

NAME = "regularization-server"
"""What the service is called in traces, unless OTEL_SERVICE_NAME says otherwise."""

SECONDS_TO_FLUSH = 2.0
"""Time that the last spans have to be sent when the server stops."""

# By OpenTelemetry's conventions: what is not the caller's own doing.
_ERRORS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


class Spans:
    """Makes a span of each call, whose parent is the caller's where its headers have one.

    Spans have method, status, reason, request id and sizes; nothing that a caller sent beside its id. They
    are of this object alone: a program around the server has its own provider. What else can be set,
    OpenTelemetry reads from its standard variables: OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and so on.

    Args:
        endpoint: Of a collector that takes OTLP over gRPC: ``http://host:port``, or ``https://``.
    """

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", NAME)})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self._tracer = self._provider.get_tracer("regularization_server")
        self._parents = TraceContextTextMapPropagator()

    def begun(self, context: CallContext) -> Callable[[Ending], None]:
        """Begin a call's span; what is returned ends it."""
        headers = {
            name: value
            for name, value in context.transport.invocation_metadata() or ()
            if isinstance(value, str)
        }
        name = context.method.removeprefix("/")
        service, _, method = name.partition("/")
        span = self._tracer.start_span(
            name,
            self._parents.extract(headers),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        return partial(_end, span, context)

    def stop(self) -> None:
        """Send what is left, or leave it where nobody takes it soon."""
        flushing = Thread(target=self._provider.shutdown, name="traces", daemon=True)
        flushing.start()
        flushing.join(SECONDS_TO_FLUSH)


def _end(span: Span, context: CallContext, ending: Ending) -> None:
    if span.is_recording():
        code: int = ending.code.value[0]
        span.set_attributes(
            {
                "rpc.grpc.status_code": code,
                "regularization.request_id": context.request_id,
                "regularization.elements": context.elements,
                "regularization.shared_memory": context.in_shared_memory,
                "regularization.bytes_received": context.bytes_received,
                "regularization.bytes_sent": context.bytes_sent,
            }
        )
        if ending.reason is not None:
            span.set_attribute("regularization.reason", ending.reason)
        if ending.code in _ERRORS:
            span.set_status(Status(StatusCode.ERROR, ending.code.name))
    span.end()
