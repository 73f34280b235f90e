"""Sets of a whole segment, or of each of its groups."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...formats import Grid
from ...preparation import PreparedRegularizer
from ...regularizer import Locality, Regularizer
from ...summation import BlockSum
from ..groups.base import Groups
from .base import ReducedSet

if TYPE_CHECKING:
    from ...prepared import FusedLoop, Pass
    from ...reductions.reduction import Reduction

OF_GROUPS = "which elements form a group, each to be in a set of its own, with a term at its first element"
"""What ``groups`` of a set is, before what unset means."""

OF_RADIUS = "; of the radius times its weight"

UNSET = "; unset: the segment is one group, of locality reduction"


class GroupedSet(ReducedSet):
    """A set of the whole segment; where it has ``groups``, of each group by itself.

    Groups are whole where they are computed. So with them the locality is theirs, and there is no reduction.
    """

    __slots__ = ()

    groups: Groups | None

    @property
    def locality(self) -> Locality:
        """That of the groups where there are some."""
        return self.traits.locality if self.groups is None else self.groups.locality

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """The set, or those of the groups, made ready for a segment of this shape and data type.

        Raises:
            GroupsInvalid: If the groups do not fit the shape.
            LayoutInvalid: If the shape does not fit.
            FieldOutOfRange: If there are fewer elements than a parameter says.
        """
        if self.groups is None:
            return self.on_whole(shape, data_type)
        return self.on_groups(self.groups, shape, data_type)

    def on_whole(self, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The set made ready for a segment of this shape."""
        return ReducedSet.on(self, shape, data_type)

    @abstractmethod
    def on_groups(self, groups: Groups, shape: tuple[int, ...], data_type: DataType) -> PreparedRegularizer:
        """The groups' sets made ready for a segment of this shape."""


class RadiusSet(GroupedSet):
    """A set of a radius; of a group, it is the radius times the group's weight."""

    __slots__ = ()

    radius: float

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Also where a number as large as the radius becomes infinite."""
        return ReducedSet.rounds_outside(self, grid, at_random=at_random) or self.radius > grid.largest


@dataclass(frozen=True, slots=True)
class PreparedAs(PreparedRegularizer):
    """Sets of groups that another regularizer has, too.

    Args:
        regularizer: Whose sets they are.
        same: The other one, made ready.
    """

    regularizer: GroupedSet
    same: Regularizer

    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""
        return self.same.cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The sets of the groups between two ends."""
        return replace(self, same=self.same.restricted(begin, end))

    def workspace(self, elements: int) -> int:
        """The other one's."""
        return self.same.workspace(elements)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """As of the other one."""
        return self.same.rounds_outside(grid, at_random=at_random)

    def reduction(self) -> Reduction | None:
        """The other one's."""
        return self.same.reduction()

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding took groups out of their sets."""
        return self.same.settled(exact, numbers, grid)

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """The other one's loop."""
        return self.same.fused(wanted, elements)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 for a group inside, infinity outside, NaN where there is one, at its first element."""
        self.same.add_terms(x, sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN for a group that has one.

        Raises:
            GradientUndefined: If a group is outside.
        """
        self.same.gradient(x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest point of each group's set."""
        self.same.prox(x, step_size, out)
