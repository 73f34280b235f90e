"""The L2 ball: a bound on the Euclidean norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..registry import register
from ..regularizer import Description, Float64Array, Locality, Traits
from ..routines.projections import total
from ..routines.segment_sets import Breach, SegmentSet, require_radius

_PLAIN = 400
"""Powers of two whose squares are far from the ends of the range."""
_LARGEST = 1000


@register("l2_ball")
@dataclass(frozen=True, slots=True)
class L2Ball(SegmentSet):
    """0 where ``norm(x) <= radius``, infinite otherwise.

    Prox: ``x * radius / norm(x)`` outside, x inside. Gradient: 0 inside, undefined outside. A norm that
    exceeds the radius by no more than rounding to the layout's data type does is inside.

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

    def breach(self, x: Float64Array) -> Breach | None:
        """The norm, where it is above the radius."""
        scaled, factor = _scaled(x)
        norm = _norm(scaled) / factor
        if norm <= self.radius + self.allowed(x.size, self.radius):
            return None
        return Breach(f"must have a norm of at most {self.radius!r}", norm)

    def project(self, x: Float64Array, out: Float64Array) -> None:
        """Write x, made as long as the radius."""
        scaled, _ = _scaled(x)
        scaled = scaled.copy() if np.may_share_memory(scaled, out) else scaled
        norm, radius = _norm(scaled), self.radius
        np.multiply(scaled, radius / norm, out=out)
        while self.breach(out) is not None:
            radius = math.nextafter(radius, 0.0)
            np.multiply(scaled, radius / norm, out=out)
        out += 0.0  # no negative zeros


def _scaled(x: Float64Array) -> tuple[Float64Array, float]:
    """The elements times a power of two, so that squares neither overflow nor vanish, and that power."""
    exponent = math.frexp(max(float(np.max(x)), -float(np.min(x))))[1]
    if abs(exponent) < _PLAIN:
        return x, 1.0
    factor = 2.0 ** -min(max(exponent, -_LARGEST), _LARGEST)
    return x * factor, factor


def _norm(x: Float64Array) -> float:
    return math.sqrt(total(x.reshape(-1), np.square))
