"""Where a point may come to lie: the numbers of a data type, seen from a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .data_types import limits, numbers_of
from .nearest import next_inwards, round_into

if TYPE_CHECKING:
    from ..arrays import DataType, Float64Array


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers of a data type, and the points that they are once the reference is taken off.

    Numbers and points are float64 arrays, of the reference's shape where there is one. The origin is a point
    of the grid, because the reference is a number of the data type.

    Args:
        data_type: What results are rounded to.
        reference: What a set is moved by; None for 0.
    """

    data_type: DataType
    reference: npt.NDArray[Any] | None = None

    @property
    def largest(self) -> float:
        """The largest finite number of the data type."""
        return limits(self.data_type).max

    def points(self, numbers: Float64Array) -> Float64Array:
        """The numbers less the reference."""
        return numbers if self.reference is None else numbers - self.reference

    def flat(self) -> Grid:
        """The same of flat arrays."""
        return Grid(self.data_type, None if self.reference is None else self.reference.reshape(-1))

    def part(self, places: npt.NDArray[np.int64]) -> Grid:
        """The grid of the elements at these places of the flat arrays."""
        if self.reference is None:
            return self
        return Grid(self.data_type, self.reference.reshape(-1)[places])

    def nearest(self, points: Float64Array) -> Float64Array:
        """The numbers nearest to points plus the reference, at most the largest finite one."""
        exact = points if self.reference is None else points + self.reference
        return self.finite(_wide(self._elements(exact)))

    def finite(self, numbers: Float64Array) -> Float64Array:
        """The numbers, those past the largest finite one being that."""
        information = limits(self.data_type)
        return np.clip(numbers, information.min, information.max)

    def neighbours(self, numbers: Float64Array, upwards: npt.NDArray[np.bool_]) -> Float64Array:
        """The next number of each, up or down; of the last one itself."""
        return self.finite(_wide(next_inwards(self._elements(numbers), upwards)))

    def below(self, points: Float64Array) -> Float64Array:
        """The largest numbers whose points are not above the given ones, within the range."""
        numbers = self.nearest(points)
        above = self.points(numbers) > points
        return np.where(above, self.neighbours(numbers, np.zeros(numbers.shape, np.bool_)), numbers)

    def _elements(self, numbers: Float64Array) -> npt.NDArray[Any]:
        elements = np.empty(numbers.shape, self.data_type)
        with np.errstate(over="ignore"):
            round_into(np.ascontiguousarray(numbers).reshape(-1), elements.reshape(-1))
        return elements


def _wide(elements: npt.NDArray[Any]) -> Float64Array:
    return numbers_of(elements).astype(np.float64, copy=False)
