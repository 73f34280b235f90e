"""The simplex: nonnegative elements with a given sum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array, StepSize
from ...errors import LayoutInvalid
from ...formats import Grid, is_coarse, limits, on_grid
from ...interruption import go_on
from ...preparation import PreparedRegularizer
from ...reductions.census import Order
from ...reductions.reduction import SetReduction, in_two, rounded
from ...reductions.rules import Constant, Lowered, Rule
from ...reductions.survey import Search, Survey
from ...reductions.thresholds import project_onto_capped_simplex
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..groups.base import Groups, partition_of
from ..groups.sets import Mask, PreparedGroupSets, sum_told
from ..groups.simplices import nearest_in_simplices, sums_less
from .base import Breach, PreparedReducedSet
from .grouped import OF_GROUPS, OF_RADIUS, UNSET, RadiusSet
from .rounding_inwards import apportioned


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    radius: float
    data_type: DataType

    order: ClassVar[Order] = Order.NUMBERS

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """That a number is negative, or the sum where it is not the radius."""
        facts = yield from survey.facts()
        if facts.first_negative is not None:
            return "must be >= 0", facts.first_negative[1]
        total = math.inf if facts.infinite else (yield from survey.total())
        allowed = share * self.allowed(survey.size, self.radius)
        if self.radius - allowed <= total <= self.radius + allowed:
            return None
        return f"must add up to {self.radius!r}", rounded(total)

    def is_outside(self, survey: Survey, share: float) -> Search[bool]:
        """Whether a number is negative, or the sum not the radius."""
        facts = yield from survey.facts()
        if facts.first_negative is not None or facts.infinite:
            return True
        allowed = share * self.allowed(survey.size, self.radius)
        if (yield from survey.exceeds(self.radius + allowed)):
            return True
        return (yield from survey.total()) < self.radius - allowed

    def first_outside(self, survey: Survey) -> Search[int]:
        """The first that is negative."""
        return ((yield from survey.facts()).first_negative or (0,))[0]

    def expect(self, survey: Survey) -> None:
        """Tell the survey which threshold may be looked for."""
        survey.expect_threshold(self.radius)

    def projection(self, survey: Survey) -> Search[Rule]:
        """What is left above the threshold."""
        if self.radius == 0:
            return Constant(0.0)
        return Lowered(*in_two((yield from survey.threshold(self.radius))), magnitudes=False)


@dataclass(frozen=True, slots=True)
class _Simplices(PreparedGroupSets):
    """A simplex for each group, whose elements have to be numbers of the data type."""

    def misses(self, rows: Float64Array, bounds: Float64Array, share: float) -> Float64Array:
        """By how much sums are too large or too small, or numbers negative."""
        magnitudes, allowed = np.abs(rows), self.allowed(rows.shape[1], bounds, share)
        above, below = sums_less(magnitudes, bounds + allowed), -sums_less(magnitudes, bounds - allowed)
        missed: Float64Array = np.maximum(np.maximum(above, below), -rows.min(axis=1))
        return missed

    def breach(self, group: Float64Array, bound: float) -> Breach:
        """The first number that is negative, or the sum."""
        negative = np.flatnonzero(group < 0)
        if negative.size:
            return Breach("must be >= 0", float(group[negative[0]]), int(negative[0]))
        return Breach(f"must have groups that add up to {bound!r}", sum_told(group))

    def nearest(self, rows: Float64Array, bounds: Float64Array) -> Float64Array:
        """What is left above the thresholds, at most the data type's largest number."""
        new, largest = nearest_in_simplices(rows, bounds), limits(self.data_type).max
        for row in np.flatnonzero((new > largest).any(axis=1)).tolist():
            project_onto_capped_simplex(rows[row], float(bounds[row]), largest, new[row])
        return new

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid, outside: Mask) -> Float64Array:
        """Numbers that add up to the bounds: a group at a time."""
        exact, numbers, grid = exact.reshape(-1), numbers.reshape(-1), grid.flat()
        order, sizes = np.argsort(self.partition.numbers(), kind="stable"), self.partition.sizes()
        ends, bounds = np.cumsum(sizes), self.bounds
        for group in np.flatnonzero(outside).tolist():
            go_on()
            places = order[ends[group] - sizes[group] : ends[group]]
            if np.isfinite(exact[places]).all():
                numbers[places] = apportioned(exact[places], float(bounds[group]), grid.part(places))
        return numbers


