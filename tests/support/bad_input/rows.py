"""One row of the table of bad input, and the streams that rows are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import grpc
from regularization.v1.layout_pb2 import ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer
from regularization.v1.tensor_pb2 import TensorChunk

from tests.support.messages import METHODS, chunk, header, layout_of, request

ALL = tuple(METHODS)
STREAMING = ("gradient", "proximal_step")
NAN, INFINITY = float("nan"), float("inf")
REGULARIZER = "header.layout.segments[0].regularizer"
EIGHT: tuple[float, ...] = (1, 2, 3, 4, 5, 6, 7, 8)

Stream = Callable[[str], list[Any]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of bad input, for the methods that it can be sent to."""

    name: str
    stream: Stream
    reason: str | None
    field: str | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    methods: tuple[str, ...] = ALL


def with_layout(of: ParameterLayout) -> Stream:
    """A stream whose header has this layout."""
    return lambda method: [request(method, header=header(method, of))]


def with_regularizer(regularizer: Regularizer, *shape: int) -> Stream:
    """A stream of one segment, six elements or of this shape, with this regularizer."""
    return with_layout(layout_of(Segment(name="w", shape=shape or (6,), regularizer=regularizer)))


def with_header(**fields: Any) -> Stream:
    """A stream whose header has these fields."""
    return lambda method: [request(method, header=header(method, **fields))]


def with_chunks(*chunks: TensorChunk, of: ParameterLayout | None = None) -> Stream:
    """A stream with a header and these chunks."""
    return lambda method: [
        request(method, header=header(method, of)),
        *(request(method, chunk=part) for part in chunks),
    ]


def raw_chunk(size: int) -> TensorChunk:
    """A chunk of so many bytes."""
    return TensorChunk(parameters=bytes(size))


def changed(index: int, value: float, values: tuple[float, ...] = EIGHT) -> tuple[float, ...]:
    """The values with one of them replaced."""
    return (*values[:index], value, *values[index + 1 :])


def chunk_with(operand: str, values: tuple[float, ...], parameters: tuple[float, ...] = EIGHT) -> TensorChunk:
    """A chunk with an operand."""
    operands: dict[str, Any] = {operand: values}
    return chunk(parameters, **operands)
