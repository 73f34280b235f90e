"""Runs along an axis that is not the last: their elements interleave with those of others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from .partitions import Partition


class InterleavedRuns(Partition):
    """Runs of the same size along the middle axis of an array of shape (blocks, size, inner).

    A block has one run for each place along the last axis, and is contiguous: between blocks the segment may
    be cut. All lengths are >= 1, but for ``blocks``.
    """

    __slots__ = ("_shape",)

    def __init__(self, blocks: int, size: int, inner: int) -> None:
        super().__init__(blocks * inner)
        self._shape = (blocks, size, inner)

    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each group's first element."""
        blocks, size, inner = self._shape
        first = np.arange(blocks, dtype=np.int64)[:, np.newaxis] * (size * inner)
        starts: npt.NDArray[np.int64] = (first + np.arange(inner, dtype=np.int64)).reshape(-1)
        return starts

    def smallest_size(self) -> int:
        """The least number of elements of a group."""
        return self._shape[1]

    def sizes(self) -> npt.NDArray[np.int64]:
        """Each group's number of elements."""
        return np.full(self.count, self._shape[1], dtype=np.int64)

    def sqrt_sizes(self) -> Float64Array | float:
        """The square root of the groups' number of elements."""
        return math.sqrt(self._shape[1])

    def sums(self, terms: Float64Array) -> Float64Array:
        """The sum of each group's terms, in the order of the segment's elements."""
        sums: Float64Array = np.add.reduce(self._rows(terms), axis=1)
        return sums

    def maxima(self, values: Float64Array) -> Float64Array:
        """The largest of each group's values."""
        maxima: Float64Array = np.max(self._rows(values), axis=1, initial=0.0)
        return maxima

    def apply(
        self, operation: Callable[..., Any], x: Float64Array, values: Float64Array, out: Float64Array
    ) -> None:
        """Write ``operation(element, its group's value)`` for every element; ``out`` may be x."""
        blocks, _, inner = self._shape
        operation(x.reshape(self._shape), values.reshape(blocks, 1, inner), out=out.reshape(self._shape))

    def gathered(self, values: Float64Array) -> Float64Array:
        """The values of one group after those of another."""
        return self._rows(values).reshape(-1)

    def spread(self, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write values that come one group after the other to the places of their elements."""
        blocks, size, inner = self._shape
        out.reshape(self._shape)[...] = values.reshape(blocks, inner, size).swapaxes(1, 2)

    def cut(self, position: int) -> int:
        """The last end of a block at or before ``position``."""
        blocks, size, inner = self._shape
        return min(position, blocks * size * inner) // (size * inner) * (size * inner)

    def restricted(self, begin: int, end: int) -> Partition:
        """The groups of the blocks between two ends of blocks."""
        _, size, inner = self._shape
        first, last = begin // (size * inner), end // (size * inner)
        part = InterleavedRuns(last - first, size, inner)
        part._weights = self._weights_of(first * inner, last * inner)
        return part

    def in_rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of the elements in which each group lies along the last axis."""
        return values.reshape(self._shape).swapaxes(1, 2)

    def _rows(self, values: Float64Array) -> Float64Array:
        return np.ascontiguousarray(self.in_rows(values)).reshape(self.count, self._shape[1])
