"""The L2 ball: a bound on the Euclidean norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT32, DataType, Float64Array
from ...formats import Grid, slack
from ...reductions.reduction import Reduction, Rule, SetReduction, Times
from ...reductions.survey import Search, Survey
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import Breach, RadiusSet
from .projections import total
from .rounding_inwards import Places, lowered

_PLAIN = 400
"""Powers of two whose squares are far from the ends of the range."""
_LARGEST = 1000


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    radius: float
    data_type: DataType

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """The norm, where it is above the radius."""
        norm = (yield from survey.squares()).root()
        if norm <= self.radius + share * self.allowed(survey.size, self.radius):
            return None
        return f"must have a norm of at most {self.radius!r}", norm

    def specials(self, survey: Survey) -> Search[tuple[int, int]]:
        """As the sum of squares counts them."""
        squares = yield from survey.squares()
        return squares.nan, squares.infinite

    def projection(self, survey: Survey) -> Search[Rule]:
        """The point made as long as the radius, off by less than four halves of a unit in the last place."""
        return Times((yield from survey.squares()).quotient(self.radius))


@register("l2_ball")
@dataclass(frozen=True, slots=True)
class L2Ball(RadiusSet):
    """0 where ``norm(x) <= radius``, infinite otherwise.

    A norm is outside where it exceeds the radius by more than two units in the last place; what is rounded to
    16 bits or to fixed point is rounded so that it is inside.

    Source: Tikhonov and Arsenin (1977), Solutions of ill-posed problems (in the form of Ivanov).
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x")

    traits: ClassVar[Traits] = Traits(convex=True, indicator=True, locality=Locality.REDUCTION)
    description: ClassVar[Description] = Description.of_set(
        title="a bound on the Euclidean norm of the whole segment",
        penalty="0 if norm(x) <= radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; the sum of squares rounded once",
        prox="x * radius / norm(x) outside, x inside",
        source="Tikhonov and Arsenin 1977",
    )

    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """The norm, where it is above the radius."""
        scaled, factor = _scaled(x)
        norm = _norm(scaled) / factor
        if norm <= self.radius + share * slack(data_type, x.size, self.radius):
            return None
        return Breach(f"must have a norm of at most {self.radius!r}", norm)

    def project(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write x, made as long as the radius.

        The norm, the quotient and the product are off by less than four halves of a unit in the last place
        together. So where that leaves the norm above what is inside, one unit towards 0 in every element, a
        half at least of what is allowed, is enough.
        """
        scaled, _ = _scaled(x)
        np.multiply(scaled, self.radius / _norm(scaled), out=out)
        out += 0.0  # no negative zeros
        if data_type != FLOAT32 and self.breach(out, data_type) is not None:
            np.nextafter(out, 0.0, out=out)

    def reduction_in(self, data_type: DataType) -> Reduction:
        """By the norm."""
        return _Reduction(self.radius, data_type)

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers whose norm is at most the radius."""
        bound = 1.0 + slack(grid.data_type, exact.size, self.radius) / self.radius

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
