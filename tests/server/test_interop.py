"""The cases of gRPC's interoperability tests that fit this service, by their names.

Those with many calls at once are in test_concurrency.py and test_connections.py.
"""

from __future__ import annotations

import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization.v1.regularization_service_pb2 import ListPlansRequest, ListRegularizersResponse

from tests.support.messages import (
    METHODS,
    SERVICE,
    TIMEOUT,
    Failed,
    OpenCall,
    answers,
    call,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
    values_of,
)
from tests.support.processes import until

if TYPE_CHECKING:
    from regularization_server import Server

UNICODE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
"""The message of gRPC's ``special_status_message``."""


def is_left(server: Server) -> bool:
    """Whether nothing of any call is left in the server."""
    return server._calls.in_flight == 0 and server.budget.used == 0


def test_empty_unary(channel: grpc.Channel) -> None:
    """``empty_unary``: no bytes are a message of their own, and so may be its answer."""
    ask = channel.unary_unary(f"/{SERVICE}/ListPlans")
    assert ask(ListPlansRequest().SerializeToString(), timeout=TIMEOUT) == b""


def test_large_unary(channel: grpc.Channel) -> None:
    """``large_unary``: one message of 2 MiB each way."""
    count = 1 << 19
    of = layout_of(Segment(name="theta", shape=[count], regularizer=l1_norm()))
    message = request("gradient", header=header("gradient", of), chunk=chunk([1.0] * count))
    whole = answers(channel, "gradient", [message])
    assert sum(len(values_of(each)) for each in whole) == count


def test_server_streaming(channel: grpc.Channel) -> None:
    """``server_streaming``: the catalogue comes whole, as the largest answer to the smallest question."""
    raw = channel.unary_unary(f"/{SERVICE}/ListRegularizers")(b"", timeout=TIMEOUT)
    assert len(ListRegularizersResponse.FromString(raw).regularizers) > 50


def test_ping_pong(channel: grpc.Channel) -> None:
    """``ping_pong``: each message waits for the answer to the one before."""
    count, rounds = 10, 20
    of = layout_of(Segment(name="theta", shape=[count * rounds], regularizer=l1_norm()))
    to_send: SimpleQueue[Any] = SimpleQueue()
    got = call(channel, "gradient", iter(to_send.get, None))
    for index in range(rounds):
        first = {"header": header("gradient", of)} if index == 0 else {}
        to_send.put(request("gradient", chunk=chunk([1.0] * count, offset=index * count), **first))
        answer = next(got)
        assert (answer.chunk.element_offset, len(values_of(answer))) == (index * count, count)
    to_send.put(None)
    assert list(got) == []
    assert answer.HasField("summary")


@pytest.mark.parametrize("method", METHODS)
def test_empty_stream(channel: grpc.Channel, method: str) -> None:
    """``empty_stream``: the call ends in order, and says that a stream has a header."""
    with pytest.raises(grpc.RpcError) as caught:
        answers(channel, method, [])
    failed = Failed.of(caught.value)
    assert (failed.code, failed.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ERROR_REASON_HEADER_MISSING",
    )


def test_cancel_after_begin(server: Server, channel: grpc.Channel) -> None:
    """``cancel_after_begin``: nothing was sent, and nothing is left."""
    never: SimpleQueue[Any] = SimpleQueue()
    began = call(channel, "gradient", iter(never.get, None))
    began.cancel()
    never.put(None)
    assert began.code() is grpc.StatusCode.CANCELLED
    until(lambda: is_left(server))
    good_call(channel)


def test_cancel_after_first_response(server: Server, channel: grpc.Channel) -> None:
    """``cancel_after_first_response``: half of the stream is answered, and nothing is left."""
    opened = OpenCall(channel)
    opened.cancel()
    assert opened.answers.code() is grpc.StatusCode.CANCELLED
    until(lambda: is_left(server))
    good_call(channel)


def test_timeout_on_a_call_that_does_not_go_on(server: Server, channel: grpc.Channel) -> None:
    """``timeout_on_sleeping_server``: the deadline ends it on both sides."""
    began = time.monotonic()
    opened = OpenCall(channel, timeout=0.3)
    with pytest.raises(grpc.RpcError) as caught:
        list(opened.answers)
    opened.close()
    assert Failed.of(caught.value).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.2 < time.monotonic() - began < TIMEOUT / 2
    until(lambda: is_left(server))


def test_timeout_before_anything_is_sent(channel: grpc.Channel) -> None:
    """A deadline that is over already is not waited for, nor is the server asked."""
    with pytest.raises(grpc.RpcError) as caught:
        answers(channel, "gradient", [request("gradient", header=header("gradient"))], timeout=-1.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined] # a call, too


@pytest.mark.parametrize("name", ["test status message", UNICODE])
def test_status_code_and_message(channel: grpc.Channel, name: str) -> None:
    """``status_code_and_message``, ``special_status_message``: any text comes as it was sent."""
    segment = Segment(name=name, shape=[1], regularizer=l1_norm(strength=-1.0))
    with pytest.raises(grpc.RpcError) as caught:
        answers(channel, "gradient", [request("gradient", header=header("gradient", layout_of(segment)))])
    failed = Failed.of(caught.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.metadata["segment"] == name


def test_custom_metadata(channel: grpc.Channel) -> None:
    """``custom_metadata``: an id comes back, and what nobody knows harms nothing, be it text or bytes."""
    ask = channel.unary_unary(f"/{SERVICE}/ListPlans")
    sent = (
        ("x-request-id", "test-initial-metadata-value"),
        ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
        ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
    )
    _, done = ask.with_call(b"", timeout=TIMEOUT, metadata=sent)
    assert dict(done.trailing_metadata())["x-request-id"] == "test-initial-metadata-value"


@pytest.mark.parametrize("path", [f"/{SERVICE}/Unknown", "/regularization.v1.Unknown/Gradient", "/Gradient"])
def test_unimplemented_method_and_service(channel: grpc.Channel, path: str) -> None:
    """``unimplemented_method``, ``unimplemented_service``: with this status, whatever is sent."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"\xff" * 100, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined] # a call, too
