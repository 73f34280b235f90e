"""The L2 ball: a bound on the Euclidean norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array
from ...formats import Grid, slack
from ...preparation import PreparedRegularizer
from ...reductions.reduction import SetReduction
from ...reductions.rules import Rule, Times
from ...reductions.survey import Search, Survey
from ...reductions.thresholds import total
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..groups.base import Groups
from ..groups.max_norm import MaxNorm
from .grouped import OF_GROUPS, OF_RADIUS, UNSET, PreparedAs, RadiusSet
from .rounding_inwards import Places, lowered


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
    """0 where ``norm(x) <= radius``, infinite otherwise; with groups it is ``max_norm``.

    A norm is outside where it exceeds the radius by more than two units in the last place; what is rounded to
    16 bits or to fixed point is rounded so that it is inside.

    Source: Tikhonov and Arsenin (1977), Solutions of ill-posed problems (in the form of Ivanov).
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x")
    groups: Groups | None = parameter(None, OF_GROUPS + OF_RADIUS + UNSET, default=None)

    traits: ClassVar[Traits] = Traits(
        convex=True, indicator=True, keeps_zeros=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description.of_set(
        title="a bound on the Euclidean norm of the whole segment",
        penalty="0 if norm(x) <= radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; the sum of squares rounded once",
        prox="x * radius / norm(x) outside, x inside",
        source="Tikhonov and Arsenin 1977",
    )

    @property
    def locality(self) -> Locality:
        """That of ``max_norm`` where there are groups."""
        return self.traits.locality if self.groups is None else self.groups.locality_by_norms()

    def on_groups(self, groups: Groups, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The groups' balls made ready for a segment of this shape."""
        return PreparedAs(self, MaxNorm(radius=self.radius, groups=groups).on(shape, data_type))

    def reduction_in(self, data_type: DataType) -> SetReduction:
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


def _norm(x: Float64Array) -> float:
    return math.sqrt(total(x.reshape(-1), np.square))
