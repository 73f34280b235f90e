"""The nuclear norm: low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum, ExactSum
from .base import MatrixRegularizer
from .linear_algebra import put_together, singular_value_decomposition, singular_values


@register("nuclear_norm")
@dataclass(frozen=True, slots=True)
class NuclearNorm(MatrixRegularizer):
    """Sum of the singular values σ of a matrix, ``strength * sum(σ)``.

    Prox: ``U * max(σ - step_size * strength, 0) @ V'``. Gradient: ``strength * U @ V'`` over the singular
    values above the rank tolerance ``max(m, n) * eps * σ_1``, with eps of the layout's data type.

    The singular value decomposition is LAPACK's, on one thread: its last bits,
    unlike those of the other regularizers, may differ between builds of LAPACK.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Cai, Candès and Shen (2010), A singular
    value thresholding algorithm for matrix completion; gradient: Watson (1992).
    """

    strength: float

    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="low rank of a matrix",
        penalty="strength * sum of singular values",
        terms="the sum of the singular values, rounded once, at the first element; scale: strength",
        gradient="strength * U V', over the singular values above the rank tolerance",
        prox="U max(singular values - step_size * strength, 0) V'",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Cai, Candes and Shen 2010",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the sum of the singular values, at the place of the matrix's first element."""
        sums.add_at(np.array([position]), np.array([ExactSum.of(singular_values(x)).value]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·U·Vᵀ over the singular values that are not 0."""
        u, values, vt = singular_value_decomposition(x)
        kept = np.where(np.arange(values.size) < self.rank_of(x, values), self.strength, 0.0)
        put_together(u, np.where(np.isnan(values), np.nan, kept), vt, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the matrix with its singular values soft-thresholded."""
        threshold = step_size * self.strength
        if np.all(threshold == 0) and np.isfinite(x).all():
            np.copyto(out, x)  # a decomposition put together again is not the matrix to the bit
            return
        u, values, vt = singular_value_decomposition(x)
        put_together(u, np.maximum(values - threshold, 0.0), vt, out)
