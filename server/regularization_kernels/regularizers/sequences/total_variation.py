"""Total variation along rows: neighbours that are equal, and few jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents
from ...regularizer import Description, Locality, Regularizer, Traits, register, require_strength
from ...summation import BlockSum
from .differences import magnitudes, shortest_slope
from .taut_string import step_workspace, total_variation_step


@register("total_variation")
@dataclass(frozen=True, slots=True)
class TotalVariation(Regularizer):
    """Sum of the jumps between neighbours along the last axis, ``strength * sum(|x[i + 1] - x[i]|)``.

    Rows along the last axis are independent of each other, except that one NaN makes all of them NaN.

    Prox: the slopes of the shortest string through the tube of radius ``step_size * strength`` around the
    row's running sums; exact, in linear time. Gradient: ``strength * (jump in - jump out) / length`` on each
    longest run of equal elements, where a jump is the sign of the difference at that end, 0 at the row's
    ends.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Davies and Kovac (2001), Local extremes, runs, strings and multiresolution; Condat (2013), A
    direct algorithm for 1-D total variation denoising.
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
        title="piecewise constant rows: few jumps between neighbours",
        penalty="strength * sum |x[i + 1] - x[i]| along the last axis",
        terms="|x[i + 1] - x[i]| at element i, 0 at the last of a row; scale: strength",
        gradient="strength * (jump in - jump out) / length on each run of equal elements; jumps are 1, -1,"
        " or 0 at a row's ends",
        prox="the taut string through the running sums -+ step_size * strength, exact",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Davies and Kovac 2001; Condat 2013",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

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
