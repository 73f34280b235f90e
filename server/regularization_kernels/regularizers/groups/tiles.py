"""Tiles of a matrix, or of a weight with two first axes, as groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from .partitions import Partition

SIDE = 4
"""Rows and columns of a tile where nothing else is said."""


class Tiles(Partition):
    """Tiles of the first two axes of an array of shape (rows · height, columns · width, inner).

    There is one for each place along the inner axis. A row of tiles is contiguous: after these the segment
    may be cut. All lengths are >= 1, but for ``rows``.

    Args:
        rows: Rows of tiles.
        columns: Tiles of such a row, at each place along the inner axis.
        inner: Length of that axis.
        sides: Height and width of a tile.
    """

    __slots__ = ("_rows", "_shape")

    def __init__(self, rows: int, columns: int, inner: int, sides: tuple[int, int] = (SIDE, SIDE)) -> None:
        super().__init__(rows * columns * inner)
        self._rows = rows
        self._shape = (rows, sides[0], columns, sides[1], inner)

    @property
    def _sides(self) -> tuple[int, int]:
        _, height, _, width, _ = self._shape
        return height, width

    @property
    def _row(self) -> int:
        """Elements of a row of tiles."""
        return math.prod(self._shape[1:])

    def tiles(self, values: Float64Array) -> Float64Array:
        """A copy of the elements, ``(count, size)``: those of a tile in the order of the segment."""
        copied = values.reshape(self._shape).transpose(0, 2, 4, 1, 3).copy()
        return copied.reshape(self.count, math.prod(self._sides))

    def spread(self, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write values that come one tile after the other to the places of their elements."""
        rows, height, columns, width, inner = self._shape
        shaped = values.reshape(rows, columns, inner, height, width)
        np.copyto(out.reshape(self._shape), shaped.transpose(0, 3, 1, 4, 2))

    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each group's first element."""
        rows, _, columns, width, inner = self._shape
        row = np.arange(rows, dtype=np.int64)[:, np.newaxis, np.newaxis] * self._row
        column = np.arange(columns, dtype=np.int64)[:, np.newaxis] * (width * inner)
        starts: npt.NDArray[np.int64] = (row + column + np.arange(inner, dtype=np.int64)).reshape(-1)
        return starts

    def smallest_size(self) -> int:
        """The least number of elements of a group."""
        return math.prod(self._sides)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Each group's number of elements."""
        return np.full(self.count, math.prod(self._sides), dtype=np.int64)

    def sqrt_sizes(self) -> Float64Array | float:
        """The square root of the groups' number of elements."""
        return math.sqrt(math.prod(self._sides))

    def sums(self, terms: Float64Array) -> Float64Array:
        """The sum of each group's terms, in the order of the segment's elements."""
        sums: Float64Array = np.add.reduce(self.tiles(terms), axis=1)
        return sums

    def maxima(self, values: Float64Array) -> Float64Array:
        """The largest of each group's values."""
        maxima: Float64Array = np.max(self.tiles(values), axis=1, initial=0.0)
        return maxima

    def apply(
        self, operation: Callable[..., Any], x: Float64Array, values: Float64Array, out: Float64Array
    ) -> None:
        """Write ``operation(element, its group's value)`` for every element; ``out`` may be x."""
        rows, _, columns, _, inner = self._shape
        operation(
            x.reshape(self._shape), values.reshape(rows, 1, columns, 1, inner), out=out.reshape(self._shape)
        )

    def gathered(self, values: Float64Array) -> Float64Array:
        """The values of one group after those of another."""
        return self.tiles(values).reshape(-1)

    def cut(self, position: int) -> int:
        """The last end of a row of tiles at or before ``position``."""
        return min(position, self._rows * self._row) // self._row * self._row

    def restricted(self, begin: int, end: int) -> Partition:
        """The tiles of the rows between two ends of rows of tiles."""
        _, _, columns, _, inner = self._shape
        return Tiles((end - begin) // self._row, columns, inner, self._sides)
