"""Clients that go away in the middle: whatever the server held for them is free again."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization.v1.layout_pb2 import ParameterLayout, Segment

from tests.support.messages import (
    METHODS,
    Failed,
    call,
    chunk,
    good_call,
    header,
    layout_of,
    nuclear_norm,
    request,
)
from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regularization_server import Server

ROOT = Path(__file__).parents[2]
ROWS, COLUMNS = 64, 32


def matrix() -> ParameterLayout:
    """A layout whose one segment is held back until it is whole."""
    return layout_of(Segment(name="matrix", shape=[ROWS, COLUMNS], regularizer=nuclear_norm()))


def half_a_matrix(method: str, done: Event | None = None) -> Iterator[Any]:
    """A stream that sends half a segment, and then no more, nor its end."""
    yield request(method, header=header(method, matrix()), chunk=chunk([1.0] * (ROWS * COLUMNS // 2)))
    if done is not None:
        done.wait()


@pytest.fixture
def done() -> Iterator[Event]:
    """Set at the end of a test, so that no stream waits on."""
    event = Event()
    yield event
    event.set()


@pytest.mark.parametrize("method", METHODS)
def test_cancelled_call_frees_its_memory(
    server: Server, channel: grpc.Channel, done: Event, method: str
) -> None:
    """A client that cancels in the middle of a segment leaves nothing behind."""
    started = call(channel, method, half_a_matrix(method, done))
    until(lambda: server.budget.used > 0)
    started.cancel()
    until(lambda: server.budget.used == 0)
    good_call(channel)


@pytest.mark.parametrize("method", METHODS)
def test_deadline_frees_the_memory(server: Server, channel: grpc.Channel, done: Event, method: str) -> None:
    """A deadline in the middle of a segment ends the call and leaves nothing behind."""
    started = call(channel, method, half_a_matrix(method, done), timeout=0.5)
    until(lambda: server.budget.used > 0 or started.done())
    with pytest.raises(grpc.RpcError) as caught:
        list(started)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: server.budget.used == 0)
    good_call(channel)


@pytest.mark.parametrize("method", METHODS)
def test_error_frees_the_memory(server: Server, channel: grpc.Channel, method: str) -> None:
    """A stream that breaks a rule in the middle of a segment leaves nothing behind."""
    stream = [*half_a_matrix(method), request(method, chunk=chunk((1,), offset=7))]
    with pytest.raises(grpc.RpcError) as caught:
        list(call(channel, method, stream))
    assert Failed.of(caught.value).reason == "ERROR_REASON_CHUNK_OUT_OF_ORDER"
    until(lambda: server.budget.used == 0)


@pytest.mark.parametrize("method", METHODS)
def test_killed_client_frees_its_memory(server: Server, channel: grpc.Channel, method: str) -> None:
    """A client whose process is killed in the middle of a segment leaves nothing behind."""
    script = f"""
        import sys, threading
        from tests.support.messages import call
        from tests.support.processes import channel_to
        from tests.server.test_departures import half_a_matrix
        with channel_to({server.addresses[0]!r}) as channel:
            started = call(channel, {method!r}, half_a_matrix({method!r}, threading.Event()), timeout=None)
            print(*started)
    """
    client = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT)
    try:
        until(lambda: server.budget.used > 0 or client.poll() is not None)
        assert server.budget.used > 0
    finally:
        client.kill()
        client.wait()
    until(lambda: server.budget.used == 0)
    good_call(channel)


def test_client_that_stops_reading_frees_the_memory(server: Server, channel: grpc.Channel) -> None:
    """A client that cancels while answers are on their way leaves nothing behind."""
    parts = [chunk([1.0] * COLUMNS, offset=row * COLUMNS) for row in range(ROWS)]
    stream = [
        request("gradient", header=header("gradient", matrix())),
        *(request("gradient", chunk=part) for part in parts),
    ]
    started = call(channel, "gradient", stream)
    next(started)
    started.cancel()
    until(lambda: server.budget.used == 0)
    good_call(channel)


def test_finished_calls_leave_nothing_behind(server: Server, channel: grpc.Channel) -> None:
    """After calls that went well the whole budget is free."""
    for method in METHODS:
        whole = chunk([1.0] * (ROWS * COLUMNS))
        list(call(channel, method, [request(method, header=header(method, matrix()), chunk=whole)]))
    until(lambda: server.budget.used == 0)
