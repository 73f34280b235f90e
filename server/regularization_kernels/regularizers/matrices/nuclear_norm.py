"""The nuclear norm: low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array, StepSize
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ...summation import ExactSum
from .base import MatrixRegularizer, axis_of_rows, rank_tolerance
from .gram_factors import gram_factors
from .linear_algebra import put_together, singular_value_decomposition, singular_values


@register("nuclear_norm")
@dataclass(frozen=True, slots=True)
class NuclearNorm(MatrixRegularizer):
    """Sum of the singular values σ of a matrix, ``strength * sum(σ)``.

    The rank tolerance is ``max(m, n) * eps * σ_1``, with eps of the layout's data type.

    The singular value decomposition is LAPACK's, on one thread: its last bits,
    unlike those of the other regularizers, may differ between builds of LAPACK.

    Cost: one singular value decomposition, O(m·n·min(m, n)); of a step half as much or less, the less
    the fewer remain, in all data types but float64, where the threshold is not too small a part of σ_1
    (``gram_factors``). Source: Cai, Candès and Shen (2010), A singular value thresholding algorithm for
    matrix completion; gradient: Watson (1992).
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    axis: int | None = axis_of_rows()

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="low rank of a matrix",
        penalty="strength * sum of singular values",
        terms="the sum of the singular values, rounded once, at the first element; scale: strength",
        gradient="strength * U V', over the singular values above the rank tolerance",
        prox="U max(singular values - step_size * strength, 0) V'",
        source="Cai, Candes and Shen 2010",
    )

    def term(self, x: Float64Array, data_type: DataType) -> float:
        """The sum of the singular values."""
        del data_type
        return ExactSum.of(singular_values(x)).value

    def slope(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write strength·U·Vᵀ over the singular values that are not 0."""
        u, values, vt = singular_value_decomposition(x)
        # As far as the elements' data type can tell, these are not 0; NaN counts.
        rank = np.count_nonzero(~(values <= rank_tolerance(x.shape, values, data_type)))
        kept = np.where(np.arange(values.size) < rank, self.strength, 0.0)
        put_together(u, np.where(np.isnan(values), np.nan, kept), vt, out)

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the matrix with its singular values soft-thresholded."""
        threshold = float(step_size * self.strength)
        if threshold == 0 and np.isfinite(x).all():
            np.copyto(out, x)  # a decomposition put together again is not the matrix to the bit
            return
        factors = gram_factors(x, threshold, data_type)
        if factors is not None:
            np.add(factors.surplus(x, threshold), 0.0, out=out)  # no negative zeros
            return
        u, values, vt = singular_value_decomposition(x)
        put_together(u, np.maximum(values - threshold, 0.0), vt, out)
