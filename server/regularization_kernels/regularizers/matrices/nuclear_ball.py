"""A bound on the sum of singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT32, Float64Array
from ...formats import Grid, slack
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ...summation import ExactSum
from .balls import SpectralNormBall, cut_to_sum
from .base import SpectralSet, axis_of_rows
from .linear_algebra import put_together


@register("nuclear_ball")
@dataclass(frozen=True, slots=True)
class NuclearBall(SpectralNormBall):
    """0 where the singular values of a matrix add up to at most ``radius``, infinite otherwise.

    A matrix inside stays as it is to the bit. The sum is outside where it exceeds the radius by more than two
    units in the last place, and LAPACK's own errors; a matrix that rounding leaves outside is made smaller,
    so that it is inside.

    Cost: one singular value decomposition, O(m·n·min(m, n)); one or two more of the singular values alone, in
    all data types but float64. Source: Cai, Candès and Shen (2010), A singular value thresholding algorithm
    for matrix completion; the level: Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient projections
    onto the L1-ball.
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x")
    axis: int | None = axis_of_rows()

    traits: ClassVar[Traits] = Traits(convex=True, indicator=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description.of_set(
        title="a bound on the sum of singular values: low rank",
        penalty="0 if the sum of singular values <= radius, infinity otherwise",
        prox="U (projection of the singular values onto the L1 ball of radius) V'",
        source="Cai, Candes and Shen 2010; Duchi, Shalev-Shwartz, Singer and Chandra 2008",
    )

    def norm(self, singular_values: Float64Array) -> float:
        """Their sum, rounded once."""
        return ExactSum.of(singular_values).value

    def growth(self, shape: tuple[int, ...]) -> float:
        """The root of their number, by the inequality of Cauchy and Schwarz."""
        return math.sqrt(min(shape))

    def moved_inside(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set."""
        if grid.data_type == FLOAT32:
            with np.errstate(over="ignore"):
                moved = np.square(grid.points(numbers) - exact)
            most = self.growth(exact.shape) * math.sqrt(np.add.reduce(moved.reshape(-1)))
            if most <= 0.5 * slack(grid.data_type, exact.size, self.radius):
                return None
        return SpectralSet.moved_inside(self, exact, numbers, grid)

    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the matrix with one level taken off its singular values."""
        del x
        u, values, vt = factors
        put_together(u, cut_to_sum(values, self.radius), vt, out)
