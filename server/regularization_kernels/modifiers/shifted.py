"""A penalty with the reference and the weights of some elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats import Grid

if TYPE_CHECKING:
    from ..arrays import DataType, ElementArray, Float64Array, StepSize
    from ..prepared import Prepared
    from ..summation import BlockSum


@dataclass(frozen=True, slots=True)
class Shifted:
    """``weights * Ω(x - reference)``, for penalties that take them.

    Args:
        inner: Ω.
        reference: Of x's shape; None for 0.
        weights: Of x's shape, for sums over elements; None for 1.
    """

    inner: Prepared
    reference: ElementArray | None = None
    weights: ElementArray | None = None

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add inner's terms at x − reference, each times its weight."""
        own: dict[str, Any] = {} if self.weights is None else {"weights": self.weights}
        self.inner.add_terms(self._moved(x), sums, position, **own)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write weights·g, g inner's at x − reference."""
        self.inner.gradient(self._moved(x), out)
        if self.weights is not None:
            out *= self.weights

    def prox(
        self, x: Float64Array, step_size: StepSize, out: Float64Array, point: Float64Array | None = None
    ) -> None:
        """Write inner's step from x − reference with step size step_size·weights, plus the reference.

        Args:
            x: Where the step begins.
            step_size: One for all, or one for each element.
            out: Where the step goes.
            point: Where inner's own goes, before the reference is added; it may be ``out``, as by default.
        """
        point = out if point is None else point
        if self.weights is not None:
            # The prox of w·f with step size γ is that of f with γ·w.
            step_size = step_size * self.weights.astype(np.float64)
        self.inner.prox(self._moved(x), step_size, point)
        if self.reference is not None:
            np.add(point, self.reference, out=out)
        elif point is not out:
            np.copyto(out, point)

    def rounds_outside(self, data_type: DataType, *, at_random: bool) -> bool:
        """Whether rounding a point may leave the set that inner is, so that ``settled`` is needed."""
        return self.inner.rounds_outside(self._grid(data_type), at_random=at_random)

    def settled(self, point: Float64Array, numbers: Float64Array, data_type: DataType) -> Float64Array | None:
        """Numbers of a data type that are in the set, where those that a step was rounded to are not.

        Args:
            point: Inner's own step.
            numbers: What that plus the reference was rounded to.
            data_type: What it was rounded to.
        """
        return self.inner.settled(point, numbers, self._grid(data_type))

    def _grid(self, data_type: DataType) -> Grid:
        return Grid(data_type, self.reference)

    def _moved(self, x: Float64Array) -> Float64Array:
        return x if self.reference is None else x - self.reference
