"""Sets that the norms of groups decide on, from below and from above."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np
import numpy.typing as npt

from ...arrays import FLOAT32, FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined, LayoutInvalid
from ...formats import Grid, is_coarse, share_left_alone, slack, spacings
from ...interruption import go_on
from ...regularizer import SETTLING
from ...summation import BlockSum
from .base import GroupRegularizer, PreparedGroups
from .compiled_loop import TRIALS

_TINY, _ENLARGING = 1e-150, 2.0**600
"""Below the one, norms of subnormal numbers are not exact; times the other they are."""
_SHRINKING = 2.0**-100
"""What makes infinite norms of finite elements finite."""

Mask = npt.NDArray[np.bool_]


class NormBoundedRegularizer(GroupRegularizer):
    """0 where ``weight_g * lower <= norm(x_g) <= weight_g * upper`` for every group, infinite otherwise.

    A norm is outside where it misses a bound by more than two units in the last place. Where the data type is
    coarse, hardly any group has a given norm: there it may miss it by the norm of the distances of neighbours
    at the group's elements, too, which is what rounding may do, and a step leaves groups that miss it by half
    of that.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Of the norm of a group with weight 1, the least and the largest."""

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedGroups:
        """The bounds of the groups in a segment of this shape, to the precision of its data type.

        Raises:
            LayoutInvalid: If a group has no element, and a norm above 0 to have.
        """
        groups = self.partition_in(shape)
        if groups.count and not prod(shape) and self.bounds[0] > 0 and np.any(np.asarray(groups.weights) > 0):
            text = f"must have an element in each group to have a norm above 0, got {list(shape)}"
            raise LayoutInvalid(text, field="shape")
        return _PreparedNorms(self, groups, data_type)

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN for a group whose norm is.

        Raises:
            GradientUndefined: If a group is outside, naming the first element of the first such group.
        """
        prepared, groups = cast("_PreparedNorms", ready), ready.partition
        norms = groups.norms(x)
        outside = ~prepared.contained(x, norms) & ~np.isnan(norms)
        if outside.any():
            group = int(np.argmax(outside))
            low, high = (float(bound[group]) for bound in prepared.bounds())
            text = (
                f"must have groups of norm from {low!r} to {high!r} to have a gradient, got {norms[group]!s}"
            )
            raise GradientUndefined(text, element=int(groups.starts()[group]))
        out.fill(0.0)
        groups.apply(np.multiply, out, np.where(np.isnan(norms), np.nan, 1.0), out)

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write groups outside with the nearest norm inside; a zero group's first element has it."""
        del step_size
        cast("_PreparedNorms", ready).project(x, out)


@dataclass(frozen=True, slots=True)
class _PreparedNorms(PreparedGroups):
    """Bounds on the norms of a segment's groups, from both sides."""

    regularizer: NormBoundedRegularizer

    def workspace(self, elements: int) -> int:
        """Scaled elements, a result that is looked at again, squares, the same in order, and spacings."""
        return SETTLING * elements

    def bounds(self) -> tuple[Float64Array, Float64Array]:
        """The least and the largest norm of each group."""
        low, high = self.regularizer.bounds
        return self.partition.times(low), self.partition.times(high)

    def contained(
        self, x: Float64Array, norms: Float64Array, share: float = 1.0, share_of_rounding: float = 1.0
    ) -> Mask:
        """Which groups are inside.

        Args:
            x: The elements.
            norms: The groups' norms.
            share: Of the units in the last place that a norm may miss its bound by.
            share_of_rounding: Of what rounding to a coarse data type may do.
        """
        relative, absolute = share * slack(self.data_type, 0, 1.0), share * slack(self.data_type, 1, 0.0)
        allowed = self.partition.sizes() * absolute
        if is_coarse(self.data_type):
            allowed = allowed + share_of_rounding * self.partition.norms(spacings(x, self.data_type))
        low, high = self.bounds()
        inside: Mask = (norms >= low - (relative * low + allowed)) & (
            norms <= high + (relative * high + allowed)
        )
        return inside

    def _left_alone(self, x: Float64Array, norms: Float64Array) -> Mask:
        """Which groups a step leaves as they are: half of what rounding may do is left for it."""
        return self.contained(x, norms, share_left_alone(self.data_type), 0.5)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 for a group inside, infinity outside, NaN where there is one, at its first element."""
        norms = self.partition.norms(x)
        terms = np.where(self.contained(x, norms), 0.0, np.inf)
        sums.add_at(position + self.partition.starts(), np.where(np.isnan(norms), np.nan, terms))

    def project(self, x: Float64Array, out: Float64Array) -> None:
        """Write the nearest elements inside."""
        groups, norms = self.partition, self.partition.norms(x)
        stays = self._left_alone(x, norms)
        low, high = self.bounds()
        targets = np.clip(norms, low, high)
        scaled, lengths = self._scaled(x, norms, stays)
        known = stays | np.isfinite(lengths)
        divisors = np.where(stays | (lengths == 0), 1.0, lengths)
        factors = np.where(known, np.where(stays, 1.0, targets), np.nan)
        new = np.empty_like(x)
        for _ in range(TRIALS):
            go_on()
            with np.errstate(invalid="ignore"):  # an infinity times NaN
                groups.apply(np.divide, scaled, divisors, new)
                groups.apply(np.multiply, new, factors, new)
            if self.data_type == FLOAT32:
                break
            # In float64 itself what rounding does to a norm may be more than counts as inside.
            reached = groups.norms(new)
            off = ~stays & (reached > 0) & ~self.contained(new, reached, share_of_rounding=0.0)
            if not off.any():
                break
            factors[off] *= targets[off] / reached[off]
        first = ~stays & (lengths == 0)
        new.reshape(-1)[groups.starts()[first]] = low[first]
        np.add(new, 0.0, out=out)  # no negative zeros

    def _scaled(self, x: Float64Array, norms: Float64Array, stays: Mask) -> tuple[Float64Array, Float64Array]:
        """The elements, groups that move and are tiny or huge times a power of two, and the norms of that."""
        tiny, huge = ~stays & (norms < _TINY), ~stays & np.isinf(norms)
        if not (tiny | huge).any():
            return x, norms
        scaled = np.empty_like(x)
        powers = np.where(tiny, _ENLARGING, np.where(huge, _SHRINKING, 1.0))
        self.partition.apply(np.multiply, x, powers, scaled)
        return scaled, self.partition.norms(scaled)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse and at random, or with a reference, or makes a norm as asked infinite."""
        if grid.reference is not None or (at_random and is_coarse(grid.data_type)):
            return True
        return float(np.max(self.bounds()[1], initial=0.0)) > grid.largest

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """The nearest numbers for groups that were rounded farther than to nearest they would be."""
        groups = self.partition
        finite = np.where(np.isfinite(exact), grid.finite(numbers), numbers)
        with np.errstate(all="ignore"):
            points = grid.points(finite)
            norms = groups.norms(points)
            away = ~self._left_alone(points, norms) & ~np.isnan(norms)
            if away.any():
                nearest = np.where(np.isfinite(exact), grid.nearest(exact), finite)
                groups.apply(_replaced_by(nearest), finite, away.astype(np.float64), finite)
        return None if np.array_equal(finite, numbers, equal_nan=True) else finite


def _replaced_by(others: Float64Array) -> Callable[..., None]:
    """An operation that takes elements of another array where its second argument is not 0."""

    def operation(elements: Float64Array, chosen: Float64Array, out: Float64Array) -> None:
        np.copyto(out, np.where(chosen != 0, others.reshape(elements.shape), elements))

    return operation
