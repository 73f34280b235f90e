"""A set for each group, such as an L1 ball, whatever the groups are."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from ...arrays import DataType, Float64Array, StepSize
from ...errors import GradientUndefined
from ...formats import Grid, is_coarse, share_left_alone, slack
from ...preparation import PreparedRegularizer, Unprepared
from ...reductions.array_survey import exact_sum
from ...reductions.reduction import rounded
from ...regularizer import SETTLING
from ...summation import BlockSum
from ..vectors.base import Breach
from .alike import alike
from .partitions import Partition

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PreparedGroupSets(PreparedRegularizer):
    """A set for each of a segment's groups, which know nothing of each other.

    A group with a NaN becomes NaN altogether, and so does one outside that has an infinity.

    Args:
        regularizer: The set.
        partition: The groups; their weights are the bounds of their sums, where they have some.
        data_type: To whose precision a sum is looked at, and what elements are rounded to.
    """

    regularizer: Unprepared
    partition: Partition = field(compare=False)
    data_type: DataType

    @abstractmethod
    def misses(self, rows: Float64Array, bounds: Float64Array, share: float) -> Float64Array:
        """By how much groups miss their sets: above 0 for those outside, NaN where there is one.

        Args:
            rows: The groups, ``(groups, n)``.
            bounds: One for each.
            share: Of what a sum may miss its bound by.
        """

    @abstractmethod
    def breach(self, group: Float64Array, bound: float) -> Breach:
        """Why a group is outside, which it is."""

    @abstractmethod
    def nearest(self, rows: Float64Array, bounds: Float64Array) -> Float64Array:
        """The nearest points of the sets; rows are finite and outside."""

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid, outside: Mask) -> Float64Array:
        """Numbers inside, near exact points, in a flat array; of those given some groups are outside.

        By default they stay, of sets that no rounding leaves.
        """
        del exact, grid, outside
        return numbers

    def allowed(self, size: int, bounds: Float64Array, share: float) -> Float64Array:
        """By how much sums of so many elements may miss their bounds and still count as on them."""
        return share * (slack(self.data_type, 0, 1.0) * bounds + slack(self.data_type, size, 0.0))

    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""
        return self.partition.cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The sets of the groups between two ends."""
        return replace(self, partition=self.partition.restricted(begin, end))

    def workspace(self, elements: int) -> int:
        """Distances and sums in pairs of numbers, and places; or what rounding inwards takes."""
        return SETTLING * elements

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse, or with a reference, or makes numbers as large as a bound infinite."""
        del at_random
        if grid.reference is not None or is_coarse(grid.data_type):
            return True
        return self.partition.largest_weight() > grid.largest

    @property
    def bounds(self) -> Float64Array:
        """The groups' weights: bounds of their sums."""
        return self.partition.times(1.0)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 for a group inside, infinity outside, NaN where there is one, at its first element."""
        if x.size:
            misses = self._misses(x)
            terms = np.where(np.isnan(misses), np.nan, np.where(misses > 0, np.inf, 0.0))
            sums.add_at(position + self.partition.starts(), terms)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN for a group that has one.

        Raises:
            GradientUndefined: If a group is outside, naming an element of the first such group.
        """
        if not x.size:
            return
        groups, misses = self.partition, self._misses(x)
        outside = misses > 0
        if outside.any():
            group = int(np.argmax(outside))
            places = np.flatnonzero(groups.numbers() == group)
            breach = self.breach(x.reshape(-1)[places], float(self.bounds[group]))
            text = f"{breach.rule} to have a gradient, got {breach.got!r}"
            raise GradientUndefined(text, element=int(places[breach.element]))
        out.fill(0.0)
        groups.apply(np.multiply, out, np.where(np.isnan(misses), np.nan, 1.0), out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest point of each group's set, the group itself where it is inside."""
        del step_size
        if not x.size:
            return
        gathered, bounds = self.partition.gathered(x), self.bounds
        new = np.empty_like(gathered)
        share = share_left_alone(self.data_type)
        for each in alike(self.partition):
            rows, own = each.rows(gathered), bounds[each.members]
            each.write(self._nearest_or_same(rows, own, self.misses(rows, own, share)), new)
        self.partition.spread(new, out)

    def _nearest_or_same(
        self, rows: Float64Array, bounds: Float64Array, misses: Float64Array
    ) -> Float64Array:
        moves, finite = misses > 0, np.isfinite(rows).all(axis=1)
        new = np.where((moves | np.isnan(misses))[:, np.newaxis], np.nan, rows)
        moves &= finite
        if moves.any():
            new[moves] = self.nearest(rows[moves], bounds[moves])
        return new

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding took groups out of their sets."""
        if not exact.size:
            return None
        finite = np.where(np.isfinite(exact), grid.finite(numbers), numbers)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            outside = self._misses(grid.points(finite)) > 0
            if outside.any():
                return self.rounded(exact, finite, grid, outside).reshape(exact.shape)
        return None if np.array_equal(finite, numbers, equal_nan=True) else finite

    def _misses(self, x: Float64Array) -> Float64Array:
        return self.by_group(x, lambda rows, bounds: self.misses(rows, bounds, 1.0))

    def by_group(
        self, x: Float64Array, measure: Callable[[Float64Array, Float64Array], Float64Array]
    ) -> Float64Array:
        """A number for each group, 0 for those without elements.

        Args:
            x: The elements.
            measure: Takes groups, ``(groups, n)``, and their bounds.
        """
        gathered, bounds = self.partition.gathered(x), self.bounds
        found = np.zeros(self.partition.count)
        for each in alike(self.partition):
            found[each.members] = measure(each.rows(gathered), bounds[each.members])
        return found


def sum_told(terms: Float64Array) -> float:
    """A sum for an error, rounded once."""
    return rounded(exact_sum(terms)) if np.isfinite(terms).all() else math.inf
