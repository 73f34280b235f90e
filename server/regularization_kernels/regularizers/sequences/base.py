"""What penalties of neighbours along an axis share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...folding import Folding, axis_parameter
from ...preparation import PreparedRegularizer, Unprepared
from ...summation import BlockSum


def axis_of_lines() -> Any:
    """The parameter that says along which axis neighbours are."""
    return axis_parameter("the last unless given", "along which neighbours are")


class LineRegularizer(Unprepared):
    """A penalty of the lines along one axis, which are the rows of the arrays here."""

    __slots__ = ()

    axis: int | None

    @abstractmethod
    def terms(self, rows: Float64Array) -> Float64Array:
        """The terms, each at an element's place, before scale; of the shape of the rows."""

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


@dataclass(frozen=True, slots=True)
class PreparedLines(PreparedRegularizer):
    """A penalty of lines, and how these lie."""

    regularizer: LineRegularizer
    lines: Folding

    def workspace(self, elements: int) -> int:
        """What the lines need, and a copy of them where they do not lie one after the other."""
        return self.regularizer.workspace(elements) + elements * self.lines.copies

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms, each at its element's place."""
        terms = self.regularizer.terms(self.lines.matrix(x))
        sums.add(self.lines.segment(terms).reshape(-1), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        self.lines.write(self.regularizer.slope, x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        regularizer = self.regularizer
        self.lines.write(lambda rows, out: regularizer.step(rows, step_size, out), x, out)