@register("simplex")
@dataclass(frozen=True, slots=True)
class Simplex(RadiusSet):
    """0 where ``x >= 0`` and ``sum(x) == radius``, infinite otherwise; of a group ``weight_g * radius``.

    A sum is outside where it misses the radius by more than two units in the last place. In 16 bits and in
    fixed point the radius is rounded to the data type, so that sums can reach it, and elements are rounded so
    that their sum does.

    Cost: O(n) expected. Source: Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient projections onto
    the l1-ball for learning in high dimensions; Condat (2016), Fast projection onto the simplex and the l1
    ball.
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x", symbol="the sum")
    groups: Groups | None = parameter(None, OF_GROUPS + OF_RADIUS + UNSET, default=None)

    traits: ClassVar[Traits] = Traits(convex=True, indicator=True, locality=Locality.REDUCTION)
    description: ClassVar[Description] = Description.of_set(
        title="nonnegative elements with a given sum: mixtures, probabilities",
        penalty="0 if every x >= 0 and sum x = radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; sum x rounded once",
        prox="max(x - tau, 0) with tau such that it adds up to radius; x inside",
        source="Duchi et al. 2008; Condat 2016",
    )

    def on_whole(self, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The simplex made ready for a segment of this shape and data type, whose sums reach the radius.

        Raises:
            LayoutInvalid: If the segment is empty and the radius is not 0: then no point is inside.
        """
        if self.radius and not math.prod(shape):
            text = f"must have an element to add up to radius {self.radius!r}, got {list(shape)}"
            raise LayoutInvalid(text, field="shape")
        if not is_coarse(data_type):
            return _PreparedSimplex(self, data_type)
        return _PreparedSimplex(replace(self, radius=on_grid(self.radius, data_type)), data_type)

    def on_groups(self, groups: Groups, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The groups' simplices made ready likewise.

        Raises:
            GroupsInvalid: If the groups do not fit the shape.
            LayoutInvalid: If a group has no element, and a radius above 0 to add up to.
        """
        partition = partition_of(groups, shape)
        bounds = partition.weights * self.radius
        if not math.prod(shape) and partition.count and np.any(bounds):
            text = f"must have an element in each group to add up to its radius, got {list(shape)}"
            raise LayoutInvalid(text, field="shape")
        if is_coarse(data_type):
            bounds = _on_grid(bounds, data_type)
        return _Simplices(self, partition.weighted(bounds), data_type)

    def reduction_in(self, data_type: DataType) -> SetReduction:
        """By a threshold."""
        return _Reduction(self.radius, data_type)

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers that add up to the radius."""
        del numbers
        return apportioned(exact, self.radius, grid)


def _on_grid(bounds: Float64Array | float, data_type: DataType) -> Float64Array | float:
    """Numbers of the data type that elements can add up to, near bounds: the one of all groups, or theirs."""
    if isinstance(bounds, float):
        return on_grid(bounds, data_type)
    different, which = np.unique(bounds, return_inverse=True)
    nearest: Float64Array = np.array([on_grid(bound, data_type) for bound in different.tolist()])[which]
    return nearest


@dataclass(frozen=True, slots=True)
class _PreparedSimplex(PreparedReducedSet):
    """The simplex, whose elements have to be numbers of the data type."""

    regularizer: Simplex

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write max(x − τ, 0), or min(max(x − τ, 0), m) with the data type's largest number m."""
        radius, largest = self.regularizer.radius, limits(self.data_type).max
        start = x.copy() if radius > largest else x
        PreparedReducedSet.prox(self, x, step_size, out)
        if radius > largest and np.isfinite(start).all() and (out > largest).any():
            project_onto_capped_simplex(start.reshape(-1), radius, largest, out.reshape(-1))
