"""The spectral norm: a small largest singular value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array, StepSize
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import MatrixRegularizer, axis_of_rows, rank_tolerance
from .linear_algebra import put_together, singular_value_decomposition, singular_values

_HUGE = 1e290
_SHRINKING = 2.0**-64
"""What makes sums of huge numbers finite."""


@register("spectral_norm")
@dataclass(frozen=True, slots=True)
class SpectralNorm(MatrixRegularizer):
    """The largest singular value σ_1 of a matrix, ``strength * σ_1``.

    In the gradient, singular values count as equal to σ_1 that are within ``max(rows, columns) * eps * σ_1``
    of it, with eps of the layout's data type.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Parikh and Boyd (2014), Proximal
    algorithms, 6.7.2; gradient: Watson (1992).
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    axis: int | None = axis_of_rows()

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="a small largest singular value: a small Lipschitz constant",
        penalty="strength * largest singular value",
        terms="the largest singular value, at the first element; scale: strength",
        gradient="strength * U1 V1' / m, over the m largest singular values that are equal to rounding",
        prox="U (singular values - their projection onto the L1 ball of radius step_size * strength) V'",
        source="Parikh and Boyd 2014",
    )

    def term(self, x: Float64Array, data_type: DataType) -> float:
        """The largest singular value."""
        del data_type
        return float(singular_values(x)[0])

    def slope(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write strength times the mean of the outer products that belong to the largest singular value."""
        u, values, vt = singular_value_decomposition(x)
        largest = values[:1]
        ties = (values >= largest - rank_tolerance(x.shape, values, data_type)) & (largest > 0)
        weights = np.where(ties, self.strength / max(int(np.count_nonzero(ties)), 1), 0.0)
        put_together(u, np.where(np.isnan(values), np.nan, weights), vt, out)

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the matrix with its largest singular values cut off at one level."""
        del data_type
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
