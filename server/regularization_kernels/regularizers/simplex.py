"""The simplex: nonnegative elements with a given sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..errors import LayoutInvalid
from ..registry import register
from ..regularizer import FLOAT64, DataType, Description, Float64Array, Locality, Traits
from ..routines.projections import project_onto_simplex, total_compared
from ..routines.segment_sets import Breach, SegmentSet, require_radius


@register("simplex")
@dataclass(frozen=True, slots=True)
class Simplex(SegmentSet):
    """0 where ``x >= 0`` and ``sum(x) == radius``, infinite otherwise.

    Prox: ``max(x - tau, 0)`` outside, with the tau for which it adds up to the radius; x inside. Gradient: 0
    inside, undefined outside. A sum that misses the radius by no more than rounding to the layout's data type
    does is inside.

    Args:
        radius: The sum, finite, >= 0; units of x.

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
        title="nonnegative elements with a given sum: mixtures, probabilities",
        penalty="0 if every x >= 0 and sum x = radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; sum x rounded once",
        gradient="0 inside, undefined outside",
        prox="max(x - tau, 0) with tau such that it adds up to radius; x inside",
        parameters={"radius": "the sum, finite, >= 0; units of x"},
        source="Duchi et al. 2008; Condat 2016",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_radius(self.radius)

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The simplex made ready for a segment of this shape and data type.

        Raises:
            LayoutInvalid: If the segment is empty and the radius is not 0: then no point is inside.
        """
        if self.radius and not math.prod(shape):
            text = f"must have an element to add up to radius {self.radius!r}, got {list(shape)}"
            raise LayoutInvalid(text, field="shape")
        return SegmentSet.on(self, shape, data_type)

    def breach(self, x: Float64Array) -> Breach | None:
        """The first negative element, or the sum where it is not the radius."""
        if np.min(x) < 0:
            first = int(np.argmax(x < 0))
            return Breach("must be >= 0", float(x.reshape(-1)[first]), first)
        mass = total_compared(x.reshape(-1), self.radius)
        if abs(mass - self.radius) <= self.allowed(x.size, self.radius):
            return None
        return Breach(f"must add up to {self.radius!r}", mass)

    def project(self, x: Float64Array, out: Float64Array) -> None:
        """Write max(x − τ, 0)."""
        project_onto_simplex(x.reshape(-1), self.radius, out.reshape(-1))
