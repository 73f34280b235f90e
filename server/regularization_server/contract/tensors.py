"""The border of formats: little-endian bytes on the wire on one side, arrays of the engine on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from regularization_kernels.engine import Chunk, Operand
from regularization_kernels.errors import OperandSizeMismatch

from .refusals import ChunkSizeInvalid

if TYPE_CHECKING:
    from mmap import mmap

    from regularization import wire
    from regularization_kernels.arrays import DataType
    from regularization_kernels.engine import ElementArray

OPERANDS = tuple(operand.value for operand in Operand)
"""The optional operands of a chunk, by the name of their field here and in the engine."""


def chunk_of(message: wire.Chunk, data_type: DataType) -> Chunk:
    """The engine's view of a chunk's bytes.

    Raises:
        ChunkSizeInvalid: If the bytes of the parameters are not whole elements.
        OperandSizeMismatch: If an operand has another number of bytes than the parameters.
    """
    offset, parameters = message.element_offset, message.parameters
    if len(parameters) % data_type.itemsize:
        text = f"must have whole elements of {data_type.itemsize} bytes each, got {len(parameters)} bytes"
        raise ChunkSizeInvalid(text, field="parameters", element=offset)
    operands = {name: getattr(message, name) for name in OPERANDS}
    for name, operand in operands.items():
        if operand and len(operand) != len(parameters):
            text = f"must have the {len(parameters)} bytes of the parameters, or none, got {len(operand)}"
            raise OperandSizeMismatch(
                text, field=name, element=offset, expected=len(parameters), received=len(operand)
            )
    arrays = {name: _array_of(operand, data_type) for name, operand in operands.items() if operand}
    return Chunk(offset, _array_of(parameters, data_type), **arrays)


def elements_at(memory: mmap, begin: int, end: int, data_type: DataType) -> ElementArray:
    """The elements in a stretch of memory that is shared with a client, as they lie there: nothing is copied.

    Both are on one machine, so they are in its byte order.

    Args:
        memory: All of it.
        begin: Byte where the first element begins.
        end: One past the last element's last byte.
        data_type: Of the elements.
    """
    return np.frombuffer(memoryview(memory)[begin:end], data_type)


def bytes_of(values: ElementArray) -> memoryview:
    """The bytes of a stretch of the result."""
    bits = values.view(np.dtype(f"u{values.itemsize}").newbyteorder(values.dtype.byteorder))
    raw: memoryview = bits.astype(f"<u{values.itemsize}", order="C", copy=False).data.cast("B")
    return raw


def _array_of(raw: bytes | memoryview, data_type: DataType) -> ElementArray:
    # As integers, for those of every size have both byte orders. Elements that are not aligned in their
    # message stay where they are: the engine reads them in place.
    bits = np.frombuffer(raw, f"<u{data_type.itemsize}")
    return bits.astype(f"u{data_type.itemsize}", copy=False).view(data_type)
