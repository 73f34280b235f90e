"""A bound on the largest singular value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import FieldOutOfRange
from ..formats import slack
from ..registry import register
from ..regularizer import Description, Float64Array, Locality, Traits
from ..routines.linear_algebra import EPSILON, SpectralSet, lapack_error, put_together, single_threaded_blas


@register("spectral_ball")
@dataclass(frozen=True, slots=True)
class SpectralBall(SpectralSet):
    """0 where the largest singular value of a matrix is at most ``radius``, infinite otherwise.

    Prox: ``U * min(σ, radius) @ V'``, the nearest such matrix, whatever the step size; a matrix inside
    stays as it is to the bit. Gradient: 0 inside, undefined outside. A largest singular value that
    exceeds the radius by no more than rounding to the layout's data type does, and LAPACK's own errors,
    is inside.

    Args:
        radius: Finite, >= 0; units of x.

    Raises:
        FieldOutOfRange: If radius is negative or not finite.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Lefkimmiatis, Ward and Unser (2013),
    Hessian Schatten-norm regularization for linear inverse problems.
    """

    radius: float

    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=False,
        indicator=True,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="a bound on the largest singular value: on the Lipschitz constant",
        penalty="0 if the largest singular value <= radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element",
        gradient="0 inside, undefined outside",
        prox="U min(singular values, radius) V'",
        parameters={"radius": "finite, >= 0; units of x"},
        source="Lefkimmiatis, Ward and Unser 2013",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not (math.isfinite(self.radius) and self.radius >= 0):
            raise FieldOutOfRange(f"must be finite and >= 0, got {self.radius!r}", field="radius")

    def excess(self, shape: tuple[int, ...], singular_values: Float64Array) -> tuple[float, float]:
        """By how much the largest is above the radius, and by how much rounding may put it there."""
        rows, columns = shape
        # The norm of all elements, which bounds their rounding errors, is this much larger at most.
        magnitude = math.sqrt(min(shape)) * self.radius
        rounding = slack(self.data_type, rows * columns, magnitude)
        return float(singular_values[0]) - self.radius, rounding + lapack_error(shape) * self.radius

    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the matrix with its singular values cut off at the radius."""
        u, values, vt = factors
        if values[0] * EPSILON <= lapack_error(x.shape) * self.radius / 32:
            # Near enough that no digits are lost: take off what is too much.
            surplus = np.maximum(values - self.radius, 0.0)
            many = int(np.count_nonzero(surplus))
            with single_threaded_blas(x.size * many):
                np.subtract(x, (u[:, :many] * surplus[:many]) @ vt[:many], out=out)
        else:
            put_together(u, np.minimum(values, self.radius), vt, out)
