"""A bound on the largest singular value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT32, DataType, Float64Array, StepSize
from ...formats import Grid, slack
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .balls import SpectralNormBall
from .base import SpectralSet, axis_of_rows
from .blas import held_blas
from .gram_factors import GramFactors, gram_factors
from .linear_algebra import EPSILON, lapack_error, largest_at_most, put_together

_SHARE = 1 / 32
"""Of what is overlooked in float32, this much is left for the errors of a step by way of the Gram matrix."""


@register("spectral_ball")
@dataclass(frozen=True, slots=True)
class SpectralBall(SpectralNormBall):
    """0 where the largest singular value of a matrix is at most ``radius``, infinite otherwise.

    A matrix inside stays as it is to the bit. The largest singular value is outside where it exceeds the
    radius by more than two units in the last place, and LAPACK's own errors; what is rounded to 16 bits or to
    fixed point is made smaller, so that it is inside.

    Cost: one singular value decomposition, O(m·n·min(m, n)); of a step half as much, in all data types but
    float64, where the radius is not too small a part of the largest (``gram_factors``). Source: Lefkimmiatis,
    Ward and Unser (2013), Hessian Schatten-norm regularization for linear inverse problems.
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x")
    axis: int | None = axis_of_rows()

    traits: ClassVar[Traits] = Traits(convex=True, indicator=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description.of_set(
        title="a bound on the largest singular value: on the Lipschitz constant",
        penalty="0 if the largest singular value <= radius, infinity otherwise",
        prox="U min(singular values, radius) V'",
        source="Lefkimmiatis, Ward and Unser 2013",
    )

    def norm(self, singular_values: Float64Array) -> float:
        """The largest."""
        return float(singular_values[0])

    def growth(self, shape: tuple[int, ...]) -> float:
        """It is at most the norm of all elements."""
        del shape
        return 1.0

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the nearest matrix inside: x itself where it is."""
        most = _SHARE * slack(FLOAT32, 1, self.radius) if data_type == FLOAT32 else np.inf
        factors = gram_factors(x, self.radius, data_type, most)
        if factors is None or not self._step_with(factors, x, data_type, out):
            SpectralSet.step(self, x, step_size, data_type, out)

    def _step_with(
        self, factors: GramFactors, x: Float64Array, data_type: DataType, out: Float64Array
    ) -> bool:
        # Where the errors leave open on which side of the border the matrix is, nothing is done.
        excess = self.excess(x, factors.values, data_type)
        errors = factors.error * float(factors.values[0])
        if excess.got + errors <= excess.slack(0.5):
            np.copyto(out, x)
        elif excess.got - errors > excess.slack(0.5):
            np.subtract(x, factors.surplus(x, self.radius), out=out)
        else:
            return False
        return True

    def moved_inside(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set."""
        if grid.data_type == FLOAT32:
            moved = grid.points(numbers) - exact
            share = 0.5 - _SHARE
            if largest_at_most(moved, share * slack(grid.data_type, exact.size, self.radius)):
                return None
        return SpectralSet.moved_inside(self, exact, numbers, grid)

    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the matrix with its singular values cut off at the radius."""
        u, values, vt = factors
        if values[0] * EPSILON <= lapack_error(x.shape) * self.radius / 32:
            # Near enough that no digits are lost: take off what is too much.
            surplus = np.maximum(values - self.radius, 0.0)
            many = int(np.count_nonzero(surplus))
            with held_blas(x.size * many):
                np.subtract(x, (u[:, :many] * surplus[:many]) @ vt[:many], out=out)
        else:
            put_together(u, np.minimum(values, self.radius), vt, out)
