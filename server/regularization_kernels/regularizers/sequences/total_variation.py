"""Total variation along lines: neighbours that are equal, and few jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import LineRegularizer, axis_of_lines
from .differences import shortest_slope, shortest_weighted_slope, weighted_magnitudes
from .taut_string import step_workspace
from .weighted_string import variation_step


@register("total_variation")
@dataclass(frozen=True, slots=True)
class TotalVariation(LineRegularizer):
    """Sum of the jumps between neighbours along an axis, ``strength * sum(|x[i + 1] - x[i]|)``.

    Lines along the axis are independent of each other, except that one NaN makes all of them NaN.

    With weights it is ``strength * sum(w[i] * |x[i + 1] - x[i]|)``, w[i] >= 0 that of element i. A line is
    cut where one is 0; those of last elements are ignored.

    Memory: three float64 numbers an element at most, beside input and result; twelve with weights.

    Source: Davies and Kovac (2001), Local extremes, runs, strings and multiresolution; Condat (2013), A
    direct algorithm for 1-D total variation denoising; with weights Barbero and Sra (2018), Modular proximal
    optimization for multidimensional total-variation regularization.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    axis: int | None = axis_of_lines()

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="piecewise constant lines: few jumps between neighbours",
        penalty="strength * sum |x[i + 1] - x[i]| along the axis; each difference times w[i] with weights",
        terms="|x[i + 1] - x[i]| at element i, times w[i] with weights, 0 at the last of a line;"
        " scale: strength",
        gradient="strength * (jump in - jump out) / length on each run of equal elements; jumps are 1, -1,"
        " or 0 at a line's ends; with weights jumps are w, -w or 0, and what a difference of equal elements"
        " passes on is at most its weight: a taut string through these",
        prox="the taut string through the running sums -+ step_size * strength (times w[i] with weights),"
        " exact; memory: 3 float64 numbers an element beside input and result, 12 with weights",
        source="Davies and Kovac 2001; Condat 2013; Barbero and Sra 2018",
    )

    def workspace(self, elements: int) -> int:
        """The chains of the taut string, which are more than the differences."""
        return step_workspace(elements)

    def term_exponents(self, x: Exponents) -> Exponents:
        """Differences of elements."""
        return x.plus(x)

    def terms(self, x: Float64Array, axis: int, weights: Float64Array | None = None) -> Float64Array:
        """w_i·|x_{i+1} − x_i|, each at the place of element i."""
        return weighted_magnitudes(x, axis, weights)

    def slope(self, rows: Float64Array, out: Float64Array, weights: Float64Array | None = None) -> None:
        """Write each run's share of its two jumps; with weights, what the taut string makes of them."""
        if weights is None:
            shortest_slope(rows, 0.0, self.strength, out)
        else:
            shortest_weighted_slope(rows, 0.0, self.strength, weights, out)

    def step(
        self, rows: Float64Array, step_size: StepSize, out: Float64Array, weights: Float64Array | None = None
    ) -> None:
        """Write the taut string's slopes."""
        variation_step(rows, float(step_size), self.strength, out, weights)
