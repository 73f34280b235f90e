"""Messages of the contract as the tests write them, and calls that may send any bytes at all."""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status
from regularization.v1 import regularization_service_pb2 as service_pb2
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT32, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import L1Norm, NuclearNorm, Regularizer
from regularization.v1.tensor_pb2 import TensorChunk

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICE = "regularization.v1.RegularizationService"
TIMEOUT = 30.0
"""Seconds after which a call that hangs fails a test."""


@dataclass(frozen=True)
class Method:
    """The types of a method that reads a stream."""

    name: str
    request: type[Any]
    header: type[Any]
    response: type[Any]


METHODS = {
    "penalty": Method(
        "Penalty", service_pb2.PenaltyRequest, service_pb2.PenaltyHeader, service_pb2.PenaltyResponse
    ),
    "gradient": Method(
        "Gradient", service_pb2.GradientRequest, service_pb2.GradientHeader, service_pb2.GradientResponse
    ),
    "proximal_step": Method(
        "ProximalStep",
        service_pb2.ProximalStepRequest,
        service_pb2.ProximalStepHeader,
        service_pb2.ProximalStepResponse,
    ),
}

MEASURING = {
    "measure": Method(
        "Measure", service_pb2.MeasureRequest, service_pb2.MeasureHeader, service_pb2.MeasureResponse
    ),
    "combine": Method(
        "Combine", service_pb2.CombineRequest, service_pb2.CombineHeader, service_pb2.CombineResponse
    ),
}
"""What finds out of parts what a method must know of the whole."""

KINDS = {**METHODS, **MEASURING}


def l1_norm(strength: float = 0.1) -> Regularizer:
    """The L1 norm."""
    return Regularizer(l1_norm=L1Norm(strength=strength))


def nuclear_norm(strength: float = 0.1) -> Regularizer:
    """The nuclear norm, for which the server holds back a whole segment."""
    return Regularizer(nuclear_norm=NuclearNorm(strength=strength))


def layout_of(*segments: Segment) -> ParameterLayout:
    """A layout of float32."""
    return ParameterLayout(data_type=DATA_TYPE_FLOAT32, segments=segments)


def layout() -> ParameterLayout:
    """Eight elements: six weights under the L1 norm, and two exempt biases."""
    return layout_of(
        Segment(name="weight", shape=[2, 3], regularizer=l1_norm()), Segment(name="bias", shape=[2])
    )


def header(method: str, /, of: ParameterLayout | None = None, **fields: Any) -> Any:
    """The header of a method's stream; a proximal step has step size 0.1 unless another is given.

    What measures does so for a proximal step, unless for another method.
    """
    if method in MEASURING:
        fields = {"method": service_pb2.METHOD_PROXIMAL_STEP, **fields}
    if method == "proximal_step" or fields.get("method") == service_pb2.METHOD_PROXIMAL_STEP:
        fields = {"step_size": 0.1, **fields}
    return KINDS[method].header(layout=layout() if of is None else of, **fields)


def chunk(
    values: Iterable[float] = (1, 2, 3, 4, 5, 6, 7, 8), offset: int = 0, **operands: Iterable[float]
) -> TensorChunk:
    """A chunk of float32."""
    raw = {name: np.array(list(operand), dtype="<f4").tobytes() for name, operand in operands.items()}
    return TensorChunk(element_offset=offset, parameters=np.array(list(values), dtype="<f4").tobytes(), **raw)


def request(method: str, **fields: Any) -> Any:
    """One request message: header, chunk, or both."""
    return KINDS[method].request(**fields)


def call(channel: grpc.Channel, method: str, stream: Iterable[Any], timeout: float = TIMEOUT) -> Any:
    """Start a call; messages may be bytes. Iterating it gives the responses."""
    kind = KINDS[method]
    start = channel.stream_stream(
        f"/{SERVICE}/{kind.name}",
        request_serializer=lambda message: (
            message if isinstance(message, bytes) else message.SerializeToString()
        ),
        response_deserializer=kind.response.FromString,
    )
    return start(iter(stream), timeout=timeout)


def answers(channel: grpc.Channel, method: str, stream: Iterable[Any], timeout: float = TIMEOUT) -> list[Any]:
    """All responses of a call."""
    return list(call(channel, method, stream, timeout))


class OpenCall:
    """A call in flight: half of its vector is sent, and its first answer is back."""

    def __init__(self, channel: grpc.Channel, timeout: float = TIMEOUT) -> None:
        self._to_send: SimpleQueue[Any] = SimpleQueue()
        self.answers = call(channel, "gradient", iter(self._to_send.get, None), timeout)
        self._to_send.put(request("gradient", header=header("gradient"), chunk=chunk((1, 2, 3, 4))))
        next(self.answers)

    def send_rest(self) -> None:
        """Send the other half."""
        self._to_send.put(request("gradient", chunk=chunk((5, 6, 7, 8), offset=4)))
        self.close()

    def finish(self) -> list[Any]:
        """Send the other half; the answers to it."""
        self.send_rest()
        return list(self.answers)

    def cancel(self) -> None:
        """Go away."""
        self.answers.cancel()
        self.close()

    def close(self) -> None:
        """Send no more."""
        self._to_send.put(None)


def good_call(channel: grpc.Channel) -> None:
    """Make a call that must succeed, and check its answer."""
    of = layout_of(Segment(name="theta", shape=[3], regularizer=l1_norm()))
    stream = [request("proximal_step", header=header("proximal_step", of), chunk=chunk((0.8, -0.3, 0.5)))]
    (answer,) = answers(channel, "proximal_step", stream)
    expected = np.array((0.79, -0.29, 0.49), dtype=np.float32)
    np.testing.assert_allclose(values_of(answer), expected, rtol=1e-6)
    assert answer.summary.total.nonzeros == 3


def values_of(answer: Any) -> np.ndarray[Any, Any]:
    """The elements of a response."""
    return np.frombuffer(answer.chunk.values, dtype="<f4")


@dataclass(frozen=True)
class Failed:
    """What a failed call tells a program."""

    code: grpc.StatusCode
    text: str
    reason: str | None
    metadata: dict[str, str]
    violations: list[str]

    @classmethod
    def of(cls, error: grpc.RpcError) -> Failed:
        """Read a call's status."""
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            if detail.Is(info.DESCRIPTOR):
                detail.Unpack(info)
            if detail.Is(bad_request.DESCRIPTOR):
                detail.Unpack(bad_request)
        if info.reason:
            assert info.domain == "regularization.v1"
        fields = [violation.field for violation in bad_request.field_violations]
        return cls(error.code(), error.details() or "", info.reason or None, dict(info.metadata), fields)
