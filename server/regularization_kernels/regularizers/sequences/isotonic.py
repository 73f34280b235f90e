"""Isotonic lines: elements that do not decrease, or do not increase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined, LayoutInvalid
from ...folding import Folding
from ...formats import Grid
from ...interruption import go_on
from ...regularizer import Description, Locality, Traits, parameter, register
from ...summation import BlockSum
from ..vectors.base import Breach, PreparedSet, SegmentSet
from ..vectors.pooling import pool_rows
from .base import axis_of_lines

_STRETCH = 1 << 16
"""Elements that are rounded at once."""


@register("isotonic")
@dataclass(frozen=True, slots=True)
class Isotonic(SegmentSet):
    """0 where no element along an axis is less than one before it, infinite otherwise.

    With ``decreasing`` none is more than one before it: a line is then the opposite of one that does not
    decrease. The order is exact in every data type: rounding to nearest keeps it, and where stochastic
    rounding would not, the segment is rounded to nearest.

    With a step size t for each element the step is the fit of weights 1/t: what moves less easily weighs
    more. Elements whose step size is 0 stay, all others follow; such as are out of order move to their plain
    mean. Where the step sizes of a line are equal, its step has the bits of one without.

    Cost: O(n); one element after the other, in a compiled loop where Numba is installed. Memory: three
    float64 numbers an element at most beside input and result, seven with step sizes; more only with a
    reference. Source: Barlow, Bartholomew, Bremner and Brunk (1972), Statistical inference under order
    restrictions; Best and Chakravarti (1990), Active set algorithms for isotonic regression.
    """

    decreasing: bool = parameter(None, "whether elements are not to increase; unset: false", default=False)
    axis: int | None = axis_of_lines()

    steps_in_metric: ClassVar[bool] = True
    scaling: ClassVar[int] = 4
    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, indicator=True, locality=Locality.SEGMENT
    )
    description: ClassVar[Description] = Description.of_set(
        title="elements that do not decrease: monotone curves, calibration",
        penalty="0 if no element along the axis is less than one before it (if decreasing, more),"
        " infinity otherwise",
        prox="the nearest lines that do not decrease (or increase), by pooling adjacent violators;"
        " with a step size for each element y that minimizes sum over i of (y_i - x_i)^2 / step_size_i,"
        " where those of 0 stay, or among themselves are pooled to their plain mean;"
        " memory: 3 float64 numbers an element beside input and result, 7 with step sizes",
        source="Barlow et al. 1972; Best and Chakravarti 1990",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedSet:
        """The set made ready for a segment of this shape.

        Raises:
            LayoutInvalid: If it has no axis to be ordered along.
            FieldOutOfRange: If it has not this one.
        """
        if not shape:
            raise LayoutInvalid(f"must have an axis for {self.name}, got {list(shape)}", field="shape")
        return _PreparedIsotonic(self, data_type, Folding.lines_along(shape, self.axis))

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where equal numbers may be rounded apart; to nearest, and without a reference, they are not."""
        return grid.reference is not None or (at_random and grid.data_type != FLOAT64)

    def in_order(self, rows: Float64Array) -> bool:
        """Whether no element of a row is less than one before it, or more."""
        wrong = np.greater if self.decreasing else np.less
        return not wrong(rows[:, 1:], rows[:, :-1]).any()

    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """The first element of the rows that is less than one before it, or more."""
        del data_type, share
        if self.in_order(x):
            return None
        wrong, extreme, than = (
            (np.greater, np.minimum, "more") if self.decreasing else (np.less, np.maximum, "less")
        )
        go_on()
        before = extreme.accumulate(x, axis=1)
        go_on()
        first = int(np.argmax(wrong(x, before)))
        bound = float(before.reshape(-1)[first])
        rule = f"must not be {than} than {bound!r}, which stands before it,"
        return Breach(rule, float(x.reshape(-1)[first]), first)

    def project(
        self, x: Float64Array, data_type: DataType, out: Float64Array, step_sizes: Float64Array | None = None
    ) -> None:
        """Write the nearest rows that are in order, also in the metric of step sizes >= 0 as x lies."""
        del data_type
        sizes = None if step_sizes is None else step_sizes.reshape(-1)
        if not self.decreasing:
            pool_rows(x.reshape(-1), x.shape[1], out.reshape(-1), sizes)
            return
        np.negative(x, out=out)
        pool_rows(out.reshape(-1), x.shape[1], out.reshape(-1), sizes)
        np.subtract(0.0, out, out=out)  # no negative zeros


@dataclass(frozen=True, slots=True)
class _PreparedIsotonic(PreparedSet):
    """The set of lines that lie so, which are rows to it."""

    regularizer: Isotonic
    lines: Folding

    def workspace(self, elements: int) -> int:
        """Pools and their sums, or the order so far and flags, and the lines as rows; or what is rounded."""
        return 3 * elements

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """The nearest numbers, which keep the order; or those of the point, rounded, plus the reference."""
        if not (exact.size and np.isfinite(exact).all()):
            return None
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            finite = grid.finite(numbers)
            if self._in_order(grid.points(finite)):
                return None if np.array_equal(finite, numbers) else finite
            if grid.reference is None:
                return _to_nearest(exact, grid, out=finite)
            for point in (exact, Grid(grid.data_type).nearest(exact)):
                nearest = grid.nearest(point)
                if self._in_order(grid.points(nearest)):
                    return nearest
        return None

    def _in_order(self, points: Float64Array) -> bool:
        return self.regularizer.in_order(self.lines.matrix(points))

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 inside, infinity outside, NaN where there is one, at the place of the first element."""
        PreparedSet.add_terms(self, self.lines.matrix(x), sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x has one.

        Raises:
            GradientUndefined: If x is outside.
        """
        try:
            PreparedSet.gradient(self, self.lines.matrix(x), out)
        except GradientUndefined as error:
            error.element = None if error.element is None else self.lines.place(error.element)
            raise

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest lines in order, x itself where they are."""
        self.lines.write(lambda rows, out: PreparedSet.prox(self, rows, step_size, out), x, out)

    def project(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest rows in order, in the metric of step sizes that lie as the segment does."""
        if not isinstance(step_size, np.ndarray):
            self.regularizer.project(x, self.data_type, out)
        elif np.min(step_size) >= 0:
            self.regularizer.project(x, self.data_type, out, self.lines.matrix(step_size))
        else:
            # Unknown; or, in memory that others write to, below 0, which it was not when it was looked at.
            out.fill(np.nan)


def _to_nearest(exact: Float64Array, grid: Grid, out: Float64Array) -> Float64Array:
    """Write the numbers nearest to points, a stretch at a time, which takes little memory."""
    points, numbers = exact.reshape(-1), out.reshape(-1)
    for begin in range(0, points.size, _STRETCH):
        go_on()
        numbers[begin : begin + _STRETCH] = grid.nearest(points[begin : begin + _STRETCH])
    return out
