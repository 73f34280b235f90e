"""Long calls that are given up: the server ends them, whatever it computes, and answers others meanwhile."""

from __future__ import annotations

import logging
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization.v1.layout_pb2 import Segment
from regularization.v1.regularizers_pb2 import (
    Isotonic,
    L1Ball,
    Oscar,
    Regularizer,
    Slope,
    SpectralNormalization,
    TotalVariation,
    TrendFilter,
)
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_kernels import compilation, interruption
from regularization_server.calls.context import CallContext

from tests.support.messages import TIMEOUT, call, good_call, header, layout_of, nuclear_norm, request
from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regularization_server import Server

ELEMENTS = 40_000
PARTS = 4
"""Messages of a stream."""

LONG = {
    "nuclear_norm": (nuclear_norm(), [200, 200]),
    "spectral_normalization": (
        Regularizer(spectral_normalization=SpectralNormalization(target=1.0)),
        [200, 200],
    ),
    "trend_filter": (Regularizer(trend_filter=TrendFilter(strength=0.5, order=1)), [ELEMENTS]),
    "total_variation": (Regularizer(total_variation=TotalVariation(strength=5.0)), [ELEMENTS]),
    "isotonic": (Regularizer(isotonic=Isotonic()), [ELEMENTS]),
    "slope": (
        Regularizer(slope=Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=0.0))),
        [ELEMENTS],
    ),
    "l1_ball": (Regularizer(l1_ball=L1Ball(radius=10.0)), [ELEMENTS]),
}


def stream_of(regularizer: Regularizer, shape: list[int], seed: int = 0) -> Iterator[Any]:
    """A proximal step of noise, in some messages."""
    size = int(np.prod(shape))
    x = np.random.default_rng(seed).normal(size=size).astype("<f4")
    yield request(
        "proximal_step",
        header=header("proximal_step", layout_of(Segment(name="w", shape=shape, regularizer=regularizer))),
    )
    for begin in range(0, size, size // PARTS):
        part = x[begin : begin + size // PARTS]
        chunk = TensorChunk(element_offset=begin, parameters=part.tobytes())
        yield request("proximal_step", chunk=chunk)


class Watched:
    """In the place of the check: it tells when the computation is under way, and stays there for a while."""

    def __init__(self, asks: int) -> None:
        self.asked = 0
        self.under_way = Event()
        self._asks = asks
        self._check = CallContext.check_wanted

    def __call__(self, context: CallContext) -> None:
        """Ask; the last time not before the client is gone."""
        self.asked += 1
        if self.asked == self._asks:
            self.under_way.set()
            until(lambda: not context.transport.is_active())
        self._check(context)


@pytest.mark.parametrize("deadline", [False, True], ids=["cancel", "deadline"])
@pytest.mark.parametrize("name", LONG)
def test_a_computation_ends_where_it_asks_next(
    server: Server,
    channel: grpc.Channel,
    name: str,
    deadline: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing more is computed, all memory comes back, and the log says how the call ended: in order."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(compilation, "STRETCH", 1000)
    watched = Watched(asks=PARTS + 4)
    monkeypatch.setattr(CallContext, "check_wanted", lambda context: watched(context))
    started = call(channel, "proximal_step", stream_of(*LONG[name]), timeout=1.5 if deadline else TIMEOUT)
    assert watched.under_way.wait(TIMEOUT)
    assert server.budget.used > 0
    if not deadline:
        started.cancel()
    until(lambda: server.budget.used == 0)
    # A client whose time is over cancels, and may do so a moment before the server sees it for itself.
    until(lambda: "status=CANCELLED" in caplog.text or (deadline and "status=DEADLINE" in caplog.text))
    assert watched.asked == PARTS + 4
    assert "INTERNAL" not in caplog.text
    with pytest.raises(grpc.RpcError) as caught:
        list(started)
    assert caught.value.code() is (
        grpc.StatusCode.DEADLINE_EXCEEDED if deadline else grpc.StatusCode.CANCELLED
    )
    good_call(channel)


def test_decompositions_that_wait_for_their_turn_leave_at_once(
    server: Server, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that are given up so many go on as there are turns. Others are answered all the while."""
    turns, calls = 2, 6
    monkeypatch.setattr(interruption, "_turns", interruption.Turns(turns))
    begun: list[int] = []
    free = Event()
    decompose = np.linalg.svd

    def slow(*arguments: Any, **options: Any) -> Any:
        begun.append(1)
        free.wait(TIMEOUT)
        return decompose(*arguments, **options)

    monkeypatch.setattr(np.linalg, "svd", slow)
    try:
        started = [
            call(channel, "proximal_step", stream_of(nuclear_norm(), [300, 300], seed))
            for seed in range(calls)
        ]
        until(lambda: len(begun) == turns and len(interruption._turns._waiting) == calls - turns)
        held = server.budget.used
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        good_call(channel)
        for each in started:
            each.cancel()
        until(lambda: server.budget.used == held // calls * turns)
        assert len(begun) == turns
    finally:
        free.set()
    until(lambda: server.budget.used == 0)
    assert len(begun) == turns


def test_health_beside_a_decomposition(server: Server, channel: grpc.Channel) -> None:
    """It is answered while a matrix is decomposed, not after."""
    stub = health_pb2_grpc.HealthStub(channel)
    stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    took: list[float] = []

    def step() -> None:
        start = time.perf_counter()
        list(call(channel, "proximal_step", stream_of(nuclear_norm(), [700, 700])))
        took.append(time.perf_counter() - start)

    heavy = Thread(target=step)
    heavy.start()
    waited = []
    while heavy.is_alive():
        start = time.perf_counter()
        stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        waited.append(time.perf_counter() - start)
        time.sleep(0.005)
    heavy.join()
    assert took
    assert max(waited) < 0.5 * took[0]


def test_answers_made_ahead_end_too(
    server: Server, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A long segment behind short ones is computed while these are sent, and ends like any other."""
    caplog.set_level(logging.INFO)
    short, parts = 8, 6
    layout = layout_of(
        *(Segment(name=f"s{i}", shape=[short]) for i in range(parts)),
        Segment(name="w", shape=[200, 200], regularizer=nuclear_norm()),
    )
    watched = Watched(asks=parts + 3)
    monkeypatch.setattr(CallContext, "check_wanted", lambda context: watched(context))

    def stream() -> Iterator[Any]:
        yield request("proximal_step", header=header("proximal_step", layout))
        for offset in range(0, parts * short, short):
            values = np.ones(short, "<f4").tobytes()
            yield request("proximal_step", chunk=TensorChunk(element_offset=offset, parameters=values))
        values = np.random.default_rng(1).normal(size=40_000).astype("<f4").tobytes()
        yield request("proximal_step", chunk=TensorChunk(element_offset=parts * short, parameters=values))

    started = call(channel, "proximal_step", stream())
    received = [next(started) for _ in range(parts)]
    assert watched.under_way.wait(TIMEOUT)
    started.cancel()
    until(lambda: "status=CANCELLED" in caplog.text)
    until(lambda: server.budget.used == 0)
    assert (len(received), watched.asked) == (parts, parts + 3)
    assert "INTERNAL" not in caplog.text
