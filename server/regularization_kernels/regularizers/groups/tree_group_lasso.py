"""The tree-structured group lasso: norms of nested groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from math import prod
from typing import ClassVar, Self, cast

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldMissing, FieldOutOfRange, GroupsInvalid
from ...expansions import Exponents, norm_exponents
from ...preparation import PreparedRegularizer, Unprepared
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ...summation import BlockSum
from .base import Groups, PreparedGroups
from .group_lasso import GroupLasso
from .partitions import EvenRuns, Partition, RaggedRuns

MOST_LEVELS = 32
"""Levels of a tree: each is a pass over the elements."""


@register("tree_group_lasso")
@dataclass(frozen=True, slots=True)
class TreeGroupLasso(Unprepared):
    """Sum of the norms of nested groups, ``strength * sum(weight_g * norm(x_g))`` over all levels.

    A step is a group lasso's for each level, from the finest groups to the coarsest: exactly the proximal
    step of the sum, because of any two groups one holds the other or they have nothing in common. Source:
    Jenatton, Mairal, Obozinski and Bach (2011), Proximal methods for hierarchical sparse coding.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    nested_groups: tuple[Groups, ...] = parameter(
        None,
        f"levels of groups, 1 to {MOST_LEVELS}, from the finest to the coarsest, each group made of whole "
        "groups of the level before; contiguous (of axes, 0 alone)",
    )

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description(
        title="nested groups: whole branches exactly zero, and leaves of those that stay",
        penalty="strength * sum over levels and their groups g of weight_g * norm(x_g)",
        terms="at an element, weight_g * norm(x_g) of the groups that begin there, level by level, squares "
        "added pairwise; scale: strength",
        gradient="sum over levels of strength * weight_g * x_g / norm(x_g), 0 for a zero group",
        prox="the step of group_lasso with the first level, from there with the second, and so on",
        source="Jenatton et al. 2011",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        Unprepared.__post_init__(self)
        if not self.nested_groups:
            raise FieldMissing("must have a level of groups", field="nested_groups")
        if len(self.nested_groups) > MOST_LEVELS:
            text = f"must be at most {MOST_LEVELS} levels, got {len(self.nested_groups)}"
            raise FieldOutOfRange(text, field="nested_groups")
        for level, groups in enumerate(self.nested_groups):
            if groups.axis:
                text = f"must be 0, or groups interleave, got {groups.axis}"
                raise GroupsInvalid(text, field=f"nested_groups[{level}].axis")

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """The penalty of the groups in a segment of this shape.

        Raises:
            GroupsInvalid: If a level does not fit it, or its groups are not made of those of the one before.
        """
        partitions = tuple(self._partition(level, shape) for level in range(len(self.nested_groups)))
        if prod(shape):
            for level, (finer, coarser) in enumerate(pairwise(partitions), 1):
                if not _is_made_of(coarser, finer):
                    text = "must have groups that are made of whole groups of the level before"
                    raise GroupsInvalid(text, field=f"nested_groups[{level}]")
        return _PreparedTree(self, partitions, data_type)

    def _partition(self, level: int, shape: tuple[int, ...]) -> Partition:
        try:
            return self.nested_groups[level].partition(shape)
        except GroupsInvalid as error:
            error.within(f"nested_groups[{level}]")
            raise


@dataclass(frozen=True, slots=True)
class _PreparedTree(PreparedRegularizer):
    """Nested groups of a segment.

    Args:
        regularizer: Whose groups they are.
        partitions: The groups of each level, from the finest to the coarsest.
        data_type: What elements are rounded to.
    """

    regularizer: TreeGroupLasso
    partitions: tuple[Partition, ...] = field(compare=False)
    data_type: DataType

    def _levels(self) -> Iterator[PreparedGroups]:
        """A group lasso for each level, made only where it is computed: so a tree takes little memory."""
        # Its groups are the partition's, whatever its own field says.
        lasso = GroupLasso(strength=self.regularizer.strength, groups=self.regularizer.nested_groups[0])
        return (PreparedGroups(lasso, partition, self.data_type) for partition in self.partitions)

    def cut(self, position: int) -> int:
        """The last end of one of the coarsest groups at or before ``position``."""
        return self.partitions[-1].cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The penalty of the groups between two ends of the coarsest."""
        return replace(self, partitions=tuple(each.restricted(begin, end) for each in self.partitions))

    def workspace(self, elements: int) -> int:
        """The squares, the same by groups, and a level's terms or gradient beside their sum."""
        return 4 * elements

    def term_exponents(self, x: Exponents) -> Exponents:
        """Norms, times the groups' weights, of all levels together."""
        norms = norm_exponents(x)
        return reduce(Exponents.plus, (norms.times(each.weight_exponents()) for each in self.partitions))

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add each group's term, at the place of its first element."""
        if not x.size:
            return
        terms = np.zeros(x.size)
        for groups in self.partitions:
            terms[groups.starts()] += groups.times_weights(groups.norms(x))
        sums.add(terms, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        total, own = np.zeros_like(x), np.empty_like(x)
        for level in self._levels():
            level.gradient(x, own)
            total += own
        np.copyto(out, total)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        for level in self._levels():
            level.prox(x, step_size, out)
            x = out


def _is_made_of(coarser: Partition, finer: Partition) -> bool:
    """Whether wherever a coarser group begins a finer one does; it takes no longer than there are edges."""
    if isinstance(finer, EvenRuns):
        size = finer.inner
        if isinstance(coarser, EvenRuns):
            return coarser.inner % size == 0
        return not (cast("RaggedRuns", coarser).edges % size).any()
    if coarser.count > finer.count:
        return False
    starts = cast("EvenRuns | RaggedRuns", coarser).starts()
    return bool(np.isin(starts, cast("RaggedRuns", finer).edges).all())
