"""The spectral norm: a small largest singular value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from .base import MatrixRegularizer
from .linear_algebra import put_together, singular_value_decomposition, singular_values

_HUGE = 1e290
_SHRINKING = 2.0**-64
"""What makes sums of huge numbers finite."""


@register("spectral_norm")
@dataclass(frozen=True, slots=True)
class SpectralNorm(MatrixRegularizer):
    """The largest singular value σ_1 of a matrix, ``strength * σ_1``.

    Prox: ``U * (σ - P(σ)) @ V'`` with P the projection onto the L1 ball of radius ``step_size *
    strength``: all singular values above one level are cut off at it. Gradient: ``strength * U_1 @ V_1'
    / m``, with U_1 and V_1 the m singular vectors whose singular values are within ``max(rows, columns)
    * eps * σ_1`` of σ_1, with eps of the layout's data type; 0 for a zero matrix.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Parikh and Boyd (2014), Proximal
    algorithms, 6.7.2; gradient: Watson (1992).
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
        title="a small largest singular value: a small Lipschitz constant",
        penalty="strength * largest singular value",
        terms="the largest singular value, at the first element; scale: strength",
        gradient="strength * U1 V1' / m, over the m largest singular values that are equal to rounding",
        prox="U (singular values - their projection onto the L1 ball of radius step_size * strength) V'",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Parikh and Boyd 2014",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the largest singular value, at the place of the matrix's first element."""
        if x.size:
            sums.add_at(np.array([position]), singular_values(x)[:1])

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength times the mean of the outer products that belong to the largest singular value."""
        u, values, vt = singular_value_decomposition(x)
        largest = values[:1]
        ties = (values >= largest - self.rank_tolerance(x.shape, values)) & (largest > 0)
        weights = np.where(ties, self.strength / max(int(np.count_nonzero(ties)), 1), 0.0)
        put_together(u, np.where(np.isnan(values), np.nan, weights), vt, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the matrix with its largest singular values cut off at one level."""
        radius = step_size * self.strength
        if np.all(radius == 0) and np.isfinite(x).all():
            np.copyto(out, x)  # a decomposition put together again is not the matrix to the bit
            return
        u, values, vt = singular_value_decomposition(x)
        # What is cut off adds up to the radius: from the largest on, as long as all that are cut off exceed
        # the level (Duchi et al. 2008).
        counts = np.arange(1, values.size + 1)
        shrinking = _SHRINKING if np.any(values > _HUGE) else 1.0
        levels = (np.cumsum(values * shrinking) - radius * shrinking) / counts / shrinking
        cut = int(np.count_nonzero(values > levels))
        level = max(float(levels[cut - 1]), 0.0) if cut else np.inf
        put_together(u, np.minimum(values, level), vt, out)
