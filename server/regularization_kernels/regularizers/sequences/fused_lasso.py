"""The fused lasso along lines: sparsity, and neighbours that are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of
from ...formulas.evaluation import evaluate
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..elements.thresholding import soft_threshold
from .base import LineRegularizer, axis_of_lines
from .differences import shortest_slope, shortest_weighted_slope, weighted_magnitudes
from .taut_string import step_workspace
from .weighted_string import variation_step


@register("fused_lasso")
@dataclass(frozen=True, slots=True)
class FusedLasso(LineRegularizer):
    """L1 norm and total variation, ``l1_strength * sum(|x|) + tv_strength * sum(|x[i + 1] - x[i]|)``.

    Neighbours are those along an axis. Lines along it are independent of each other, except that one NaN
    makes all of them NaN. Weights are those of the differences, as of total variation: where the L1 norm had
    weights, too, the step would be none of the two parts' one after the other.

    Memory: three float64 numbers an element at most, beside input and result; twelve with weights.

    Source: Tibshirani et al. (2005), Sparsity and smoothness via the fused lasso; Friedman, Hastie, Höfling
    and Tibshirani (2007), Pathwise coordinate optimization.
    """

    l1_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    tv_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    axis: int | None = axis_of_lines()

    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="sparse, piecewise constant lines",
        penalty="l1_strength * sum |x| + tv_strength * sum |x[i + 1] - x[i]| along the axis; each difference"
        " times w[i] with weights",
        terms="l1_strength * |x[i]| + tv_strength * |x[i + 1] - x[i]| at element i, every operation rounded;"
        " with weights tv_strength * (w[i] * |x[i + 1] - x[i]|); without the second product at the last of a"
        " line; scale: 1",
        gradient="total variation's g, plus l1_strength * sign(x) where x is not 0, else S(g, l1_strength)",
        prox="S(total variation's step, step_size * l1_strength); memory: as total variation",
        source="Friedman, Hastie, Hoefling and Tibshirani 2007",
    )

    def workspace(self, elements: int) -> int:
        """The chains of the taut string, which are more than the terms."""
        return step_workspace(elements)

    def term_exponents(self, x: Exponents) -> Exponents:
        """Products with the strengths, added."""
        return x.times(exponents_of(self.l1_strength)).plus(x.plus(x).times(exponents_of(self.tv_strength)))

    def terms(self, x: Float64Array, axis: int, weights: Float64Array | None = None) -> Float64Array:
        """l1_strength·|x_i| + tv_strength·w_i·|x_{i+1} − x_i|, each at the place of element i."""
        jumps = weighted_magnitudes(x, axis, weights)
        jumps *= self.tv_strength
        terms = np.abs(x)
        terms *= self.l1_strength
        terms += jumps
        return terms

    def slope(self, rows: Float64Array, out: Float64Array, weights: Float64Array | None = None) -> None:
        """Write each run's share of its two jumps, and the elements' own part."""
        if weights is None:
            shortest_slope(rows, self.l1_strength, self.tv_strength, out)
        else:
            shortest_weighted_slope(rows, self.l1_strength, self.tv_strength, weights, out)

    def step(
        self, rows: Float64Array, step_size: StepSize, out: Float64Array, weights: Float64Array | None = None
    ) -> None:
        """Write the taut string's slopes, soft-thresholded."""
        variation_step(rows, float(step_size), self.tv_strength, out, weights)
        evaluate(soft_threshold, out.reshape(-1), out.reshape(-1), step_size * self.l1_strength)
