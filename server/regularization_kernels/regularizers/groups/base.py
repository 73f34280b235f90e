"""Groups of elements as a regularizer's parameters name them, and what grouped regularizers share."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np

from ...arrays import FLOAT32, FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldMissing, FieldOutOfRange, GroupsInvalid
from ...expansions import ANY, Exponents
from ...formats import Grid, is_coarse
from ...formulas.evaluation import evaluate
from ...interruption import go_on
from ...preparation import PreparedRegularizer, Unprepared
from ...reductions.group_rules import GroupScaled, GroupTimes
from ...reductions.rules import Rule, Same
from ...regularizer import Locality
from ...summation import BlockSum
from .compiled_loop import LESS, TRIALS, GroupFormulas, GroupVariant, group_loop_for, runs_of
from .partitions import EvenRuns, Partition, RaggedRuns, Slices
from .slices import interleaved, reduction_of

if TYPE_CHECKING:
    from ...prepared import FusedLoop, Pass
    from ...reductions.group_squares import GroupSquares
    from ...reductions.reduction import Reduction

GROUPS_WORDS = "which elements form a group, and the groups' weights"
"""What a ``groups`` parameter is."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Which elements of a segment form a group, and each group's weight.

    Args:
        size: Consecutive runs of this many elements, >= 1.
        sizes: Consecutive runs of these many elements, each >= 1.
        axis: The slices of the segment's shape along this axis.
        sqrt_size: Whether a group's weight is the square root of its size; 1 otherwise.
        weights: One weight for each group, finite and >= 0.

    Raises:
        FieldMissing: If none of size, sizes and axis is given.
        GroupsInvalid: If more than one of them, or both of sqrt_size and weights are given, or a
            size is below 1.
        FieldOutOfRange: If the axis is negative, or a weight is negative or not finite.
    """

    size: int | None = None
    sizes: tuple[int, ...] | None = None
    axis: int | None = None
    sqrt_size: bool | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        given = [value for value in (self.size, self.sizes, self.axis) if value is not None]
        if not given:
            raise FieldMissing("must have size, sizes or axis")
        if len(given) > 1:
            raise GroupsInvalid("must have only one of size, sizes and axis")
        if self.sqrt_size is not None and self.weights is not None:
            raise GroupsInvalid("must have only one of sqrt_size and weights")
        if self.size is not None and self.size < 1:
            raise GroupsInvalid(f"must be >= 1, got {self.size}", field="size")
        for index, size in enumerate(self.sizes or ()):
            if size < 1:
                raise GroupsInvalid(f"must be >= 1, got {size}", field=f"sizes[{index}]")
        if self.axis is not None and self.axis < 0:
            raise FieldOutOfRange(f"must be >= 0, got {self.axis}", field="axis")
        for index, weight in enumerate(self.weights or ()):
            if not (math.isfinite(weight) and weight >= 0):
                raise FieldOutOfRange(f"must be finite and >= 0, got {weight!r}", field=f"weights[{index}]")

    @property
    def locality(self) -> Locality:
        """GROUP where groups are contiguous; slices along an axis after the first need the whole."""
        return Locality.SEGMENT if self.axis else Locality.GROUP

    def locality_by_norms(self) -> Locality:
        """Likewise, of penalties that need of slices along an axis no more than their norms."""
        return Locality.REDUCTION if self.axis else Locality.GROUP

    def partition(self, shape: tuple[int, ...]) -> Partition:
        """These groups in a segment of that shape.

        Raises:
            GroupsInvalid: If they do not fill it exactly, the weights are not one for each, or the shape
                has no such axis.
        """
        partition = self._unweighted(shape)
        if self.sqrt_size:
            return partition.weighted(partition.sqrt_sizes())
        if self.weights is None:
            return partition
        if len(self.weights) != partition.count:
            text = f"must be one for each of {partition.count} groups, got {len(self.weights)}"
            raise GroupsInvalid(text, field="weights")
        return partition.weighted(np.array(self.weights, dtype=np.float64))

    def _unweighted(self, shape: tuple[int, ...]) -> Partition:
        elements = math.prod(shape)
        if self.axis is not None:
            return _slices(shape, self.axis)
        if self.sizes is not None:
            # In Python's integers, for those of an array would wrap around and seem to add up.
            total = sum(self.sizes)
            if total != elements:
                text = f"must add up to the segment's {elements} elements, got {total}"
                raise GroupsInvalid(text, field="sizes")
            return RaggedRuns(np.cumsum((0, *self.sizes), dtype=np.int64))
        size = self.size or 1
        if elements % size:
            raise GroupsInvalid(f"must divide the segment's {elements} elements, got {size}", field="size")
        return EvenRuns(elements // size, size)


def _slices(shape: tuple[int, ...], axis: int) -> Partition:
    if axis >= len(shape):
        raise GroupsInvalid(f"must be below the segment's {len(shape)} axes, got {axis}", field="axis")
    outer, count, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    if outer == 1 and inner > 0:
        return EvenRuns(count, inner)
    return Slices(outer, count, inner)


class PartitionedRegularizer(Unprepared):
    """A penalty of a partition of the segment into groups, which its parameters and the shape decide."""

    __slots__ = ()

    formulas: ClassVar[GroupFormulas | None] = None
    """Its formulas for one group, which are those for arrays of groups as well; None where it has none, and
    arrays are computed in another way."""

    reduces_slices: ClassVar[bool] = False
    """Whether it is told by the norms of its groups alone, so that slices along any axis need not be whole:
    it has ``lengths``, and factors among its formulas."""

    @abstractmethod
    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """The groups in a segment of that shape.

        Raises:
            GroupsInvalid: If they do not fit it.
        """

    @abstractmethod
    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential at x."""

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the proximal step from x: by default, groups times their factors."""
        ready.multiply(x, step_size, out)

    def rule_of_nothing(self) -> Rule:
        """The rule of a method that changes nothing, of slices."""
        return Same()

    def rule_of_slope(self, ready: PreparedGroups, norms: Float64Array) -> Rule:
        """The rule of the minimum-norm subgradient, of slices with these norms.

        Raises:
            GradientUndefined: If there is none.
        """
        raise NotImplementedError

    def rule_of_step(
        self,
        ready: PreparedGroups,
        divisors: Float64Array | float,
        factors: Float64Array,
        step_size: float,
    ) -> Rule:
        """The rule of the proximal step, of slices with these factors."""
        del step_size
        inner = cast("Slices", ready.partition).inner
        if np.all(divisors == 1.0):
            return GroupTimes(inner, factors)
        return GroupScaled(inner, np.asarray(divisors), factors)

    def group_exponents(self, x: Exponents, weights: Exponents) -> Exponents:
        """Where terms of groups with these weights lie."""
        del x, weights
        return ANY

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedGroups:
        """The penalty of the groups in a segment of this shape."""
        return PreparedGroups(self, self.partition_in(shape), data_type)

    def workspace(self, elements: int) -> int:
        """The squares, and the same in the order of the groups."""
        return 2 * elements


@dataclass(frozen=True, slots=True)
class PreparedGroups(PreparedRegularizer):
    """A penalty of groups, with the groups of a segment.

    Args:
        regularizer: Whose formulas are used.
        partition: The groups.
        data_type: What elements are rounded to.
    """

    regularizer: PartitionedRegularizer
    partition: Partition = field(compare=False)
    data_type: DataType

    @property
    def formulas(self) -> GroupFormulas:
        """Those for one group, of a regularizer that has them."""
        return cast("GroupFormulas", self.regularizer.formulas)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The parameters that the formulas for one group take: all but what says which groups."""
        names = (field.name for field in fields(self.regularizer) if field.name not in ("groups", "axis"))
        return tuple(float(getattr(self.regularizer, name)) for name in names)

    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""
        return self.partition.cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The penalty of the groups between two ends."""
        return replace(self, partition=self.partition.restricted(begin, end))

    def term_exponents(self, x: Exponents) -> Exponents:
        """Where finite terms lie, of elements in ``x``."""
        return self.regularizer.group_exponents(x, self.partition.weight_exponents())

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add each group's term, at the place of its first element, and the elements' own."""
        formulas, groups = self.formulas, self.partition
        terms = self.terms_of(formulas.measure.of_groups(groups, x))
        if formulas.element is None:
            sums.add_at(position + groups.starts(), terms)
            return
        own = np.empty(x.size)
        evaluate(formulas.element, own, x.reshape(-1), *self.numbers)
        if interleaved(groups) is not None:
            # What is known of them may come from elsewhere, so they have lanes of their own.
            sums.beside(self.scale).add_at(position + groups.starts(), terms)
        else:
            own[groups.starts()] += terms
        sums.add(own, position)

    def terms_of(self, measured: Float64Array) -> Float64Array:
        """Each group's term, from its measure."""
        groups = self.partition
        terms: Float64Array = self.formulas.term(measured, groups.sizes(), groups.weights, *self.numbers)
        return terms

    def factors_of(self, squares: GroupSquares, step_size: float) -> tuple[Any, Float64Array]:
        """By what slices are divided, and then multiplied, from their squares."""
        groups = self.partition
        return self.formulas.factors(
            squares.norms(), groups.sizes(), groups.weights, step_size, *self.numbers
        )

    def reduction(self) -> Reduction | None:
        """That of slices along an axis after the first, where norms are all that is needed of them."""
        return reduction_of(self)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        self.regularizer.slope(self, x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        self.regularizer.step(self, x, step_size, out)

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """The loop that Numba compiles of the formulas for one group, where the groups are runs."""
        if wanted.at_random or is_coarse(wanted.data_type) or self.regularizer.formulas is None:
            return None
        if self.traits.indicator and self.rounds_outside(Grid(wanted.data_type), at_random=False):
            return None
        formulas, numbers = self.formulas, self.numbers
        variant = GroupVariant(
            formulas=formulas,
            stepping=wanted.stepping,
            forward=wanted.forward,
            counting=wanted.counting,
            data_type=wanted.data_type,
            parameters=len(numbers),
        )
        loop = group_loop_for(variant, elements)
        runs = None if loop is None else runs_of(self.partition, elements, formulas.longest)
        if loop is None or runs is None:
            return None
        return loop, (numbers, *runs)

    def multiply(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the elements, or the points that the formulas make of them, times the factors of groups."""
        formulas, groups, numbers = self.formulas, self.partition, self.numbers
        if formulas.point is not None:
            evaluate(formulas.point, out.reshape(-1), x.reshape(-1), step_size, *numbers)
            x = out
        sizes, weights = groups.sizes(), groups.weights
        with np.errstate(all="ignore"):  # what a formula does not choose may be anything
            divisors, factors = formulas.factors(groups.norms(x), sizes, weights, step_size, *numbers)
        new = out if formulas.limit is None else np.empty_like(x)
        for _ in range(TRIALS):
            go_on()
            if isinstance(divisors, np.ndarray):
                groups.apply(np.divide, x, divisors, new)
                groups.apply(np.multiply, new, factors, new)
            else:
                groups.apply(np.multiply, x, factors, new)
            if formulas.limit is None or self.data_type == FLOAT32:
                break
            # Rounding in float64 itself may leave a norm a little above what counts as inside.
            outside = groups.norms(new) > formulas.limit(sizes, weights, *numbers)
            if not outside.any():
                break
            factors[outside] *= LESS
        np.add(new, 0.0, out=out)  # no negative zeros


class GroupRegularizer(PartitionedRegularizer):
    """A penalty that is a sum over groups; its ``groups`` field says which."""

    __slots__ = ()

    groups: Groups

    @property
    def locality(self) -> Locality:
        """That of the groups."""
        return self.groups.locality_by_norms() if self.reduces_slices else self.groups.locality

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """The groups in a segment of that shape.

        Raises:
            GroupsInvalid: If they do not fit it.
        """
        return partition_of(self.groups, shape)


def partition_of(groups: Groups, shape: tuple[int, ...]) -> Partition:
    """The groups of a regularizer's field ``groups`` in a segment of that shape.

    Raises:
        GroupsInvalid: If they do not fit it.
    """
    try:
        return groups.partition(shape)
    except GroupsInvalid as error:
        error.within("groups")
        raise


def without_weights(groups: Groups) -> None:
    """Check that groups have no weights, of a regularizer that has no use for them.

    Raises:
        GroupsInvalid: If they have.
    """
    for name in ("sqrt_size", "weights"):
        if getattr(groups, name):
            text = "must be unset: the nearest point does not depend on weights"
            raise GroupsInvalid(text, field=f"groups.{name}")
