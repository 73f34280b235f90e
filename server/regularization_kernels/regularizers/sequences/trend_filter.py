"""Trend filtering along rows: piecewise polynomials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...expansions import Exponents
from ...formats import Limits, limits
from ...interruption import go_on
from ...preparation import PreparedRegularizer, Unprepared
from ...regularizer import NOT_NEGATIVE, Description, Locality, Range, Traits, parameter, register
from ...summation import BlockSum
from .banded import difference, spread
from .differences import as_rows, magnitudes, shortest_slope
from .taut_string import step_workspace, total_variation_step
from .trend import least_rows, workspace

_ORDERS = Range(">= 0 and <= 5", lambda order: 0 <= order <= 5, whole=True)
_LARGEST_THRESHOLD = 1e300
_AT_ONCE = 1 << 13
"""Elements of rows that are solved at once; more where one row has more."""
_DIFFERENCES = 5
"""Arrays of a segment's size that its penalty needs."""


@register("trend_filter")
@dataclass(frozen=True, slots=True)
class TrendFilter(Unprepared):
    """Sum of magnitudes of differences along the last axis, ``strength * sum(|Δ^(order + 1) x|)``.

    Rows along the last axis are independent of each other, except that one NaN makes all of them NaN. Order 0
    is total variation. A row no longer than the order has no differences.

    A step is iterated until the duality gap is at most 1e-12 of the objective, or rounding errors keep it
    from falling; order 0 is exact. In the gradient of an order above 0 a difference counts as 0 up to
    ``2^(order + 1)`` times the distance of neighbours in the layout's data type, of floating point at the
    row's largest magnitude.

    Float64 bounds what can be had of a high order on a long row: rounding errors of the parameters alone
    change the penalty by about ``strength * n * 2^(order + 1) * 1e-16`` times their size, and the gap is no
    smaller. From thresholds of some 1e9 times the parameters on, a row may become one polynomial too early.

    Cost: about 30 solutions of a banded system for each row, O(n·order²) each. Source: Kim, Koh, Boyd and
    Gorinevsky (2009), l1 trend filtering; Tibshirani (2014), Adaptive piecewise polynomial estimation via
    trend filtering.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    order: int = parameter(_ORDERS, "0 for total variation", symbol="degree of the polynomials")

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="piecewise polynomial rows: few kinks",
        penalty="strength * sum |differences of order order + 1| along the last axis",
        terms="|difference of order order + 1| at the first of its order + 2 elements, a difference of"
        " differences, each rounded; 0 at the last order + 1 of a row; scale: strength",
        gradient="strength * D' u, u the signs of the differences D x, for differences of 0 in [-1, 1]"
        " and such that it is shortest; iterated",
        prox="iterated until the duality gap is at most 1e-12 of the objective, or no longer falls",
        source="Kim, Koh, Boyd and Gorinevsky 2009; Tibshirani 2014",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """The same for rows of this length, whose differences are told from 0 as the data type can tell."""
        return _PreparedTrendFilter(self, shape[-1] if shape else 1, limits(data_type))

    def term_exponents(self, x: Exponents) -> Exponents:
        """Differences of differences of elements."""
        for _ in range(self.order + 1):
            x = x.plus(x)
        return x


@dataclass(frozen=True, slots=True)
class _PreparedTrendFilter(PreparedRegularizer):
    """Trend filtering of rows of one length, of elements of one data type."""

    regularizer: TrendFilter
    length: int
    limits: Limits

    def workspace(self, elements: int) -> int:
        """What the rows that are solved at once need, or the taut string of one, or the penalty."""
        length, order = min(elements, self.length), self.regularizer.order
        if order == 0:
            return max(step_workspace(length) + 2 * elements, _DIFFERENCES * elements)
        return max(workspace(min(elements, max(length, _AT_ONCE)), order + 1), _DIFFERENCES * elements)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the magnitudes of the differences, each at the place of its first element."""
        sums.add(magnitudes(as_rows(x), 1, self.regularizer.order + 1).reshape(-1), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the shortest subgradient, row by row."""
        if self.regularizer.order == 0:
            shortest_slope(x, 0.0, self.regularizer.strength, out)
        else:
            self._by_batches(x, self._slopes, out)
            out *= self.regularizer.strength
            out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the least point, row by row."""
        threshold = float(step_size) * self.regularizer.strength
        if self.regularizer.order == 0:
            total_variation_step(x, threshold, out)
        elif threshold == 0 and np.isfinite(x).all():
            np.copyto(out, x)
        else:
            self._by_batches(x, lambda rows: self._steps(rows, threshold), out)
            out += 0.0  # no negative zeros

    def _by_batches(
        self, x: Float64Array, compute: Callable[[Float64Array], Float64Array], out: Float64Array
    ) -> None:
        if not np.isfinite(x).all():
            out.fill(np.nan)
            return
        rows, results = as_rows(x), as_rows(out)
        batch = max(1, _AT_ONCE // max(1, rows.shape[1]))
        for begin in range(0, rows.shape[0], batch):
            go_on()
            results[begin : begin + batch] = compute(rows[begin : begin + batch])

    def _steps(self, rows: Float64Array, threshold: float) -> Float64Array:
        if rows.shape[1] <= self.regularizer.order + 1:
            return rows
        sizes = _exponents(rows)
        with np.errstate(over="ignore", under="ignore"):
            t = np.minimum(np.ldexp(threshold, -sizes), _LARGEST_THRESHOLD)
        stepped = rows.copy()
        moving = (t > 0) & rows.any(axis=1)
        scaled = np.ldexp(rows[moving], -sizes[moving, np.newaxis])
        solved = least_rows(scaled, self.regularizer.order + 1, t[moving])
        stepped[moving] = np.ldexp(solved, sizes[moving, np.newaxis])
        return stepped

    def _slopes(self, rows: Float64Array) -> Float64Array:
        order = self.regularizer.order + 1
        if rows.shape[1] <= order:
            return np.zeros(rows.shape)
        sizes = _exponents(rows)[:, np.newaxis]
        scaled = np.ldexp(rows, -sizes)
        differences = difference(scaled, order)
        known = self.limits
        apart = known.eps * np.max(np.abs(scaled), axis=1, keepdims=True) + np.ldexp(known.spacing, -sizes)
        zero = np.abs(differences) <= 2.0**order * apart
        jumps = spread(np.where(zero, 0.0, np.sign(differences)), order)
        # The shortest jumps + Dᵀu with |u| <= 1 is what is left over of -jumps, but for its sign.
        return -least_rows(-jumps, order, np.ones(rows.shape[0]), zero)


def _exponents(rows: Float64Array) -> npt.NDArray[np.int32]:
    """For each row the power of two next above the largest magnitude; 0 where all are 0."""
    return np.asarray(np.frexp(np.max(np.abs(rows), axis=1, initial=0.0))[1])
