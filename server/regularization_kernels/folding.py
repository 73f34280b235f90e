"""A segment of several axes as a matrix: one axis makes its rows, or its columns, and the others the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .arrays import Float64Array
from .errors import FieldOutOfRange
from .formats import Grid
from .regularizer import Range, parameter

_AXIS = Range(">= 0 and below the number of axes", lambda axis: axis >= 0, whole=True)


def axis_parameter(words: str, symbol: str) -> Any:
    """A parameter that chooses one of a segment's axes, or none."""
    return parameter(_AXIS, words, symbol=symbol, default=None)


@dataclass(frozen=True, slots=True)
class Folding:
    """How a segment's elements lie in a matrix."""

    lengths: tuple[int, ...]
    """Of the segment's axes."""
    order: tuple[int, ...]
    """The segment's axes as the matrix has them."""
    shape: tuple[int, int]
    """Rows and columns."""
    copies: bool
    """Whether the matrix lies otherwise than the segment."""

    @classmethod
    def rows_along(cls, shape: tuple[int, ...], axis: int | None) -> Self:
        """The matrix whose rows are the slices along an axis, the first unless given.

        Raises:
            FieldOutOfRange: If there is no such axis.
        """
        require_axis(shape, axis)
        axis = axis or 0
        others = _without(shape, axis)
        matrix = (shape[axis], math.prod(_lengths(shape, others)))
        return cls(shape, (axis, *others), matrix, axis != 0)

    @classmethod
    def lines_along(cls, shape: tuple[int, ...], axis: int | None) -> Self:
        """The matrix whose rows are the lines along an axis, the last unless given; a scalar is one line.

        Raises:
            FieldOutOfRange: If there is no such axis.
        """
        require_axis(shape, axis)
        if not shape:
            return cls((), (), (1, 1), False)
        axis = len(shape) - 1 if axis is None else axis
        others = _without(shape, axis)
        matrix = (math.prod(_lengths(shape, others)), shape[axis])
        return cls(shape, (*others, axis), matrix, math.prod(shape[axis + 1 :]) != 1)

    def matrix(self, x: Float64Array) -> Float64Array:
        """The elements as a matrix: a view where the segment lies like it, else a copy."""
        if not self.copies:
            return x.reshape(self.shape)
        # A copy always, also where a view would do: ``write`` computes in it.
        return x.reshape(self.lengths).transpose(self.order).copy().reshape(self.shape)

    def segment(self, matrix: Float64Array) -> Float64Array:
        """The elements of a matrix in the segment's order."""
        if not self.copies:
            return matrix.reshape(self.lengths)
        segment = np.empty(self.lengths)
        self._as_lies(segment)[...] = self._unmerged(matrix)
        return segment

    def write(
        self, compute: Callable[[Float64Array, Float64Array], None], x: Float64Array, out: Float64Array
    ) -> None:
        """Write into ``out`` what ``compute(matrix, result)`` makes of x; matrix and result may be one."""
        matrix = self.matrix(x)
        if not self.copies:
            compute(matrix, out.reshape(self.shape))
            return
        compute(matrix, matrix)
        self._as_lies(out)[...] = self._unmerged(matrix)

    def grid(self, grid: Grid) -> Grid:
        """The numbers of a data type at the matrix's elements."""
        reference = grid.reference
        return Grid(grid.data_type, None if reference is None else self.matrix(reference))

    def place(self, element: int) -> int:
        """Where an element of the matrix lies in the segment."""
        if not self.copies:
            return element
        at = np.unravel_index(element, _lengths(self.lengths, self.order))
        back = [0] * len(self.order)
        for axis, index in zip(self.order, at, strict=True):
            back[axis] = int(index)
        return int(np.ravel_multi_index(back, self.lengths))

    def _as_lies(self, segment: Float64Array) -> Float64Array:
        return segment.reshape(self.lengths).transpose(self.order)

    def _unmerged(self, matrix: Float64Array) -> Float64Array:
        return matrix.reshape(_lengths(self.lengths, self.order))


def require_axis(shape: tuple[int, ...], axis: int | None) -> None:
    """Check that a shape has an axis.

    Raises:
        FieldOutOfRange: If not.
    """
    if axis is not None and axis >= len(shape):
        raise FieldOutOfRange(f"must be below the segment's {len(shape)} axes, got {axis}", field="axis")


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(len(shape)) if other != axis)


def _lengths(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in axes)
