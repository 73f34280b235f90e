"""A segment of two axes or more as a matrix: slices along one axis are its rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Float64Array
from ...errors import FieldOutOfRange, LayoutInvalid
from ...formats import Grid
from ...regularizer import Range, parameter

_AXIS = Range(">= 0 and below the number of axes", lambda axis: axis >= 0, whole=True)


def axis_of_rows() -> Any:
    """The parameter that says which axis's slices are the rows."""
    return parameter(
        _AXIS,
        "the first unless given; the other axes in their order are the columns",
        symbol="whose slices are the matrix's rows",
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Folding:
    """How a segment's elements lie in a matrix, ``(rows, columns)``."""

    lengths: tuple[int, ...]
    """Of the segment's axes."""
    axis: int
    """Whose slices are the rows."""

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: int | None, name: str) -> Folding:
        """The folding of a shape.

        Args:
            shape: Of the segment.
            axis: Whose slices are the rows; None for the first.
            name: Of the regularizer, for errors.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
            FieldOutOfRange: If there is no such axis.
        """
        if len(shape) < 2:
            raise LayoutInvalid(f"must have 2 axes or more for {name}, got {list(shape)}", field="shape")
        if axis is not None and axis >= len(shape):
            raise FieldOutOfRange(f"must be below the segment's {len(shape)} axes, got {axis}", field="axis")
        return cls(shape, axis or 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        columns = math.prod(self.lengths[: self.axis] + self.lengths[self.axis + 1 :])
        return self.lengths[self.axis], columns

    @property
    def copies(self) -> bool:
        """Whether the matrix lies otherwise than the segment."""
        return self.axis != 0

    def matrix(self, x: Float64Array) -> Float64Array:
        """The elements as a matrix: a view where the segment lies like it, else a copy."""
        if not self.copies:
            return x.reshape(self.shape)
        # A copy always, also where a view would do: ``write`` computes in it.
        return np.moveaxis(x, self.axis, 0).copy().reshape(self.shape)

    def segment(self, matrix: Float64Array) -> Float64Array:
        """The elements of a matrix in the segment's order."""
        if not self.copies:
            return matrix.reshape(self.lengths)
        return np.ascontiguousarray(np.moveaxis(self._unmerged(matrix), 0, self.axis))

    def write(
        self, compute: Callable[[Float64Array, Float64Array], None], x: Float64Array, out: Float64Array
    ) -> None:
        """Write into ``out`` what ``compute(matrix, result)`` makes of x; the two may be one."""
        matrix = self.matrix(x)
        if not self.copies:
            compute(matrix, out.reshape(self.shape))
            return
        compute(matrix, matrix)
        np.copyto(np.moveaxis(out, self.axis, 0), self._unmerged(matrix))

    def grid(self, grid: Grid) -> Grid:
        """The numbers of a data type at the matrix's elements."""
        reference = grid.reference
        return Grid(grid.data_type, None if reference is None else self.matrix(reference))

    def _unmerged(self, matrix: Float64Array) -> Float64Array:
        others = self.lengths[: self.axis] + self.lengths[self.axis + 1 :]
        return matrix.reshape(self.lengths[self.axis], *others)
