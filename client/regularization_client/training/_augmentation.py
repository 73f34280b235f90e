"""The request of an augmentation, and its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError, Message
from regularization import wire
from regularization.training.v1 import augmentation_pb2 as v1
from regularization.v1 import regularization_service_pb2 as service

from .._errors import ArgumentError, ProtocolError, TruncatedStreamError
from .._messages import schema_type, wire_type

Transformation = v1.Noise | v1.Scaling | v1.Cutout | v1.Mixup | v1.Cutmix | v1.Shift | v1.Transformation
"""What is done with samples."""

NonFinite = Literal["reject", "propagate"]
"""What to do about NaN and infinity."""

_KINDS = {
    field.message_type.full_name: field.name
    for field in v1.Transformation.DESCRIPTOR.fields
    if field.message_type is not None
}

_POLICIES = {
    "reject": service.NON_FINITE_POLICY_REJECT,
    "propagate": service.NON_FINITE_POLICY_PROPAGATE,
}


@dataclass(frozen=True, slots=True)
class AugmentedSamples:
    """Other samples, and with whom they were mixed."""

    samples: npt.NDArray[Any]
    """Of the shape and the data type of those that were given."""

    partners: npt.NDArray[np.int64] | None
    """Index, among all samples, of each one's partner; None where nothing mixes them."""

    shares: npt.NDArray[np.float64] | None
    """How much of itself each one kept: a label is to become share · own + (1 - share) · partner's."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: a header, and the samples' elements as they travel."""

    header: bytes
    elements: npt.NDArray[Any]
    begin: int
    """Index of their first element in the vector of all samples."""
    chunk_bytes: int

    def messages(self) -> Iterator[bytes]:
        """The messages of the stream, the header with the first chunk."""
        raw = self.elements.view(np.uint8).data
        most = self.chunk_bytes // self.elements.itemsize * self.elements.itemsize
        header = self.header
        for first in range(0, max(len(raw), 1), most):
            payloads = {"parameters": [raw[first : first + most]]} if len(raw) else {}
            yield wire.encode_request(header, self.begin + first // self.elements.itemsize, payloads)
            header = b""


def request_of(
    samples: npt.NDArray[Any],
    transformations: Sequence[Transformation],
    *,
    seed: int,
    epoch: int,
    first: int,
    total: int | None,
    non_finite: NonFinite,
    chunk_bytes: int,
) -> Request:
    """Return the request.

    Raises:
        ArgumentError: If the arguments do not fit together.
    """
    if not samples.ndim:
        raise ArgumentError("samples must have an axis along which they are counted")
    if non_finite not in _POLICIES:
        raise ArgumentError(f"non_finite must be one of {', '.join(_POLICIES)}, got {non_finite!r}")
    count, *shape = samples.shape
    data_type = wire_type(samples.dtype, "samples")
    try:
        header = v1.AugmentHeader(
            data_type=schema_type(data_type),
            sample_shape=shape,
            samples=first + count if total is None else total,
            sample_range=v1.SampleRange(begin=first, end=first + count),
            seed=seed,
            epoch=epoch,
            transformations=[_choice(each) for each in transformations],
            non_finite_policy=_POLICIES[non_finite],
        )
    except ValueError as error:
        raise ArgumentError(f"seed, epoch, first and total must be in range: {error}") from error
    elements = np.ascontiguousarray(samples).reshape(-1).astype(data_type, copy=False)
    begin = first * (elements.size // count if count else 0)
    return Request(header.SerializeToString(), elements, begin, chunk_bytes)


class AnswerReader:
    """Reads the answer, one message after the other.

    Args:
        request: What was asked.
        shape: Of all samples at hand.
        data_type: Of the result.
        first: Index of the first sample.
    """

    def __init__(
        self, request: Request, shape: tuple[int, ...], data_type: np.dtype[Any], first: int
    ) -> None:
        self._request = request
        self._shape = shape
        self._data_type = data_type
        self._first = first
        self._out = np.empty(request.elements.size, request.elements.dtype)
        self._position = 0
        self._partners: list[int] = []
        self._shares: list[float] = []

    def take(self, message: bytes) -> None:
        """Take the next message.

        Raises:
            ProtocolError: If it is none of the schema, or not one that is due.
        """
        try:
            response = v1.AugmentResponse.FromString(message)
        except DecodeError as error:
            raise ProtocolError("a message of the answer is not one of the schema") from error
        if response.HasField("mixes"):
            self._take_mixes(response.mixes)
        if response.HasField("chunk"):
            self._take_elements(response.chunk.element_offset, response.chunk.values)

    def answer(self) -> AugmentedSamples:
        """Return the answer, once it has ended.

        Raises:
            TruncatedStreamError: If samples are missing.
            ProtocolError: If the partners are not those of all samples.
        """
        if self._position < self._out.size:
            text = f"the answer ended after {self._position} of {self._out.size} elements"
            raise TruncatedStreamError(text)
        mixed = len(self._partners)
        if mixed not in (0, self._shape[0]):
            raise ProtocolError(f"the answer has {mixed} partners, where {self._shape[0]} are due")
        samples = self._out.astype(self._data_type, copy=False).reshape(self._shape)
        if not mixed:
            return AugmentedSamples(samples, None, None)
        return AugmentedSamples(samples, np.array(self._partners, np.int64), np.array(self._shares))

    def _take_elements(self, offset: int, raw: bytes) -> None:
        if len(raw) % self._out.itemsize:
            raise ProtocolError(f"the answer has {len(raw)} bytes, which are not whole elements")
        values = np.frombuffer(raw, self._out.dtype)
        due = self._request.begin + self._position
        if offset != due or values.size > self._out.size - self._position:
            raise ProtocolError(f"the answer has {values.size} elements from {offset}, where {due} is due")
        self._out[self._position : self._position + values.size] = values
        self._position += values.size

    def _take_mixes(self, mixes: v1.SampleMixes) -> None:
        due = self._first + len(self._partners)
        fits = len(mixes.partners) == len(mixes.shares) <= self._shape[0] - len(self._partners)
        if mixes.first_sample != due or not fits:
            raise ProtocolError(f"the answer has partners from {mixes.first_sample}, where {due} is due")
        self._partners += mixes.partners
        self._shares += mixes.shares


def _choice(transformation: Transformation) -> v1.Transformation:
    if isinstance(transformation, v1.Transformation):
        return transformation
    known = isinstance(transformation, Message)
    kind = _KINDS.get(transformation.DESCRIPTOR.full_name) if known else None
    if kind is None:
        names = ", ".join(name.rpartition(".")[2] for name in _KINDS)
        raise ArgumentError(f"a transformation must be one of {names}, got {type(transformation).__name__}")
    choice = v1.Transformation()
    getattr(choice, kind).SetInParent()
    getattr(choice, kind).CopyFrom(transformation)
    return choice
