"""A bound on the rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..errors import FieldOutOfRange
from ..formats import limits
from ..registry import register
from ..regularizer import FLOAT64, DataType, Description, Float64Array, Locality, Traits
from ..routines.linear_algebra import EPSILON, SpectralSet, put_together


@register("rank_ball")
@dataclass(frozen=True, slots=True)
class RankBall(SpectralSet):
    """0 where the rank of a matrix is at most ``rank``, infinite otherwise.

    Prox: the ``rank`` largest singular values stay, the others become 0: the nearest such matrix,
    whatever the step size; a matrix inside stays as it is to the bit. Where singular values are equal
    at the border, the nearest is one of several, and LAPACK's order decides. Gradient: 0 inside,
    undefined outside. Singular values up to ``max(m, n) * ((eps + 3 * 2**-52) * σ_1 + u)`` count as 0,
    with eps and the smallest number u of the layout's data type: rounding to it, and LAPACK's own
    errors, may put them there.

    Args:
        rank: How many singular values may stay, >= 0 and at most the shorter side.

    Raises:
        FieldOutOfRange: If rank is negative, or more than the matrix's shorter side.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Eckart and Young (1936), The
    approximation of one matrix by another of lower rank.
    """

    rank: int

    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=True,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="a bound on the rank",
        penalty="0 if the rank is at most rank, infinity otherwise",
        terms="0 inside, infinity outside, at the first element",
        gradient="0 inside, undefined outside",
        prox="U (singular values, those after the first rank set to 0) V'",
        parameters={"rank": "how many singular values may stay, >= 0 and <= the shorter side"},
        source="Eckart and Young 1936",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.rank < 0:
            raise FieldOutOfRange(f"must be >= 0, got {self.rank!r}", field="rank")

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer made ready for a matrix of this shape and data type."""
        ready = super(RankBall, self).on(shape, data_type)
        if self.rank > min(shape):
            text = f"must be at most the shorter side {min(shape)} of the matrix, got {self.rank!r}"
            raise FieldOutOfRange(text, field="rank")
        return ready

    def excess(self, shape: tuple[int, ...], singular_values: Float64Array) -> tuple[float, float]:
        """The first singular value that should be 0, and how large rounding may make it."""
        if self.rank >= singular_values.size:
            return 0.0, 0.0
        about = limits(self.data_type)
        precision = about.eps + 3.0 * EPSILON
        slack = max(shape) * (precision * float(singular_values[0]) + about.smallest_subnormal)
        return float(singular_values[self.rank]), slack

    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the matrix with its largest singular values alone."""
        del x
        u, values, vt = factors
        put_together(u, np.where(np.arange(values.size) < self.rank, values, values * 0.0), vt, out)
