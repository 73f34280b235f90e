"""Calls survive servers that go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from grpc_status import rpc_status
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import (
    ArgumentError,
    Client,
    L1Norm,
    RegularizationError,
    ResourceExhaustedError,
    Retry,
    UnavailableError,
)

from tests.support.faulty_server import answering, echo
from tests.support.processes import serving

L1 = L1Norm(strength=0.1)
THETA = np.random.default_rng(2).standard_normal(5000).astype(np.float32)
QUICK = Retry(first_pause=0.01)


class FailsMidway:
    """Echoes, but breaks the first calls off after some messages."""

    def __init__(self, failures: int, after: int) -> None:
        self.calls = 0
        self._failures = failures
        self._after = after

    def __call__(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a stream."""
        self.calls += 1
        failing = self.calls <= self._failures
        for number, response in enumerate(echo(requests, context)):
            if failing and number == self._after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            yield response


@pytest.mark.parametrize("in_place", [False, True])
def test_a_call_that_broke_midway_is_replayed_from_its_start(in_place: bool) -> None:
    """The result is right also where out is the parameters, of which some results were there before."""
    server, seen = FailsMidway(failures=2, after=5), []
    theta = THETA.copy()
    with answering(server) as target, Client(target, chunk_bytes=1024, retry=QUICK) as client:
        step = client.proximal_step(
            theta,
            L1,
            step_size=1.0,
            out=theta if in_place else None,
            progress=lambda done, _: seen.append(done),
        )
    assert server.calls == 3
    np.testing.assert_array_equal(step.parameters, THETA)
    assert seen == sorted(set(seen))
    assert seen[-1] == THETA.size


@pytest.mark.parametrize("size", [100, 10_000])
def test_results_take_the_place_of_parameters_once_all_are_there(size: int) -> None:
    """Of short arrays and of long ones: a call that fails changes none, and the next mixes nothing up."""
    memory = np.random.default_rng(3).standard_normal(3 * size).astype(np.float32)
    before = memory.copy()
    parameters = {"a": memory[:size], "b": memory[size : 2 * size]}
    out = {"a": memory[size : 2 * size], "b": memory[2 * size :]}
    server = FailsMidway(failures=1, after=1)
    with answering(server) as target, Client(target, chunk_bytes=256, retry=Retry(attempts=1)) as client:
        with pytest.raises(UnavailableError):
            client.proximal_step(parameters, L1, step_size=1.0, out=out)
        np.testing.assert_array_equal(memory, before)
        client.proximal_step(parameters, L1, step_size=1.0, out=out)
    np.testing.assert_array_equal(memory[:size], before[:size])
    np.testing.assert_array_equal(memory[size:], before[: 2 * size])


def test_what_was_stored_is_not_stored_again() -> None:
    """A replay has the same bits, so a sink sees every element once and in order."""
    from regularization_client._request.call import Call, Stretch
    from regularization_client._request.header import Header
    from regularization_client._request.layout import Layout
    from regularization_client._request.method import PROXIMAL_STEP
    from regularization_client._request.stores import ArrayStore
    from regularization_client._transport.base import Conditions
    from regularization_client._transport.chunked import Chunked
    from regularization_client._transport.connection import Connection

    written: list[tuple[int, int]] = []

    class Sink:
        def write(self, begin: int, values: Any) -> None:
            written.append((begin, begin + values.size))

    layout = Layout(b"\x0a\x02\x08\x01", {"parameters": THETA.size}, {"parameters": None})
    call = Call(
        Header(PROXIMAL_STEP, layout, {"figures": ()}),
        THETA.dtype,
        [Stretch(0, THETA.size, {"parameters": ArrayStore(THETA)}, Sink())],
    )
    with answering(FailsMidway(failures=1, after=5)) as target:
        connection = Connection(target)
        Chunked(connection).carry_out(call, Conditions(10.0, QUICK, 1024))
        connection.close()
    assert [begin for begin, _ in written] == [0, *(end for _, end in written[:-1])]
    assert written[-1][1] == THETA.size


