from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from regularization.v1.layout_pb2 import Segment
from regularization_server.observability.request_ids import request_id_of

from tests.support.messages import SERVICE, TIMEOUT, Failed, chunk, header, l1_norm, layout_of, request
from tests.support.processes import until
from tests.support.together import for_each

if TYPE_CHECKING:
    from regularization_server import Server

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
MADE = re.compile(r"[0-9a-f]{16}")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([("x-request-id", "step-17.rank_3")], "step-17.rank_3"),
        ([("x-request-id", "r" * 64)], "r" * 64),
        ([("traceparent", PARENT)], TRACE),
        ([("traceparent", f"01{PARENT[2:]}-later")], TRACE),
        ([("traceparent", PARENT), ("x-request-id", "mine")], "mine"),
        ([("x-request-id", "not mine!"), ("traceparent", PARENT)], TRACE),
    ],
)
def test_ids_that_callers_give(metadata: list[tuple[str, str]], expected: str) -> None:
    """A well-formed id of the caller's is taken, or else its trace's."""
    assert request_id_of(metadata) == expected


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("x-request-id", "")],
        [("x-request-id", "r" * 65)],
        [("x-request-id", "a b")],
        [("x-request-id", "a\n")],
        [("x-request-id", "é")],
        [("x-request-id", "-a")],
        [("x-request-id", "a"), ("x-request-id", "b")],
        [("x-request-id", b"a")],
        [("traceparent", TRACE)],
        [("traceparent", PARENT.upper())],
        [("traceparent", f"ff{PARENT[2:]}")],
        [("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01")],
        [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
        [("traceparent", PARENT), ("traceparent", PARENT)],
    ],
    ids=repr,
)
def test_ids_that_are_made(metadata: list[tuple[str, str | bytes]]) -> None:
    """What is not well-formed, or not alone, is no id: one is made, and each time another."""
    made = {request_id_of(metadata) for _ in range(10)}
    assert len(made) == 10
    assert all(map(MADE.fullmatch, made))


def called(
    channel: grpc.Channel, method: str, message: Any, metadata: tuple[tuple[str, str], ...] = ()
) -> grpc.Call:
    """A call that has ended, whatever its status."""
    start = channel.stream_stream(
        f"/{SERVICE}/{method}", request_serializer=lambda each: each.SerializeToString()
    )
    ended = start(iter([message]), timeout=TIMEOUT, metadata=metadata)
    with suppress(grpc.RpcError):
        list(ended)
    return ended


def trailer(call: grpc.Call) -> str:
    """The id that a call's trailers have."""
    (value,) = (value for name, value in call.trailing_metadata() if name == "x-request-id")
    return str(value)


@for_each(
    "case",
    [
        ("Gradient", request("gradient", header=header("gradient"), chunk=chunk())),
        ("ListRegularizers", Empty()),
    ],
)
def test_every_call_has_its_id_in_trailers_and_log(
    server: Server, channel: grpc.Channel, caplog: pytest.LogCaptureFixture, case: tuple[str, Any]
) -> None:
    """One that goes well, of either kind, has the caller's id, which its line in the log has, too."""
    caplog.set_level("INFO")
    method, message = case
    ended = called(channel, method, message, (("x-request-id", f"of-{method}"),))
    assert ended.code() is grpc.StatusCode.OK
    assert trailer(ended) == f"of-{method}"
    until(lambda: f"request_id=of-{method} " in caplog.text)


def test_errors_tell_the_id(server: Server, channel: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    """A refused call has an id that was made for it in trailers, details and log."""
    caplog.set_level("INFO")
    of = layout_of(Segment(name="w", shape=[8], regularizer=l1_norm(-1.0)))
    ended = called(channel, "Gradient", request("gradient", header=header("gradient", of)))
    failed = Failed.of(ended)  # type: ignore[arg-type] # a call has what an error has
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert MADE.fullmatch(failed.metadata["request_id"])
    assert trailer(ended) == failed.metadata["request_id"]
    until(lambda: f"request_id={trailer(ended)} " in caplog.text)


def test_a_fault_of_the_server_is_found_by_its_id(
    server: Server, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of INTERNAL names the id, under which the log has the details."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("regularization_server.calls.service.call_of", broken)
    message = request("gradient", header=header("gradient"), chunk=chunk())
    ended = called(channel, "Gradient", message, (("traceparent", PARENT),))
    assert ended.code() is grpc.StatusCode.INTERNAL
    assert str(ended.details()).endswith(f"its log has the details of request {TRACE}")
    until(lambda: "ZeroDivisionError" in caplog.text)
    (line,) = [each.getMessage() for each in caplog.records if "ZeroDivisionError" in each.getMessage()]
    assert f"request_id={TRACE} " in line
