"""The L1 ball: a budget for the sum of magnitudes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array
from ...formats import Grid, slack
from ...preparation import PreparedRegularizer
from ...reductions.reduction import SetReduction, in_two, rounded
from ...reductions.rules import Constant, Lowered, Rule
from ...reductions.survey import Search, Survey
from ...reductions.thresholds import total
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..groups.base import Groups, partition_of
from ..groups.sets import Mask, PreparedGroupSets, sum_told
from ..groups.simplices import nearest_in_simplices, sums_less
from .base import Breach
from .grouped import OF_GROUPS, OF_RADIUS, UNSET, RadiusSet
from .rounding_inwards import Places, lowered


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    radius: float
    data_type: DataType

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """The sum of magnitudes, where it is above the radius."""
        if not (yield from self.is_outside(survey, share)):
            return None
        facts = yield from survey.facts()
        total = math.inf if facts.infinite else (yield from survey.total())
        return f"must have magnitudes that add up to at most {self.radius!r}", rounded(total)

    def is_outside(self, survey: Survey, share: float) -> Search[bool]:
        """Whether the sum of magnitudes is above the radius."""
        if (yield from survey.facts()).infinite:
            return True
        return (yield from survey.exceeds(self.radius + share * self.allowed(survey.size, self.radius)))

    def expect(self, survey: Survey) -> None:
        """Tell the survey which threshold may be looked for."""
        survey.expect_threshold(self.radius)

    def projection(self, survey: Survey) -> Search[Rule]:
        """The soft threshold that ends on the ball's surface."""
        if self.radius == 0:
            return Constant(0.0)
        return Lowered(*in_two((yield from survey.threshold(self.radius))), magnitudes=True)


@dataclass(frozen=True, slots=True)
class _Balls(PreparedGroupSets):
    """An L1 ball for each group."""

    def misses(self, rows: Float64Array, bounds: Float64Array, share: float) -> Float64Array:
        """By how much sums of magnitudes are too large."""
        return sums_less(np.abs(rows), bounds + self.allowed(rows.shape[1], bounds, share))

    def breach(self, group: Float64Array, bound: float) -> Breach:
        """The sum of magnitudes."""
        rule = f"must have groups of magnitudes that add up to at most {bound!r}"
        return Breach(rule, sum_told(np.abs(group)))

    def nearest(self, rows: Float64Array, bounds: Float64Array) -> Float64Array:
        """The soft thresholds that end on the balls' surfaces."""
        new = np.copysign(nearest_in_simplices(np.abs(rows), bounds), rows)
        new += 0.0  # no negative zeros
        return new

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid, outside: Mask) -> Float64Array:
        """Numbers whose magnitudes add up to no more than the bounds."""
        del outside

        def excess(points: Float64Array) -> Float64Array:
            return self.by_group(points, lambda rows, bounds: np.nan_to_num(self.misses(rows, bounds, 1.0)))

        def costs(points: Float64Array, _: Places) -> Float64Array:
            return np.abs(points)

        return lowered(exact, numbers, grid, costs, excess, self.partition.numbers())


@register("l1_ball")
@dataclass(frozen=True, slots=True)
class L1Ball(RadiusSet):
    """0 where ``sum(|x|) <= radius``, infinite otherwise; with groups, ``weight_g * radius`` for each.

    A sum is outside where it exceeds the radius by more than two units in the last place; what is rounded to
    16 bits or to fixed point is rounded so that it is inside.

    Cost: O(n) expected. Source: Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient projections onto
    the l1-ball for learning in high dimensions; Condat (2016), Fast projection onto the simplex and the l1
    ball.
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x")
    groups: Groups | None = parameter(None, OF_GROUPS + OF_RADIUS + UNSET, default=None)

    traits: ClassVar[Traits] = Traits(
        convex=True, indicator=True, keeps_zeros=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description.of_set(
        title="a budget for the sum of magnitudes: sparsity of a given size",
        penalty="0 if sum |x| <= radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; sum |x| rounded once",
        prox="S(x, tau) with tau such that sum |S(x, tau)| = radius; x inside",
        source="Duchi et al. 2008; Condat 2016",
    )

    def on_groups(self, groups: Groups, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The groups' balls made ready for a segment of this shape."""
        partition = partition_of(groups, shape)
        return _Balls(self, partition.weighted(partition.weights * self.radius), data_type)

    def reduction_in(self, data_type: DataType) -> SetReduction:
        """By a threshold."""
        return _Reduction(self.radius, data_type)

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers whose magnitudes add up to no more than the radius."""
        bound = self.radius + slack(grid.data_type, exact.size, self.radius)

        def excess(points: Float64Array) -> Float64Array:
            return np.array([total(points, np.abs) - bound])

        return lowered(exact, numbers, grid, lambda points, _: np.abs(points), excess)
