"""What a regularizer is once it knows its segment: all that the engine computes with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from .arrays import DataType, Float64Array, StepSize
    from .expansions import Exponents
    from .formats import Grid
    from .reductions.reduction import Reduction
    from .summation import BlockSum


class Penalty(Protocol):
    """A penalty Ω of the elements of a piece; arrays are as in ``regularizer``."""

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms of the penalty to ``sums``; x starts at ``position`` of its segment."""

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""


class Prepared(Penalty, Protocol):
    """What ``Regularizer.on`` gives: a penalty, and how a segment of it is cut, rounded and accounted for."""

    def cut(self, position: int) -> int:
        """The largest place at or before ``position`` where the segment may be cut."""

    def restricted(self, begin: int, end: int) -> Self:
        """The penalty of the elements begin..end alone, where it may be cut there."""

    def workspace(self, elements: int) -> int:
        """Float64 numbers that a call on so many elements needs at once, apart from input and result."""

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """The most doubles that the exact sum of the penalty may need."""

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Whether rounding a point of a set to this grid may leave the set, so that ``settled`` is needed."""

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers of the grid inside the set, if those that a point of it was rounded to are outside."""

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """A compiled loop that does all of a pass over so many elements, if it is there."""

    def reduction(self) -> Reduction | None:
        """How a long segment is computed by statistics of its parts, if it can be."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over memory does with every element."""

    data_type: DataType
    """Of elements and results."""
    stepping: bool
    """A proximal step; else a penalty."""
    forward: bool
    """Whether there are loss gradients to step along first."""
    counting: bool
    """Whether any figure is wanted."""
    checking: bool
    """Whether to stop before an element that is not finite."""
    in_place: bool
    """Whether the result may lie where the parameters or the loss gradients do."""
    at_random: bool
    """Whether results are rounded at random; else to nearest."""
    neighbours: bool = False
    """Whether the elements are those of several short segments side by side."""


FusedLoop = tuple[Callable[..., int], tuple[Any, ...]]
"""A compiled loop, and arguments of the regularizer's own.

The loop takes parameters, loss gradients (any array where there are none), result (any where there is none),
step size, the regularizer's own arguments, position of the first element in its segment, and the lanes of
penalty and squared distance, ``(blocks, 256)`` each; where it rounds at random, last the first element's
state (``formats.random_state``). Of neighbours the lanes are those of each segment, ``(n, 256)``, and behind
them come where among the elements each segment begins and the last one ends, ``(n + 1,)``, which of them to
take, in their order, and the counts of nonzeros of each, which it adds to, ``(n,)``, all int64. It gives the
number of nonzeros, or -1 - i where it stopped because one of the elements from i on is not finite; results
are then written up to i.
"""
