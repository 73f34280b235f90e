"""The response messages of the methods whose answers are more than figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regularization import sparse, wire
from regularization.v1.layout_pb2 import ElementRange
from regularization.v1.regularization_service_pb2 import CombineResponse
from regularization_kernels.engine import Round

from .tensors import bytes_of

if TYPE_CHECKING:
    from regularization.v1.summary_pb2 import Summary
    from regularization_kernels.engine import Combination, ResultChunk


@dataclass(slots=True)
class Answer:
    """A response message."""

    chunk: ResultChunk | None = None
    summary: Summary | None = None
    may_be_sparse: bool = False
    """Whether the chunk may be written as bitmap and nonzeros; it is where that is smaller."""

    def to_bytes(self) -> bytes:
        """The message's bytes, as protobuf writes them."""
        return wire.encode_response(self._result(), self.summary)

    def _result(self) -> wire.Result | None:
        if self.chunk is None:
            return None
        offset, values = self.chunk.element_offset, self.chunk.values
        packed = sparse.packed(values) if self.may_be_sparse else None
        if packed is None:
            return wire.Result(offset, bytes_of(values))
        return wire.Result(offset, *packed)


def combined(parts: Combination) -> CombineResponse:
    """The answer to the statistics of parts: what they give together, or what is known then."""
    missing, measured = parts.missing(), _ranges(parts.first_measured())
    if missing:
        return CombineResponse(statistics=parts.statistics(), missing=_ranges(missing), measured=measured)
    after = parts.measurement()
    return CombineResponse(
        measurement=after.written(),
        complete=after.is_complete,
        missing=_ranges(Round.after(after).missing()),
        measured=measured,
    )


def _ranges(ranges: list[tuple[int, int]]) -> list[ElementRange]:
    return [ElementRange(begin=begin, end=end) for begin, end in ranges]
