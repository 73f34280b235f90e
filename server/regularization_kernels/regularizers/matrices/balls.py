"""What balls of norms of singular values share: rounding into them, and the level that takes off too much."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from ...arrays import FLOAT32, FLOAT64, DataType, Float64Array
from ...formats import Grid, slack, spacings
from .base import Excess, SpectralSet
from .linear_algebra import lapack_error, singular_values

_TRIALS = 5
_HUGE = 1e290
_SHRINKING = 2.0**-64
"""What makes sums of huge numbers finite."""


class SpectralNormBall(SpectralSet):
    """Matrices for which a norm of their singular values is at most a radius."""

    __slots__ = ()

    radius: float

    @abstractmethod
    def norm(self, singular_values: Float64Array) -> float:
        """The norm of a matrix with these singular values, descending."""

    @abstractmethod
    def growth(self, shape: tuple[int, int]) -> float:
        """By how much the norm may exceed that of all elements, as a factor: at least 1."""

    def excess(self, x: Float64Array, values: Float64Array, data_type: DataType) -> Excess:
        """By how much the norm is above the radius."""
        rounding = slack(data_type, x.size, self.radius) if data_type == FLOAT32 else 0.0
        errors = lapack_error(x.shape) * self.growth(x.shape) * self.radius
        errors += slack(FLOAT64, x.size, self.radius)
        return Excess(self.norm(values) - self.radius, rounding, errors)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Wherever anything is rounded: what an element loses says little of singular values."""
        del at_random
        return grid.reference is not None or grid.data_type != FLOAT64

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers for which the norm is at most the radius.

        The matrix is made smaller by what is too much, then by twice that and so on, is rounded and measured.
        After some trials it is made so small that it is inside: rounding to nearest adds to the norm of all
        elements no more than half a step in every element, and to this norm ``growth`` times that at most.
        """
        del numbers
        scale = 1.0
        for trial in range(_TRIALS):
            near = grid.nearest(scale * exact)
            excess = self.excess(exact, singular_values(grid.points(near)), grid.data_type)
            if excess.got <= 0.5 * excess.slack(0.5):
                return near
            scale -= 2**trial * excess.got / self.radius
            if scale <= 0:
                break
        ends = [np.zeros(exact.shape), exact]
        steps = np.maximum(*(spacings(grid.nearest(end), grid.data_type) for end in ends))
        half = 0.5 * math.sqrt(np.add.reduce(np.square(steps).reshape(-1)))
        scale = max(1.0 - self.growth(exact.shape) * half / self.radius, 0.0)
        near = grid.nearest(scale * exact)
        # Past the end of the data type's range more is lost than half a step; the origin is always inside.
        return near if self.contains(grid.points(near), grid.data_type) else grid.nearest(ends[0])


def cut_to_sum(values: Float64Array, total: float) -> Float64Array:
    """What is left of values when one level is taken off them, none falls below 0, and a total is left.

    It is reckoned in distances from the largest: the answer is as exact as the total is small, whatever the
    values are. Source: Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient projections onto the
    L1-ball.

    Args:
        values: ``(k,)``, >= 0, descending, k >= 1; their sum is above the total. NaN gives NaN.
        total: >= 0.
    """
    shrinking = _SHRINKING if max(float(values[0]), total) > _HUGE else 1.0
    below = (values[0] - values) * shrinking
    # Where the largest comes to lie, if so many are left.
    largest = (total * shrinking + np.cumsum(below)) / np.arange(1, values.size + 1)
    left = max(int(np.count_nonzero(below < largest)), 1)
    rest: Float64Array = np.maximum(largest[left - 1] - below, 0.0) / shrinking
    return rest
