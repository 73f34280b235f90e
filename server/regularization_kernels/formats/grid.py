"""The points that a result can be: the numbers of a data type less a reference."""

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
    """The numbers of a data type, and their points: the numbers less the reference.

    Numbers and points are float64 arrays, of the shape of the reference if there is one. The origin is a
    point, because the reference is a number of the data type.

    Args:
        data_type: The data type of results.
        reference: The reference of each element; None for 0.
    """

    data_type: DataType
    reference: npt.NDArray[Any] | None = None

    @property
    def largest(self) -> float:
        """The largest finite number of the data type."""
        return limits(self.data_type).max

    def points(self, numbers: Float64Array) -> Float64Array:
        """The points of numbers."""
        return numbers if self.reference is None else numbers - self.reference

    def flat(self) -> Grid:
        """The grid of flat arrays."""
        return Grid(self.data_type, None if self.reference is None else self.reference.reshape(-1))

    def part(self, places: npt.NDArray[np.int64]) -> Grid:
        """The grid of the elements at these places in flat arrays."""
        if self.reference is None:
            return self
        return Grid(self.data_type, self.reference.reshape(-1)[places])

    def nearest(self, points: Float64Array) -> Float64Array:
        """The finite numbers whose points are nearest to the given ones."""
        exact = points if self.reference is None else points + self.reference
        return self.finite(_wide(self._elements(exact)))

    def finite(self, numbers: Float64Array) -> Float64Array:
        """The numbers, clipped to the range of finite ones."""
        information = limits(self.data_type)
        return np.clip(numbers, information.min, information.max)

    def neighbours(self, numbers: Float64Array, upwards: npt.NDArray[np.bool_]) -> Float64Array:
        """The next number up or down; the last one has itself."""
        return self.finite(_wide(next_inwards(self._elements(numbers), upwards)))

    def below(self, points: Float64Array) -> Float64Array:
        """The largest numbers in range whose points are not above the given ones."""
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
