"""Groups of elements as a regularizer's parameters name them, and what grouped regularizers share."""

from __future__ import annotations

import math
from abc import abstractmethod
from copy import copy
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array
from ...errors import FieldMissing, FieldOutOfRange, GroupsInvalid
from ...expansions import Exponents, exponents_of, exponents_of_all
from ...formats import Grid
from ...regularizer import Locality, Regularizer
from .compiled_loop import GroupScalars, GroupVariant, edges_of, group_loop_for
from .partitions import EvenRuns, Partition, RaggedRuns, Slices

if TYPE_CHECKING:
    from ...prepared import FusedLoop, Pass


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


class PartitionedRegularizer(Regularizer):
    """A penalty of a partition of the segment into groups, which its parameters and the shape settle."""

    __slots__ = ("_data_type", "_partition")

    scalars: ClassVar[GroupScalars | None] = None
    """The same formulas for one group, where there is a compiled loop for them."""
    _data_type: DataType
    _partition: Partition

    @property
    def scalar_parameters(self) -> tuple[float, ...]:
        """The parameters that the group formulas take: all but the groups."""
        return tuple(getattr(self, field.name) for field in fields(self) if field.name != "groups")

    @abstractmethod
    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """The groups in a segment of that shape.

        Raises:
            GroupsInvalid: If they do not fit it.
        """

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer made ready for a segment of this shape and data type."""
        return self._with(self.partition_in(shape), data_type)

    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""
        return self._partition.cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The regularizer of the groups between two ends."""
        return self._with(self._partition.restricted(begin, end), self.data_type)

    def workspace(self, elements: int) -> int:
        """The squares, and the same in the order of the groups."""
        return 2 * elements

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """The loop that Numba compiles of the formulas for one group, where the groups are runs."""
        scalars, partition = self.scalars, self.partition
        if scalars is None:
            return None
        if self.traits.indicator and self.rounds_outside(Grid(wanted.data_type), at_random=False):
            return None
        parameters = self.scalar_parameters
        variant = GroupVariant(
            scalars=scalars,
            stepping=wanted.stepping,
            forward=wanted.forward,
            counting=wanted.counting,
            data_type=wanted.data_type,
            parameters=len(parameters),
        )
        loop = group_loop_for(variant, elements)
        edges = None if loop is None else edges_of(partition, elements, scalars.longest)
        if loop is None or edges is None:
            return None
        weights = partition.times_weights(np.ones(partition.count))
        return loop, (parameters, edges, weights)

    @property
    def data_type(self) -> DataType:
        """What elements are rounded to, as ``on`` was told."""
        return getattr(self, "_data_type", FLOAT64)

    @property
    def partition(self) -> Partition:
        """The partition that ``on`` or ``restricted`` settled."""
        return self._partition

    def partition_of(self, x: Float64Array) -> Partition:
        """The partition that ``on`` or ``restricted`` settled, or that of a segment of x's shape."""
        return getattr(self, "_partition", None) or self.partition_in(x.shape)

    @property
    def weight_exponents(self) -> Exponents:
        """Where the groups' weights lie."""
        weights = self.partition.weights
        return exponents_of(weights) if isinstance(weights, float) else exponents_of_all(weights)

    def _with(self, partition: Partition, data_type: DataType) -> Self:
        ready = copy(self)
        object.__setattr__(ready, "_partition", partition)
        object.__setattr__(ready, "_data_type", data_type)
        return ready


class GroupRegularizer(PartitionedRegularizer):
    """A penalty that is a sum over groups; its ``groups`` field says which."""

    __slots__ = ()

    groups: Groups

    @property
    def locality(self) -> Locality:
        """GROUP where groups are contiguous; slices along an axis after the first need the whole."""
        return Locality.SEGMENT if self.groups.axis else Locality.GROUP

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """The groups in a segment of that shape.

        Raises:
            GroupsInvalid: If they do not fit it.
        """
        try:
            return self.groups.partition(shape)
        except GroupsInvalid as error:
            error.within("groups")
            raise


class WholeRegularizer(PartitionedRegularizer):
    """A penalty of the whole segment: one group."""

    __slots__ = ()

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """One term is one double, and so is its product with the scale."""
        del x, weights, size
        return 1

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """One group of all elements."""
        return Slices(1, 1, math.prod(shape))
