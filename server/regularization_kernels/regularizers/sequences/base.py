"""What penalties of neighbours along an axis share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...folding import Folding, axis_parameter
from ...interruption import go_on
from ...preparation import PreparedRegularizer, Unprepared
from ...summation import BlockSum

_AT_ONCE = 1 << 20
"""Elements of lines that are copied at once, where they lie apart; more where one line has more.

They are so many that what is compiled for sequences is waited for, as it is for long rows.
"""


def axis_of_lines() -> Any:
    """The parameter that says along which axis neighbours are."""
    return axis_parameter("the last unless given", "along which neighbours are")


class LineRegularizer(Unprepared):
    """A penalty of the lines along one axis; to slope and step they are rows."""

    __slots__ = ()

    axis: int | None

    @abstractmethod
    def terms(self, x: Float64Array, axis: int) -> Float64Array:
        """The terms along an axis of x, each at an element's place, before scale; of the shape of x."""

    @abstractmethod
    def slope(self, rows: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential; ``out`` may be the rows."""

    @abstractmethod
    def step(self, rows: Float64Array, step_size: StepSize, out: Float64Array) -> None:
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
class PreparedLines(PreparedRegularizer):
    """A penalty of lines, and how these lie."""

    regularizer: LineRegularizer
    lines: Folding

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
        sums.add(self.regularizer.terms(x.reshape(shape), axis).reshape(-1), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        self._by_batches(self.regularizer.slope, x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        regularizer = self.regularizer
        self._by_batches(lambda rows, out: regularizer.step(rows, step_size, out), x, out)

    def _by_batches(
        self, compute: Callable[[Float64Array, Float64Array], None], x: Float64Array, out: Float64Array
    ) -> None:
        """Compute lines as they lie, or a few at a time as rows: then no copy of all is needed."""
        lines, length = self.lines.shape
        if not self.lines.copies:
            compute(x.reshape(lines, length), out.reshape(lines, length))
            return
        if not (x.size and np.isfinite(x).all()):
            out.fill(np.nan)
            return
        beside = math.prod(self.lines.lengths[self.lines.order[-1] + 1 :])
        given, results = x.reshape(-1, length, beside), out.reshape(-1, length, beside)
        count = max(1, _AT_ONCE // length)
        for block, result in zip(given, results, strict=True):
            for begin in range(0, beside, count):
                go_on()
                rows = block[:, begin : begin + count].T.copy()
                compute(rows, rows)
                result[:, begin : begin + count] = rows.T
