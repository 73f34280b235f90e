"""The L1 ball: a budget for the sum of magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array
from ...formats import Grid
from ...regularizer import Description, Locality, Traits, register
from .base import Breach, SegmentSet, require_radius
from .projections import project_onto_simplex, total, total_compared
from .rounding_inwards import lowered


@register("l1_ball")
@dataclass(frozen=True, slots=True)
class L1Ball(SegmentSet):
    """0 where ``sum(|x|) <= radius``, infinite otherwise.

    Prox: ``sign(x) * max(|x| - tau, 0)`` outside, with the tau for which its magnitudes add up to the radius;
    x inside. Gradient: 0 inside, undefined outside. A sum is outside where it exceeds the radius by more than
    two units in the last place; what is rounded to 16 bits or to fixed point is rounded so that it is inside.

    Args:
        radius: Finite, >= 0; units of x.

    Raises:
        FieldOutOfRange: If the radius is negative or not finite.

    Cost: O(n) expected. Source: Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient projections onto
    the l1-ball for learning in high dimensions; Condat (2016), Fast projection onto the simplex and the l1
    ball.
    """

    radius: float

    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=False,
        indicator=True,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="a budget for the sum of magnitudes: sparsity of a given size",
        penalty="0 if sum |x| <= radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; sum |x| rounded once",
        gradient="0 inside, undefined outside",
        prox="S(x, tau) with tau such that sum |S(x, tau)| = radius; x inside",
        parameters={"radius": "finite, >= 0; units of x"},
        source="Duchi et al. 2008; Condat 2016",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_radius(self.radius)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Also where a number as large as the radius becomes infinite."""
        return SegmentSet.rounds_outside(self, grid, at_random=at_random) or self.radius > grid.largest

    def breach(self, x: Float64Array, share: float = 1.0) -> Breach | None:
        """The sum of magnitudes, where it is above the radius."""
        bound = self.radius + share * self.allowed(x.size, self.radius)
        magnitude = total_compared(x.reshape(-1), bound, np.abs)
        if magnitude <= bound:
            return None
        return Breach(f"must have magnitudes that add up to at most {self.radius!r}", magnitude)

    def project(self, x: Float64Array, out: Float64Array) -> None:
        """Write the soft threshold of x that is on the ball's surface."""
        project_onto_simplex(x.reshape(-1), self.radius, out.reshape(-1), np.abs)

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers whose magnitudes add up to no more than the radius."""
        bound = self.radius + self.allowed(exact.size, self.radius)

        def excess(points: Float64Array) -> Float64Array:
            return np.array([total(points, np.abs) - bound])

        return lowered(exact, numbers, grid, lambda points, _: np.abs(points), excess)
