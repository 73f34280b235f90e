"""Total variation along rows: neighbours that are equal, and few jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents
from ...regularizer import NOT_NEGATIVE, Description, Locality, Regularizer, Traits, parameter, register
from ...summation import BlockSum
from .differences import magnitudes, shortest_slope
from .taut_string import step_workspace, total_variation_step


@register("total_variation")
@dataclass(frozen=True, slots=True)
class TotalVariation(Regularizer):
    """Sum of the jumps between neighbours along the last axis, ``strength * sum(|x[i + 1] - x[i]|)``.

    Rows along the last axis are independent of each other, except that one NaN makes all of them NaN.

    Source: Davies and Kovac (2001), Local extremes, runs, strings and multiresolution; Condat (2013), A
    direct algorithm for 1-D total variation denoising.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="piecewise constant rows: few jumps between neighbours",
        penalty="strength * sum |x[i + 1] - x[i]| along the last axis",
        terms="|x[i + 1] - x[i]| at element i, 0 at the last of a row; scale: strength",
        gradient="strength * (jump in - jump out) / length on each run of equal elements; jumps are 1, -1,"
        " or 0 at a row's ends",
        prox="the taut string through the running sums -+ step_size * strength, exact",
        source="Davies and Kovac 2001; Condat 2013",
    )

    def workspace(self, elements: int) -> int:
        """The chains of the taut string, which are more than the differences."""
        return step_workspace(elements)

    def term_exponents(self, x: Exponents) -> Exponents:
        """Differences of elements."""
        return x.plus(x)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add |x_{i+1} − x_i|, each at the place of element i."""
        sums.add(magnitudes(x), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write each run's share of its two jumps."""
        shortest_slope(x, 0.0, self.strength, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the taut string's slopes."""
        total_variation_step(x, float(step_size) * self.strength, out)
