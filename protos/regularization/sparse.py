"""Elements that are mostly zero as bytes: a bitmap of those that are not, and these alone.

Written by hand, for both ends; ``ResultChunk`` says what it means. An element is zero where all its bits
are: a negative zero and a NaN stay what they are, to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]

_LEAD = 6
"""Bytes that a bitmap takes beside its own, at most: tag and length."""


def packed(elements: AnyArray) -> tuple[memoryview, memoryview] | None:
    """Nonzeros, little-endian, and bitmap of a contiguous array; None where these are not fewer bytes.

    To find out costs one pass over the elements, whatever comes of it.
    """
    bits = elements.view(np.dtype(f"u{elements.itemsize}").newbyteorder(elements.dtype.byteorder))
    marked = np.not_equal(bits, 0)
    nonzeros = int(np.count_nonzero(marked))
    if nonzeros * elements.itemsize + -(-elements.size // 8) + _LEAD >= elements.nbytes:
        return None
    # Several times as fast as indexing with the marks themselves.
    values = bits.take(np.flatnonzero(marked)).astype(bits.dtype.newbyteorder("<"), copy=False)
    return values.view(np.uint8).data, np.packbits(marked, bitorder="little").data


class SparseElements:
    """Elements as they came: cut like an array, and written where they belong.

    Args:
        size: How many elements there are.
        bitmap: One bit for each.
        values: Those that are not zero.

    Raises:
        ValueError: If these do not fit each other.
    """

    def __init__(self, size: int, bitmap: bytes | memoryview, values: AnyArray) -> None:
        if len(bitmap) != -(-size // 8) or (size % 8 and bitmap[-1] >> size % 8):
            raise ValueError(f"a bitmap of {len(bitmap)} bytes does not fit {size} elements")
        marked = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=size, bitorder="little")
        self.size = size
        self._places = np.flatnonzero(marked.view(np.bool_))
        self._values = values
        if self._places.size != values.size:
            raise ValueError(
                f"a bitmap that marks {self._places.size} elements does not fit {values.size} values"
            )

    def __getitem__(self, stretch: slice) -> SparseElements:
        begin, end, _ = stretch.indices(self.size)
        if (begin, end) == (0, self.size):
            return self
        first, last = np.searchsorted(self._places, (begin, end))
        part = object.__new__(SparseElements)
        part.size = max(end - begin, 0)
        part._places = self._places[first:last] - begin
        part._values = self._values[first:last]
        return part

    def write_into(self, out: AnyArray) -> None:
        """Write every element, zeros too, into an array of the same size."""
        out[...] = 0
        out[self._places] = self._values

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> AnyArray:
        del copy
        out = np.empty(self.size, self._values.dtype if dtype is None else dtype)
        self.write_into(out)
        return out
