"""The nuclear norm: low rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..errors import LayoutInvalid
from ..linear_algebra import singular_value_decomposition
from ..registry import register
from ..regularizer import Description, FloatArray, Locality, Regularizer, StepSize, Traits, require_strength
from ..summation import BlockSum


@register("nuclear_norm")
@dataclass(frozen=True, slots=True)
class NuclearNorm(Regularizer):
    """Sum of the singular values σ of a matrix, ``strength * sum(σ)``.

    Prox: ``U * max(σ - step_size * strength, 0) @ V'``. Gradient: ``strength * U @ V'`` over the singular
    values above the rank tolerance ``max(m, n) * eps * σ_1``.

    The singular value decomposition is LAPACK's, computed in float64 on one thread: its last bits,
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

    def on(self, shape: tuple[int, ...]) -> Self:
        """The regularizer itself, if the shape is a matrix's."""
        if len(shape) != 2:
            raise LayoutInvalid(f"must have 2 axes for nuclear_norm, got {list(shape)}", field="shape")
        return self

    def workspace(self, elements: int) -> int:
        """The matrix in float64, its factors, and LAPACK's own, which is about as much again."""
        return 5 * elements

    def add_terms(self, x: FloatArray, sums: BlockSum, position: int = 0) -> None:
        """Add the sum of the singular values, at the place of the matrix's first element."""
        singular_values = singular_value_decomposition(x)[1]
        sums.add_at(np.array([position]), np.array([math.fsum(singular_values)]))

    def gradient(self, x: FloatArray, out: FloatArray) -> None:
        """Write strength·U·Vᵀ over the singular values that are not 0."""
        u, singular_values, vt = singular_value_decomposition(x)
        tolerance = max(x.shape) * np.finfo(x.dtype).eps * np.max(singular_values, initial=0.0)
        rank = int(np.count_nonzero(~(singular_values <= tolerance)))
        out[...] = self.strength * (u[:, :rank] @ vt[:rank])

    def prox(self, x: FloatArray, step_size: StepSize, out: FloatArray) -> None:
        """Write the matrix with its singular values soft-thresholded."""
        threshold = step_size * self.strength
        if np.all(threshold == 0) and np.isfinite(x).all():
            np.copyto(out, x)  # a decomposition put together again is not the matrix to the bit
            return
        u, singular_values, vt = singular_value_decomposition(x)
        kept = np.maximum(singular_values - threshold, 0.0)
        rank = int(np.count_nonzero(kept))
        out[...] = (u[:, :rank] * kept[:rank]) @ vt[:rank]