@pytest.mark.parametrize("attempts", [1, 3])
def test_attempts_are_limited(attempts: int) -> None:
    """The last failure is raised, with its cause."""
    server = FailsMidway(failures=100, after=0)
    retry = Retry(attempts=attempts, first_pause=0.01)
    with (
        answering(server) as target,
        Client(target, retry=retry) as client,
        pytest.raises(UnavailableError, match="going away") as caught,
    ):
        client.proximal_step(THETA, L1, step_size=1.0)
    assert server.calls == attempts
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_attempts_are_not_over_before_a_server_can_be_back() -> None:
    """Pauses are drawn at random, but none is shorter than half of its bound."""
    server = FailsMidway(failures=100, after=0)
    retry = Retry(attempts=5, first_pause=0.1)
    with answering(server) as target, Client(target, retry=retry) as client:
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            client.proximal_step(THETA, L1, step_size=1.0)
    assert time.monotonic() - began >= (0.1 + 0.2 + 0.4 + 0.8) / 2
    assert server.calls == 5


def test_attempts_end_with_the_deadline() -> None:
    """Pauses do not go beyond it."""
    server = FailsMidway(failures=10**6, after=0)
    retry = Retry(attempts=10**6, first_pause=0.01, longest_pause=0.05)
    with (
        answering(server) as target,
        Client(target, retry=retry) as client,
        pytest.raises((UnavailableError, TimeoutError)),
    ):
        client.proximal_step(THETA, L1, step_size=1.0, timeout=0.5)
    assert 1 < server.calls < 10**3


