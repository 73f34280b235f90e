"""The L2 ball: a bound on the Euclidean norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT32, Float64Array
from ...formats import Grid
from ...regularizer import Description, Locality, Traits, register
from .base import Breach, SegmentSet, require_radius
from .projections import total
from .rounding_inwards import Places, lowered

_PLAIN = 400
"""Powers of two whose squares are far from the ends of the range."""
_LARGEST = 1000


@register("l2_ball")
@dataclass(frozen=True, slots=True)
class L2Ball(SegmentSet):
    """0 where ``norm(x) <= radius``, infinite otherwise.

    Prox: ``x * radius / norm(x)`` outside, x inside. Gradient: 0 inside, undefined outside. A norm is
    outside where it exceeds the radius by more than two units in the last place; what is rounded to 16 bits
    or to fixed point is rounded so that it is inside.

    Args:
        radius: Finite, >= 0; units of x.

    Raises:
        FieldOutOfRange: If the radius is negative or not finite.

    Source: Tikhonov and Arsenin (1977), Solutions of ill-posed problems (in the form of Ivanov).
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
        title="a bound on the Euclidean norm of the whole segment",
        penalty="0 if norm(x) <= radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; the sum of squares rounded once",
        gradient="0 inside, undefined outside",
        prox="x * radius / norm(x) outside, x inside",
        parameters={"radius": "finite, >= 0; units of x"},
        source="Tikhonov and Arsenin 1977",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_radius(self.radius)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Also where a number as large as the radius becomes infinite."""
        return SegmentSet.rounds_outside(self, grid, at_random=at_random) or self.radius > grid.largest

    def breach(self, x: Float64Array, share: float = 1.0) -> Breach | None:
        """The norm, where it is above the radius."""
        scaled, factor = _scaled(x)
        norm = _norm(scaled) / factor
        if norm <= self.radius + share * self.allowed(x.size, self.radius):
            return None
        return Breach(f"must have a norm of at most {self.radius!r}", norm)

    def project(self, x: Float64Array, out: Float64Array) -> None:
        """Write x, made as long as the radius.

        The norm, the quotient and the product are off by less than four halves of a unit in the last place
        together. So where that leaves the norm above what is inside, one unit towards 0 in every element, a
        half at least of what is allowed, is enough.
        """
        scaled, _ = _scaled(x)
        np.multiply(scaled, self.radius / _norm(scaled), out=out)
        out += 0.0  # no negative zeros
        if self.data_type != FLOAT32 and self.breach(out) is not None:
            np.nextafter(out, 0.0, out=out)

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers whose norm is at most the radius."""
        bound = 1.0 + self.allowed(exact.size, self.radius) / self.radius

        def excess(points: Float64Array) -> Float64Array:
            norm = _norm(points / self.radius)
            return np.array([(norm - bound) * (norm + bound)])

        def costs(points: Float64Array, _: Places) -> Float64Array:
            return np.square(points / self.radius)

        return lowered(exact, numbers, grid, costs, excess)


def _scaled(x: Float64Array) -> tuple[Float64Array, float]:
    """The elements times a power of two, so that squares neither overflow nor vanish, and that power."""
    exponent = math.frexp(max(float(np.max(x)), -float(np.min(x))))[1]
    if abs(exponent) < _PLAIN:
        return x, 1.0
    factor = 2.0 ** -min(max(exponent, -_LARGEST), _LARGEST)
    return x * factor, factor


def _norm(x: Float64Array) -> float:
    return math.sqrt(total(x.reshape(-1), np.square))
