"""Regularizers that must know a segment's shape or data type, and what computes there in their place."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

from .arrays import FLOAT64, DataType, ElementArray, Float64Array, StepSize
from .regularizer import Locality, Regularizer, Traits

if TYPE_CHECKING:
    from .expansions import Exponents
    from .formats import Grid
    from .summation import BlockSum


class Unprepared(Regularizer):
    """A regularizer that computes by what ``on`` makes of it, for arrays as if they were whole segments."""

    __slots__ = ()

    @abstractmethod
    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """What computes on a segment of this shape and data type in this regularizer's place."""

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms of the penalty to ``sums``; x starts at ``position`` of its segment."""
        self.on(x.shape).add_terms(x, sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        self.on(x.shape).gradient(x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        self.on(x.shape).prox(x, step_size, out)


class PreparedRegularizer(Regularizer):
    """A regularizer made ready for a segment; it stands in the place of the one that it was made of."""

    __slots__ = ()

    regularizer: Regularizer
    """What it was made of."""

    @property
    def name(self) -> str:  # type: ignore[override] # of an instance
        """The regularizer's."""
        return self.regularizer.name

    @property
    def traits(self) -> Traits:  # type: ignore[override] # of an instance
        """The regularizer's."""
        return self.regularizer.traits

    @property
    def locality(self) -> Locality:
        """How far it may be cut with these parameters."""
        return self.regularizer.locality

    @property
    def takes_weights(self) -> bool:
        """Whether the strength may differ from element to element."""
        return self.regularizer.takes_weights

    @property
    def scale(self) -> float:
        """What the sum of the terms is multiplied by to give the penalty."""
        return self.regularizer.scale

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Regularizer:
        """The regularizer made ready for another segment."""
        return self.regularizer.on(shape, data_type)

    def workspace(self, elements: int) -> int:
        """Float64 numbers that a call on so many elements needs at once, apart from input and result."""
        return self.regularizer.workspace(elements)

    def term_exponents(self, x: Exponents) -> Exponents:
        """Where finite terms lie, before weights and scale, of elements in ``x``."""
        return self.regularizer.term_exponents(x)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Whether rounding a point of a set to this grid may leave the set, so that ``settled`` is needed."""
        return self.regularizer.rounds_outside(grid, at_random=at_random)


class PreparedWeighing(PreparedRegularizer):
    """One that computes with weights of its terms itself, as these concern more than their own elements.

    Of others a weight multiplies its element's gradient and step size.
    """

    __slots__ = ()

    @abstractmethod
    def weighted(self, weights: ElementArray) -> Self:
        """The penalty with these weights, of the segment's shape."""
