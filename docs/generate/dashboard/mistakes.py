"""Calls that are refused, or fail, each of another kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event

import grpc
import numpy as np
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT64, ParameterLayout, Segment
from regularization.v1.regularization_service_pb2 import PenaltyHeader, PenaltyRequest
from regularization.v1.regularizers_pb2 import Regularizer
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_client import Client, L1Norm, NuclearNorm, Planned, RegularizationError, Retry

from docs.generate.dashboard.server import TOKENS

SECONDS, TOO_FEW = 10.0, 0.2
_METHOD = "/regularization.v1.RegularizationService/"
_ONCE = Retry(attempts=1)
_L1, _WHOLE = L1Norm(strength=0.001), NuclearNorm(strength=1.0)


@contextmanager
def mistakes(target: str) -> Iterator[list[Callable[[], None]]]:
    """Functions that make one such call each, and expect that it fails.

    Args:
        target: A server's socket, of which ``TOKENS`` are known, and which may hold 256 MiB.
    """
    own = TOKENS["gateway"]
    with (
        Client(target, token=f"not {own}", retry=_ONCE) as stranger,
        Client(target, token=own, retry=_ONCE) as client,
        grpc.insecure_channel(target) as channel,
    ):
        yield [
            partial(_failing, call)
            for call in (
                lambda: stranger.penalty([1.0], _L1),
                lambda: _raw(channel, "Penalty").result(),
                lambda: _raw(channel, "Guess").result(),
                lambda: client.penalty([1.0], L1Norm(strength=-1.0)),
                lambda: client.penalty({"weight": [1.0]}, Planned("guessed", 0)),
                lambda: _too_late(channel, own),
                # A decomposition needs a matrix whole, and several times its 64 MiB to work in.
                lambda: client.penalty(np.ones((4096, 4096), np.float32), _WHOLE),
            )
        ]


def _failing(call: Callable[[], object]) -> None:
    with suppress(RegularizationError, grpc.RpcError):
        call()


def _raw(channel: grpc.Channel, method: str) -> grpc.Future[bytes]:
    """A call of any method, with an empty message that lacks a token."""
    call: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(_METHOD + method)
    begun: grpc.Future[bytes] = call.future(iter([b""]), timeout=SECONDS)
    return begun


def _too_late(channel: grpc.Channel, token: str) -> None:
    """A call that sends half of its elements, and whose time is over then."""
    over = Event()
    begin: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(_METHOD + "Penalty")
    try:
        begin(_half(over), timeout=TOO_FEW, metadata=(("authorization", f"Bearer {token}"),))
    finally:
        over.set()


def _half(over: Event) -> Iterator[bytes]:
    segment = Segment(name="weight", shape=[2], regularizer=Regularizer(l1_norm=_L1))
    layout = ParameterLayout(data_type=DATA_TYPE_FLOAT64, segments=[segment])
    chunk = TensorChunk(parameters=bytes(8))
    yield PenaltyRequest(header=PenaltyHeader(layout=layout), chunk=chunk).SerializeToString()
    over.wait(SECONDS)
