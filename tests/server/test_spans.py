"""Spans as a collector on loopback gets them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Queue
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from regularization.v1.layout_pb2 import Segment
from regularization_server import Server, Settings
from regularization_server.settings import SettingInvalid

from tests.support.messages import SERVICE, TIMEOUT, chunk, header, l1_norm, layout_of, request
from tests.support.processes import channel_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans."""

    def __init__(self) -> None:
        self.taken: Queue[Span] = Queue()
        self.names: set[str] = set()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - of the contract
        """Take some."""
        for resource in request.resource_spans:
            self.names |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.taken.put(span)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Collector:
    """A collector that has nothing yet."""
    return Collector()


@pytest.fixture
def endpoint(collector: Collector) -> Iterator[str]:
    """Where it listens."""
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def traced(tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[grpc.Channel]:
    """A channel to a server that sends its spans there soon."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), traces_endpoint=endpoint)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        yield channel


def called(channel: grpc.Channel, strength: float, *metadata: tuple[str, str]) -> None:
    """A call that ends."""
    of = layout_of(Segment(name="cellar", shape=[8], regularizer=l1_norm(strength)))
    message = request("gradient", header=header("gradient", of), chunk=chunk())
    start = channel.stream_stream(f"/{SERVICE}/Gradient")
    ended = start(iter([message.SerializeToString()]), timeout=TIMEOUT, metadata=metadata)
    with suppress(grpc.RpcError):
        list(ended)


def attributes(span: Span) -> dict[str, Any]:
    """A span's attributes."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


def test_a_span_has_the_callers_parent(traced: grpc.Channel, collector: Collector) -> None:
    """It continues the trace that the call came with, and says how the call went."""
    called(traced, 0.1, ("traceparent", f"00-{TRACE}-{PARENT}-01"))
    span = collector.taken.get(timeout=TIMEOUT)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == f"{SERVICE}/Gradient"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < TIMEOUT * 10**9
    told = attributes(span)
    assert told["rpc.grpc.status_code"] == 0
    assert told["regularization.elements"] == 8
    assert told["regularization.request_id"] == TRACE
    assert collector.names == {"regularization-server"}


def test_a_refused_call_says_why_without_contents(traced: grpc.Channel, collector: Collector) -> None:
    """By its reason; a caller's mistake is no error of the server, and its names are not told."""
    called(traced, -1.0, ("x-request-id", "mine"))
    span = collector.taken.get(timeout=TIMEOUT)
    assert span.parent_span_id == b""
    told = attributes(span)
    assert told["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert told["regularization.reason"] == "ERROR_REASON_FIELD_OUT_OF_RANGE"
    assert told["regularization.request_id"] == "mine"
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert not span.events
    assert "cellar" not in str(span)


def test_a_fault_is_an_error_of_the_server(
    traced: grpc.Channel, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its span has that status."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("regularization_server.calls.service.call_of", broken)
    called(traced, 0.1)
    assert collector.taken.get(timeout=TIMEOUT).status.code == Status.STATUS_CODE_ERROR


def test_a_call_that_its_caller_does_not_sample_has_no_span(
    traced: grpc.Channel, collector: Collector
) -> None:
    """The caller's decision holds for the whole trace."""
    called(traced, 0.1, ("traceparent", f"00-{TRACE}-{PARENT}-00"))
    called(traced, 0.1, ("x-request-id", "second"))
    assert attributes(collector.taken.get(timeout=TIMEOUT))["regularization.request_id"] == "second"


def test_without_a_collector_calls_go_on_and_a_stop_does_not_wait(tmp_path: Path) -> None:
    """Spans that nobody takes cost neither a call nor the time of a stop."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), traces_endpoint="http://127.0.0.1:1")
    server = Server(settings)
    server.start()
    with channel_to(server.addresses[0]) as channel:
        called(channel, 0.1)
    before = time.monotonic()
    assert server.stop()
    assert time.monotonic() - before < TIMEOUT / 2


def test_an_endpoint_is_a_url() -> None:
    """The error is that of the setting."""
    with pytest.raises(SettingInvalid, match="must begin with http"):
        Settings(traces_endpoint="collector:4317")
