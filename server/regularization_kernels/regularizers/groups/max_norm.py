"""Bounded norms of groups: the max-norm constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined
from ...formats import Grid, is_coarse, share_left_alone, slack
from ...formulas.operations import where
from ...reductions.group_rules import GroupConstant
from ...reductions.rules import Rule
from ...regularizer import NOT_NEGATIVE, SETTLING, Description, Locality, Traits, parameter, register
from ..vectors.rounding_inwards import Places, lowered
from .base import GROUPS_WORDS, GroupRegularizer, Groups, PreparedGroups
from .compiled_loop import GroupFormulas
from .partitions import Slices
from .slices import interleaved

if TYPE_CHECKING:
    from ...reductions.group_squares import GroupSquares
    from ...reductions.reduction import Reduction

_SMALLEST_FACTOR = 1e-290
"""Below it a factor may have lost bits; its two parts have not."""


def _limit(size: Any, weight: Any, radius: float, relative: float, absolute: float, share: float) -> Any:
    """What a norm may be to count as inside."""
    bound = radius * weight
    return bound + (relative * bound + size * absolute)


def _term(
    norm: Any, size: Any, weight: Any, radius: float, relative: float, absolute: float, share: float
) -> Any:
    limit = _limit(size, weight, radius, relative, absolute, share)
    return where(norm != norm, norm, where(norm > limit, np.inf, 0.0))


def _factors(
    norm: Any,
    size: Any,
    weight: Any,
    step_size: float,
    radius: float,
    relative: float,
    absolute: float,
    share: float,
) -> tuple[Any, Any]:
    bound = radius * weight
    stays = norm <= bound + share * (relative * bound + size * absolute)
    factor = where(stays, 1.0, bound / norm)
    apart = factor < _SMALLEST_FACTOR
    known = norm - norm == 0.0  # a norm that is NaN or infinite leaves no direction to scale along
    return where(apart, norm, 1.0), where(known, where(apart, bound, factor), np.nan)


@register("max_norm")
@dataclass(frozen=True, slots=True)
class MaxNorm(GroupRegularizer):
    """0 where ``norm(x_g) <= weight_g * radius`` for every group, infinite otherwise.

    A norm is outside where it exceeds the bound by more than two units in the last place; what is rounded to
    16 bits or to fixed point is rounded so that it is inside. Source: Srebro and Shraibman (2005), Rank,
    trace-norm and max-norm.
    """

    radius: float = parameter(NOT_NEGATIVE, "units of x")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, factors=_factors, limit=_limit)
    reduces_slices: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, indicator=True, keeps_zeros=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description.of_set(
        title="bounded norms: the weights of a unit, or an embedding's row",
        penalty="0 if norm(x_g) <= weight_g * radius for every g, infinity otherwise",
        terms="0 for a group inside, infinity outside, at the group's first element",
        prox="x_g * (weight_g * radius / norm(x_g)) for groups outside",
        source="Srebro and Shraibman 2005",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedGroups:
        """The bounds of the groups in a segment of this shape, to the precision of its data type."""
        return _PreparedBounds(self, self.partition_in(shape), data_type)

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN for a group whose norm is.

        Raises:
            GradientUndefined: If a group is outside, naming the first element of the first such group.
        """
        groups = ready.partition
        out.fill(0.0)
        groups.apply(np.multiply, out, self._slopes(ready, groups.norms(x)), out)

    def rule_of_slope(self, ready: PreparedGroups, norms: Float64Array) -> Rule:
        """The same of slices."""
        return GroupConstant(cast("Slices", ready.partition).inner, 0.0 * self._slopes(ready, norms))

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write groups outside with the norm of their bound; slices as their rule has it."""
        slices = interleaved(ready.partition)
        if slices is None or not x.size:
            ready.multiply(x, step_size, out)
            return
        squares = slices.squares(x)
        with np.errstate(all="ignore"):
            divisors, factors = ready.factors_of(squares, float(step_size))
            self.rule_of_step(ready, divisors, factors, float(step_size)).write(
                x.reshape(-1), 0, out.reshape(-1)
            )

    @staticmethod
    def _slopes(ready: PreparedGroups, norms: Float64Array) -> Float64Array:
        """1 for each group inside, NaN for one whose norm is.

        Raises:
            GradientUndefined: If a group is outside.
        """
        limits = _limits(ready)
        outside = norms > limits
        if outside.any():
            group = int(np.argmax(outside))
            text = (
                f"must have groups of norm at most {limits[group]!s} to have a gradient, got {norms[group]!s}"
            )
            raise GradientUndefined(text, element=int(ready.partition.starts()[group]))
        return np.where(np.isnan(norms), np.nan, 1.0)


@dataclass(frozen=True, slots=True)
class _PreparedBounds(PreparedGroups):
    """Bounds on the norms of a segment's groups."""

    regularizer: MaxNorm

    @property
    def numbers(self) -> tuple[float, ...]:
        """The radius; by what of its bound, and for each element, a norm may exceed it; the step's share."""
        of = self.data_type
        return self.regularizer.radius, slack(of, 0, 1.0), slack(of, 1, 0.0), share_left_alone(of)

    def factors_of(self, squares: GroupSquares, step_size: float) -> tuple[Any, Float64Array]:
        """By what slices are divided, and then multiplied: their quotients are rounded downwards.

        So no norm is above what counts as inside afterwards, and there is nothing to be tried.
        """
        divisors, factors = PreparedGroups.factors_of(self, squares, step_size)
        downwards = squares.quotients(self.partition.times(self.regularizer.radius))
        scaled = np.isfinite(factors) & ((factors != 1.0) | (divisors != 1.0))
        return np.where(scaled, downwards[0], 1.0), np.where(scaled, downwards[1], factors)

    def reduction(self) -> Reduction | None:
        """That of slices, where no point of the set leaves it by rounding."""
        if self.rounds_outside(Grid(self.data_type), at_random=False):
            return None
        return PreparedGroups.reduction(self)

    def workspace(self, elements: int) -> int:
        """The squares, the same in the order of the groups, and a result that is looked at again."""
        return (SETTLING if is_coarse(self.data_type) else 3) * elements

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse, or with a reference, or makes numbers as large as a bound infinite."""
        del at_random
        if grid.reference is not None or is_coarse(grid.data_type):
            return True
        return self.partition.largest_weight() * self.regularizer.radius > grid.largest

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding made a group's norm too large."""
        groups, limits = self.partition, _limits(self)
        finite = np.where(np.isfinite(exact), grid.finite(numbers), numbers)
        with np.errstate(all="ignore"):
            if not np.any(groups.norms(grid.points(finite)) > limits):
                return None if np.array_equal(finite, numbers, equal_nan=True) else finite
            bounds = groups.times(self.regularizer.radius)
            bounds = np.where(bounds > 0, bounds, 1.0)
            ends = limits / bounds
            of = groups.numbers()

            def excess(points: Float64Array) -> Float64Array:
                norms = groups.norms(points)
                return np.where(norms > limits, (norms / bounds - ends) * (norms / bounds + ends), 0.0)

            def costs(points: Float64Array, places: Places) -> Float64Array:
                return np.square(points / bounds[of[places]])

            return lowered(exact, finite, grid, costs, excess, of)


def _limits(ready: PreparedGroups) -> Float64Array:
    sizes, weights = ready.partition.sizes(), ready.partition.weights
    limits: Float64Array = _limit(sizes, weights, *ready.numbers)
    return limits
