"""The border of formats: little-endian bytes on the wire on one side, arrays of the engine on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from regularization_kernels.engine import Chunk
from regularization_kernels.errors import ChunkSizeInvalid, OperandSizeMismatch

if TYPE_CHECKING:
    from regularization.v1.tensor_pb2 import TensorChunk

    from .frames import ChunkFrame

FloatArray = npt.NDArray[np.floating[Any]]
"""float32 or float64."""

OPERANDS = ("loss_gradients", "reference", "weights", "step_scales")
"""The optional operands of a chunk, by the name of their field here and in the engine."""


def chunk_of(message: TensorChunk | ChunkFrame, data_type: np.dtype[np.floating]) -> Chunk:
    """The engine's view of a chunk's bytes.

    Raises:
        ChunkSizeInvalid: If the bytes of the parameters are not whole elements.
        OperandSizeMismatch: If an operand has another number of bytes than the parameters.
    """
    # Each reading of a message's bytes makes a new object, so each is read once.
    offset = message.element_offset
    parameters = message.parameters
    if len(parameters) % data_type.itemsize:
        text = f"must have whole elements of {data_type.itemsize} bytes each, got {len(parameters)} bytes"
        raise ChunkSizeInvalid(text, field="chunk.parameters", element=offset)
    operands = {name: getattr(message, name) for name in OPERANDS}
    for name, operand in operands.items():
        if operand and len(operand) != len(parameters):
            text = f"must have the {len(parameters)} bytes of the parameters, or none, got {len(operand)}"
            raise OperandSizeMismatch(
                text, field=f"chunk.{name}", element=offset, expected=len(parameters), received=len(operand)
            )
    arrays = {name: _array_of(operand, data_type) for name, operand in operands.items() if operand}
    return Chunk(offset, _array_of(parameters, data_type), **arrays)


def bytes_of(values: FloatArray) -> memoryview:
    """The bytes of a stretch of the result."""
    raw: memoryview = values.astype(values.dtype.newbyteorder("<"), order="C", copy=False).data.cast("B")
    return raw


def _array_of(raw: bytes | memoryview, data_type: np.dtype[np.floating]) -> FloatArray:
    array = np.frombuffer(raw, data_type.newbyteorder("<"))
    # Only what stands askew in its message, or comes to a machine of another byte order, is copied.
    return array.astype(data_type, copy=not array.flags.aligned)
