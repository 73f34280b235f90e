"""Where elements are read from and written to: arrays here, files in ``_files``."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from regularization.sparse import SparseElements

_LITTLE = sys.byteorder == "little"

Elements = npt.NDArray[Any] | SparseElements
"""Elements of a result: ``numpy.asarray`` makes an array of both."""


class Source(Protocol):
    """The elements of one tensor, in row-major order."""

    def read(self, begin: int, end: int) -> bytes | memoryview:
        """Return the little-endian bytes of elements begin to end, at least one.

        It may be called from another thread, and from the start again where a call is replayed.
        """


class Sink(Protocol):
    """Takes the elements of one tensor, in row-major order, each once."""

    def write(self, begin: int, values: Elements) -> None:
        """Store the elements from begin on; each call begins where the last one ended."""


class ArrayStore:
    """An array as source and sink, whatever its strides and byte order, without a copy of the whole.

    Args:
        array: The array, of any shape.
    """

    __slots__ = ("array",)

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array

    def read(self, begin: int, end: int) -> memoryview:
        """See ``Source.read``."""
        stretch: npt.NDArray[Any] = self._elements()[begin:end]
        if not (_LITTLE and self.array.dtype.isnative):
            stretch = stretch.astype(self.array.dtype.newbyteorder("<"), copy=False)
        return stretch.view(np.uint8).data

    def write(self, begin: int, values: Elements) -> None:
        """See ``Sink.write``."""
        elements = self._elements()
        if isinstance(values, SparseElements) and isinstance(elements, np.ndarray):
            values.write_into(elements[begin : begin + values.size])
        else:
            elements[begin : begin + values.size] = np.asarray(values)

    def _elements(self) -> Any:
        """Return the elements in row-major order, to be sliced."""
        # Where a call's memory is shared nobody asks for them, so they are not made before.
        return self.array.reshape(-1) if self.array.flags.c_contiguous else self.array.flat
