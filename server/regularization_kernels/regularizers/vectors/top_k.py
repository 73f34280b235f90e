"""The k largest elements: sparsity of a given count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array
from ...formats import Grid
from ...preparation import PreparedRegularizer
from ...reductions.reduction import SetReduction
from ...reductions.rules import Constant, Kept, Rule
from ...reductions.survey import Search, Survey
from ...regularizer import Description, Locality, Traits, parameter, register
from ..groups.base import Groups, partition_of, without_weights
from ..groups.largest import nearest_with_nonzeros, nonzeros_in
from ..groups.n_of_m import NOfM
from ..groups.partitions import EvenRuns, RaggedRuns
from ..groups.sets import PreparedGroupSets
from .base import Breach
from .counts import CountOrFraction
from .grouped import OF_GROUPS, UNSET, GroupedSet, PreparedAs


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    regularizer: TopK
    data_type: DataType

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """The number of elements that are not 0, where it is above the count."""
        del share
        nonzeros, most = (yield from survey.facts()).nonzeros, self.regularizer.most(survey.size)
        return None if nonzeros <= most else (f"must have at most {most} elements that are not 0", nonzeros)

    def projection(self, survey: Survey) -> Search[Rule]:
        """The largest elements, of equal ones the first."""
        most = self.regularizer.most(survey.size)
        if not most:
            return Constant(0.0)
        place = yield from survey.place(most)
        taken, last = most - place.above, survey.size - 1
        if taken < place.ties:
            last = yield from survey.position_of_tie(place.number, taken)
        return Kept(place.number, last)


@dataclass(frozen=True, slots=True)
class _Counts(PreparedGroupSets):
    """How many elements of each group may stay."""

    regularizer: TopK

    def misses(self, rows: Float64Array, bounds: Float64Array, share: float) -> Float64Array:
        """How many more than may are not 0."""
        del bounds, share
        return nonzeros_in(rows) - self.regularizer.most(rows.shape[1])

    def breach(self, group: Float64Array, bound: float) -> Breach:
        """The number of elements that are not 0."""
        del bound
        most = self.regularizer.most(group.size)
        rule = f"must have groups of at most {most} elements that are not 0"
        return Breach(rule, int(np.count_nonzero(group)))

    def nearest(self, rows: Float64Array, bounds: Float64Array) -> Float64Array:
        """The largest elements, of equal ones the first."""
        del bounds
        return nearest_with_nonzeros(rows, self.regularizer.most(rows.shape[1]))

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Nowhere, for 0 is a number of every data type."""
        del grid, at_random
        return False


@register("top_k")
@dataclass(frozen=True, slots=True)
class TopK(CountOrFraction, GroupedSet):
    """0 where at most ``count`` elements, or a fraction of them, are not 0, infinite otherwise.

    With groups, so many of each may stay. Cost: O(n). Source: Blumensath and Davies (2009), Iterative hard
    thresholding for compressed sensing.
    """

    count: int | None = parameter(
        None, "how many may stay, k; >= 0, at most the segment's length; this or fraction", default=None
    )
    fraction: float | None = parameter(
        None,
        "which part of the n elements may stay, from 0 to 1, k = floor(fraction * n + 1/2); "
        "in place of count",
        default=None,
    )
    groups: Groups | None = parameter(None, f"{OF_GROUPS}; without weights{UNSET}", default=None)

    leaves_by_rounding: ClassVar[bool] = False
    traits: ClassVar[Traits] = Traits(
        positively_homogeneous=True, indicator=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description.of_set(
        title="sparsity of a given count, or share: the largest elements stay",
        penalty="0 if at most k elements are not 0, infinity otherwise",
        prox="the k elements largest in magnitude, of equal ones the first; 0 elsewhere",
        source="Blumensath and Davies 2009",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        CountOrFraction.__post_init__(self)
        if self.groups is not None:
            without_weights(self.groups)

    def on_whole(self, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The set made ready for a segment of this shape.

        Raises:
            FieldOutOfRange: If the segment has fewer elements than may stay.
        """
        self.check_total(math.prod(shape), "elements")
        return GroupedSet.on_whole(self, shape, data_type)

    def on_groups(self, groups: Groups, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The groups' sets made ready for a segment of this shape; those of runs of one size are ``n_of_m``.

        Raises:
            GroupsInvalid: If the groups do not fit the shape.
            FieldOutOfRange: If a group has fewer elements than may stay.
        """
        partition = partition_of(groups, shape)
        if partition.count:
            # Slices are of one size, and there may be as many as a shape says: no array is made of them.
            ragged = isinstance(partition, RaggedRuns)
            smallest = int(partition.sizes().min()) if ragged else math.prod(shape) // partition.count
            self.check_total(smallest, "elements", "the smallest group's")
        if isinstance(partition, EvenRuns):
            size = partition.inner
            runs = NOfM(n=min(self.most(size), size), m=size)
            return PreparedAs(self, runs.on((math.prod(shape),), data_type))
        return _Counts(self, partition, data_type)

    def reduction_in(self, data_type: DataType) -> SetReduction:
        """By the least magnitude that stays."""
        return _Reduction(self, data_type)
