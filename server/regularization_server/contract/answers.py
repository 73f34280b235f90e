"""The response messages of ``Gradient`` and ``ProximalStep``, as they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regularization import sparse, wire

from .tensors import bytes_of

if TYPE_CHECKING:
    from regularization.v1.summary_pb2 import Summary
    from regularization_kernels.engine import ResultChunk


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
