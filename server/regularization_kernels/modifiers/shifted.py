"""A regularizer with the reference and the weights of some elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..regularizer import Regularizer
from ..regularizers.elements.base import ElementRegularizer

if TYPE_CHECKING:
    from ..arrays import ElementArray, Float64Array, StepSize
    from ..regularizer import Traits
    from ..summation import BlockSum


@dataclass(frozen=True, slots=True)
class Shifted(Regularizer):
    """``weights * Ω(x - reference)``, for penalties that take them.

    Args:
        inner: Ω.
        reference: Of x's shape; None for 0.
        weights: Of x's shape; None for 1.
    """

    inner: Regularizer
    reference: ElementArray | None
    weights: ElementArray | None

    @property
    def name(self) -> str:  # type: ignore[override] # of an instance: it is inner's
        """Inner's name."""
        return self.inner.name

    @property
    def traits(self) -> Traits:  # type: ignore[override] # of an instance: they are inner's
        """Inner's, for what asks for them of one piece."""
        return self.inner.traits

    @property
    def scale(self) -> float:
        """Inner's."""
        return self.inner.scale

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add inner's terms at x − reference, each times its weight."""
        x = self._moved(x)
        if isinstance(self.inner, ElementRegularizer):
            self.inner.add_terms(x, sums, position, self.weights)
        else:
            self.inner.add_terms(x, sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write weights·g, g inner's at x − reference."""
        self.inner.gradient(self._moved(x), out)
        if self.weights is not None:
            out *= self.weights

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write inner's step from x − reference with step size step_size·weights, plus the reference."""
        if self.weights is not None:
            step_size = step_size * self.weights.astype(np.float64)
        self.inner.prox(self._moved(x), step_size, out)
        if self.reference is not None:
            out += self.reference

    def _moved(self, x: Float64Array) -> Float64Array:
        return x if self.reference is None else x - self.reference
