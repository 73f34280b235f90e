"""The methods that take a stream, as rows of a table: all that differs between them is said here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from regularization import wire
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2

Header = service.PenaltyHeader | service.GradientHeader | service.ProximalStepHeader
"""The message that begins a request."""

FIGURES = tuple(summary_pb2.SummaryFigures.DESCRIPTOR.fields_by_name)
"""Names of the figures that a summary may have."""

_WITHOUT_STEP = tuple(name for name in FIGURES if name != "squared_distance")


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the service."""

    name: str
    """Its name there."""

    header: type[Header]
    """What its requests begin with."""

    figures: tuple[str, ...]
    """Names of the figures that its summary may have."""

    has_results: bool
    """Whether its answer has elements; without, it is one message with the summary."""

    decode: Callable[[bytes], wire.Response]
    """Read a message of its answer; raises protobuf's ``DecodeError`` where it is none."""


def _decode_penalty_response(message: bytes) -> wire.Response:
    response = service.PenaltyResponse.FromString(message)
    return wire.Response(None, response.summary if response.HasField("summary") else None)


PENALTY = Method("Penalty", service.PenaltyHeader, _WITHOUT_STEP, False, _decode_penalty_response)
GRADIENT = Method("Gradient", service.GradientHeader, _WITHOUT_STEP, True, wire.decode_response)
PROXIMAL_STEP = Method("ProximalStep", service.ProximalStepHeader, FIGURES, True, wire.decode_response)

METHODS = (PENALTY, GRADIENT, PROXIMAL_STEP)
"""All of them."""
