"""The simplex: nonnegative elements with a given sum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import LayoutInvalid
from ...formats import Grid, is_coarse, limits, on_grid
from ...reductions.census import Order
from ...reductions.reduction import SetReduction, in_two, rounded
from ...reductions.rules import Constant, Lowered, Rule
from ...reductions.survey import Search, Survey
from ...reductions.thresholds import project_onto_capped_simplex
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import PreparedReducedSet, RadiusSet
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

    def first_outside(self, survey: Survey) -> Search[int]:
        """The first that is negative."""
        return ((yield from survey.facts()).first_negative or (0,))[0]

    def projection(self, survey: Survey) -> Search[Rule]:
        """What is left above the threshold."""
        if self.radius == 0:
            return Constant(0.0)
        return Lowered(*in_two((yield from survey.threshold(self.radius))), magnitudes=False)


@register("simplex")
@dataclass(frozen=True, slots=True)
class Simplex(RadiusSet):
    """0 where ``x >= 0`` and ``sum(x) == radius``, infinite otherwise.

    A sum is outside where it misses the radius by more than two units in the last place. In 16 bits and in
    fixed point the radius is rounded to the data type, so that sums can reach it, and elements are rounded so
    that their sum does.

    Cost: O(n) expected. Source: Duchi, Shalev-Shwartz, Singer and Chandra (2008), Efficient projections onto
    the l1-ball for learning in high dimensions; Condat (2016), Fast projection onto the simplex and the l1
    ball.
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x", symbol="the sum")

    traits: ClassVar[Traits] = Traits(convex=True, indicator=True, locality=Locality.REDUCTION)
    description: ClassVar[Description] = Description.of_set(
        title="nonnegative elements with a given sum: mixtures, probabilities",
        penalty="0 if every x >= 0 and sum x = radius, infinity otherwise",
        terms="0 inside, infinity outside, at the first element; sum x rounded once",
        prox="max(x - tau, 0) with tau such that it adds up to radius; x inside",
        source="Duchi et al. 2008; Condat 2016",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedReducedSet:
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

    def reduction_in(self, data_type: DataType) -> SetReduction:
        """By a threshold."""
        return _Reduction(self.radius, data_type)

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers that add up to the radius."""
        del numbers
        return apportioned(exact, self.radius, grid)


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
