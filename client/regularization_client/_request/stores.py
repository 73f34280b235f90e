"""Where elements are read from and written to: arrays here, files in ``_files``."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from regularization.sparse import SparseElements

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

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array
        self._elements: Any = array.reshape(-1) if array.flags.c_contiguous else array.flat
        self._wire_type = array.dtype.newbyteorder("<")

    def read(self, begin: int, end: int) -> memoryview:
        """See ``Source.read``."""
        stretch: npt.NDArray[Any] = self._elements[begin:end]
        return stretch.astype(self._wire_type, copy=False).view(np.uint8).data

    def write(self, begin: int, values: Elements) -> None:
        """See ``Sink.write``."""
        if isinstance(values, SparseElements) and isinstance(self._elements, np.ndarray):
            values.write_into(self._elements[begin : begin + values.size])
        else:
            self._elements[begin : begin + values.size] = np.asarray(values)