@pytest.mark.parametrize("failure", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_other_failures_are_not_replayed(failure: grpc.StatusCode) -> None:
    """They would come again, or make things worse: a fault of the server that it has a reason for."""
    calls = []

    def fail(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(1)
        context.abort_with_status(with_reason(failure))
        yield

    with (
        answering(fail) as target,
        Client(target, retry=QUICK) as client,
        pytest.raises(Exception, match="no"),
    ):
        client.penalty(THETA, L1)
    assert len(calls) == 1


def test_a_server_that_is_not_up_yet_is_waited_for(socket_folder: Path) -> None:
    """A trainer and its sidecar may start in either order."""
    address = f"unix:{socket_folder / 's'}"
    results = []
    with Client(address, retry=Retry(attempts=1000, longest_pause=0.2)) as client:
        call = threading.Thread(target=lambda: results.append(client.penalty(THETA, L1).nonzeros))
        call.start()
        with serving(socket_folder, address=address):
            call.join()
    assert results == [5000]


def test_a_call_goes_on_when_its_replica_is_killed(tmp_path: Path, socket_folder: Path) -> None:
    """Another replica, which came up in the middle of the call, gives an answer of the same bits."""
    first, second = (f"unix:{socket_folder / name}" for name in "ab")
    theta = np.random.default_rng(4).standard_normal(1 << 20).astype(np.float32)
    for name in "ab":
        (tmp_path / name).mkdir()
    retry = Retry(attempts=1000, longest_pause=0.2)
    with ExitStack() as stack:
        one = stack.enter_context(serving(tmp_path / "a", address=first))
        client = stack.enter_context(Client([first, second], chunk_bytes=1 << 14, retry=retry))
        expected = client.proximal_step(theta, L1, step_size=1.0)

        def swap_servers(done: int, total: int) -> None:
            if done > total // 2 and one.process.poll() is None:
                stack.enter_context(serving(tmp_path / "b", address=second))
                one.process.kill()
                one.process.wait()

        step = client.proximal_step(theta, L1, step_size=1.0, progress=swap_servers)
        assert one.process.poll() is not None
        np.testing.assert_array_equal(step.parameters, expected.parameters)
        assert step.exact_penalty == expected.exact_penalty
        assert client.penalty(theta, L1).nonzeros == theta.size


@pytest.mark.parametrize(
    "numbers",
    [{"attempts": 0}, {"first_pause": -1}, {"first_pause": 2, "longest_pause": 1}, {"longest_silence": 0}],
)
def test_settings_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
    """Where they are made."""
    with pytest.raises(
        ValueError, match=r"attempts must be >= 1|need 0 <= first_pause|longest_silence must be > 0"
    ):
        Retry(**numbers)


def test_a_chunk_size_out_of_range_is_refused() -> None:
    """It would not fit into a message of gRPC's default limit."""
    with pytest.raises(ArgumentError, match="chunk_bytes must be from 64 to 3145728, got 4194304"):
        Client("localhost:1", chunk_bytes=4 << 20)


def with_reason(code: grpc.StatusCode) -> grpc.Status:
    """A status as the service gives it."""
    status = status_pb2.Status(code=code.value[0], message="no")
    information = error_details_pb2.ErrorInfo(reason="ERROR_REASON_INTERNAL", domain="regularization.v1")
    status.details.add().Pack(information)
    whole: grpc.Status = rpc_status.to_status(status)
    return whole


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED]
)
@pytest.mark.parametrize("method", ["penalty", "one chunk", "many chunks", "catalogue"])
def test_a_call_that_broke_off_behind_a_proxy_is_replayed(code: grpc.StatusCode, method: str) -> None:
    """A server's crash comes through a proxy as one of these, without a word of the server's own."""
    calls = []

    def crash_once(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(1)
        if len(calls) == 1:
            context.abort(code, "RST_STREAM")
        answers = list(echo(requests, context))
        if method == "penalty":
            yield service.PenaltyResponse(summary=answers[-1].summary)
        elif method == "catalogue":
            yield service.ListRegularizersResponse()
        else:
            yield from answers

    with answering(crash_once) as target, Client(target, retry=QUICK, chunk_bytes=1024) as client:
        if method == "penalty":
            assert client.penalty(THETA[:9], L1).elements == 9
        elif method == "catalogue":
            assert client.list_regularizers() == ()
        else:
            theta = THETA[: 9 if method == "one chunk" else 5000]
            assert client.proximal_step(theta, L1, step_size=1.0).elements == theta.size
    assert len(calls) == 2


def test_a_client_that_is_closed_makes_no_more_calls() -> None:
    """Nor does one that is closed in the middle of a call replay it."""
    calls, closing = [], threading.Event()

    def hang(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(1)
        closing.set()
        while context.is_active():
            time.sleep(0.01)
        yield

    with answering(hang) as target:
        client = Client(target, retry=QUICK)
        closer = threading.Thread(target=lambda: (closing.wait(10), client.close()))
        closer.start()
        with pytest.raises(RegularizationError):
            client.proximal_step(THETA, L1, step_size=1.0)
        closer.join()
        with pytest.raises(ArgumentError, match="the client is closed"):
            client.proximal_step(THETA, L1, step_size=1.0)
    assert len(calls) == 1


class AsksToWait:
    """Refuses the first call for some time, and then echoes."""

    def __init__(self, seconds: int, nanoseconds: int = 0) -> None:
        self.calls = 0
        self._retry = error_details_pb2.RetryInfo()
        self._retry.retry_delay.seconds = seconds
        self._retry.retry_delay.nanos = nanoseconds

    def __call__(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a stream."""
        self.calls += 1
        if self.calls == 1:
            status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full")
            status.details.add().Pack(self._retry)
            context.abort_with_status(rpc_status.to_status(status))
        yield from echo(requests, context)


def test_a_call_is_replayed_no_sooner_than_the_server_asks() -> None:
    """Where the server says when, a call that it has refused is made again, then."""
    server = AsksToWait(0, 300_000_000)
    with answering(server) as target, Client(target, retry=QUICK) as client:
        started = time.monotonic()
        step = client.proximal_step(THETA, L1, step_size=1.0)
    assert time.monotonic() - started >= 0.3
    assert server.calls == 2
    np.testing.assert_array_equal(step.parameters, THETA)


@pytest.mark.parametrize(
    ("seconds", "timeout"), [(5, 2.0), (601, None), (-1, None), (1 << 40, None)], ids=str
)
def test_a_wait_that_is_too_long_is_not_begun(seconds: int, timeout: float | None) -> None:
    """Beyond the deadline, or what anybody would wait, or before now: the refusal is raised at once."""
    server = AsksToWait(seconds)
    with answering(server) as target, Client(target, retry=QUICK) as client:
        started = time.monotonic()
        with pytest.raises(ResourceExhaustedError) as caught:
            client.proximal_step(THETA, L1, step_size=1.0, timeout=timeout)
    assert time.monotonic() - started < 2
    assert server.calls == 1
    assert caught.value.retry_after == (seconds if seconds == 5 else None)
