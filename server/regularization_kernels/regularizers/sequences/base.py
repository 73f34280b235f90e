"""What penalties of neighbours along an axis share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ...arrays import FLOAT64, DataType, ElementArray, Float64Array, StepSize
from ...folding import Folding, axis_parameter
from ...interruption import go_on
from ...preparation import PreparedWeighing, Unprepared
from ...summation import BlockSum

_AT_ONCE = 1 << 20
"""Elements of lines that are copied at once, where they lie apart; more where one line has more.

They are so many that what is compiled for sequences is waited for, as it is for long rows.
"""


def axis_of_lines() -> Any:
    """The parameter that says along which axis neighbours are."""
    return axis_parameter("the last unless given", "along which neighbours are")


class LineRegularizer(Unprepared):
    """A penalty of the lines along one axis; to slope and step they are rows.

    With weights of the same shape that of element i belongs to the difference between it and the next one;
    those of each line's last element are ignored. A weight of 0 cuts the line there.
    """

    __slots__ = ()

    weighs_terms: ClassVar[bool] = True
    weighing: ClassVar[int] = 9

    axis: int | None

    @abstractmethod
    def terms(self, x: Float64Array, axis: int, weights: Float64Array | None = None) -> Float64Array:
        """The terms along an axis of x, each at an element's place, before scale; of the shape of x."""

    @abstractmethod
    def slope(self, rows: Float64Array, out: Float64Array, weights: Float64Array | None = None) -> None:
        """Write the minimum-norm element of the subdifferential; ``out`` may be the rows."""

    @abstractmethod
    def step(
        self, rows: Float64Array, step_size: StepSize, out: Float64Array, weights: Float64Array | None = None
    ) -> None:
        """Write the proximal step; ``out`` may be the rows."""

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedLines:
        """The penalty made ready for a segment of this shape.

        Raises:
            FieldOutOfRange: If there is no such axis.
        """
        del data_type
        return PreparedLines(self, Folding.lines_along(shape, self.axis))


TERMS = 2
"""Arrays of a segment's size that the differences of its penalty need."""


@dataclass(frozen=True, slots=True)
class PreparedLines(PreparedWeighing):
    """A penalty of lines, and how these lie.

    Args:
        regularizer: The penalty.
        lines: How they lie in the segment.
        weights: Of the segment's differences, of its shape; None for 1.
    """

    regularizer: LineRegularizer
    lines: Folding
    weights: Float64Array | None = None

    def weighted(self, weights: ElementArray) -> Self:
        """The penalty with these weights of its differences."""
        return replace(self, weights=weights.astype(np.float64, copy=False))

    def workspace(self, elements: int) -> int:
        """What lines that are computed at once need, copied where they lie apart; or the terms."""
        needs = self.regularizer.workspace
        if not self.lines.copies:
            return needs(elements)
        at_once = min(elements, max(self.lines.shape[1], _AT_ONCE))
        return max(at_once + needs(at_once), TERMS * elements)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms, each at its element's place."""
        shape, axis = (self.lines.lengths, self.lines.order[-1]) if self.lines.order else ((1,), 0)
        weights = None if self.weights is None else self.weights.reshape(shape)
        sums.add(self.regularizer.terms(x.reshape(shape), axis, weights).reshape(-1), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        self._by_batches(self.regularizer.slope, x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        regularizer = self.regularizer
        self._by_batches(lambda rows, out, weights: regularizer.step(rows, step_size, out, weights), x, out)

    def _by_batches(
        self,
        compute: Callable[[Float64Array, Float64Array, Float64Array | None], None],
        x: Float64Array,
        out: Float64Array,
    ) -> None:
        """Compute lines as they lie, or a few at a time as rows: then no copy of all is needed."""
        shape, weights = self.lines.shape, self.weights
        if not self.lines.copies:
            compute(x.reshape(shape), out.reshape(shape), None if weights is None else weights.reshape(shape))
            return
        beside = math.prod(self.lines.lengths[self.lines.order[-1] + 1 :])
        blocks = (-1, shape[1], beside)
        if not (x.size and np.isfinite(x).all() and _are_weights(weights, blocks)):
            out.fill(np.nan)
            return
        given, results = x.reshape(blocks), out.reshape(blocks)
        weighing = None if weights is None else weights.reshape(blocks)
        count = max(1, _AT_ONCE // shape[1])
        for block, result in enumerate(results):
            for begin in range(0, beside, count):
                go_on()
                some = slice(begin, begin + count)
                rows = given[block, :, some].T.copy()
                own = None if weighing is None else weighing[block, :, some].T.copy()
                compute(rows, rows, own)
                result[:, some] = rows.T


def _are_weights(weights: Float64Array | None, blocks: tuple[int, int, int]) -> bool:
    """Whether all weights, but for those of lines' last elements, are numbers of at least 0."""
    return weights is None or bool(np.min(weights.reshape(blocks)[:, :-1], initial=np.inf) >= 0)
