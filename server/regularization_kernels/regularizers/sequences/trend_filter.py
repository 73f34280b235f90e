"""Trend filtering along rows: piecewise polynomials."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldOutOfRange
from ...expansions import Exponents
from ...formats import Limits, limits
from ...interruption import go_on
from ...regularizer import Description, Locality, Regularizer, Traits, register, require_strength
from ...summation import BlockSum
from .banded import difference, spread
from .differences import as_rows, magnitudes, shortest_slope
from .taut_string import step_workspace, total_variation_step
from .trend import least_rows, workspace

_HIGHEST_ORDER = 5
_LARGEST_THRESHOLD = 1e300
_AT_ONCE = 1 << 13
"""Elements of rows that are solved at once; more where one row has more."""
_DIFFERENCES = 5
"""Arrays of a segment's size that its penalty needs."""


class _OfPrecision(Regularizer):
    """A regularizer that is made ready for rows of one length, of elements of one data type."""

    __slots__ = ("_length", "_limits")

    _length: int
    _limits: Limits

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer made ready for a segment of this shape and data type."""
        ready = copy(self)
        object.__setattr__(ready, "_length", shape[-1] if shape else 1)
        object.__setattr__(ready, "_limits", limits(data_type))
        return ready


@register("trend_filter")
@dataclass(frozen=True, slots=True)
class TrendFilter(_OfPrecision):
    """Sum of magnitudes of differences along the last axis, ``strength * sum(|Δ^(order + 1) x|)``.

    Rows along the last axis are independent of each other, except that one NaN makes all of them NaN. Order 0
    is total variation. A row no longer than the order has no differences.

    Prox: no closed form; iterated until the duality gap is at most 1e-12 of the objective, or rounding errors
    keep it from falling. Order 0 is exact. Gradient: ``strength * D' u``, D the matrix of the differences and
    u their signs; for differences of 0 those u in [-1, 1] that make it shortest, iterated likewise. With an
    order above 0 a difference counts as 0 up to ``2^(order + 1)`` times the distance of neighbours in the
    layout's data type, of floating point at the row's largest magnitude.

    Float64 bounds what can be had of a high order on a long row: rounding errors of the parameters alone
    change the penalty by about ``strength * n * 2^(order + 1) * 1e-16`` times their size, and the gap is no
    smaller. From thresholds of some 1e9 times the parameters on, a row may become one polynomial too early.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.
        order: Degree of the polynomials, 0 to 5.

    Raises:
        FieldOutOfRange: If strength is negative or not finite, or order is not 0 to 5.

    Cost: about 30 solutions of a banded system for each row, O(n·order²) each. Source: Kim, Koh, Boyd and
    Gorinevsky (2009), l1 trend filtering; Tibshirani (2014), Adaptive piecewise polynomial estimation via
    trend filtering.
    """

    strength: float
    order: int

    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="piecewise polynomial rows: few kinks",
        penalty="strength * sum |differences of order order + 1| along the last axis",
        terms="|difference of order order + 1| at the first of its order + 2 elements, a difference of"
        " differences, each rounded; 0 at the last order + 1 of a row; scale: strength",
        gradient="strength * D' u, u the signs of the differences D x, for differences of 0 in [-1, 1]"
        " and such that it is shortest; iterated",
        prox="iterated until the duality gap is at most 1e-12 of the objective, or no longer falls",
        parameters={
            "strength": "finite, >= 0; units of loss per unit of x",
            "order": "0 to 5; degree of the polynomials, 0 for total variation",
        },
        source="Kim, Koh, Boyd and Gorinevsky 2009; Tibshirani 2014",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)
        if not 0 <= self.order <= _HIGHEST_ORDER:
            raise FieldOutOfRange(f"must be >= 0 and <= {_HIGHEST_ORDER}, got {self.order!r}", field="order")

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def workspace(self, elements: int) -> int:
        """What the rows that are solved at once need, or the taut string of one, or the penalty."""
        length = min(elements, getattr(self, "_length", elements))
        if self.order == 0:
            return max(step_workspace(length) + 2 * elements, _DIFFERENCES * elements)
        return max(workspace(min(elements, max(length, _AT_ONCE)), self.order + 1), _DIFFERENCES * elements)

    def term_exponents(self, x: Exponents) -> Exponents:
        """Differences of differences of elements."""
        for _ in range(self.order + 1):
            x = x.plus(x)
        return x

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the magnitudes of the differences, each at the place of its first element."""
        sums.add(magnitudes(x, self.order + 1), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the shortest subgradient, row by row."""
        if self.order == 0:
            shortest_slope(x, 0.0, self.strength, out)
        else:
            self._by_batches(x, self._slopes, out)
            out *= self.strength
            out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the least point, row by row."""
        threshold = float(step_size) * self.strength
        if self.order == 0:
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
        if rows.shape[1] <= self.order + 1:
            return rows
        sizes = _exponents(rows)
        with np.errstate(over="ignore", under="ignore"):
            t = np.minimum(np.ldexp(threshold, -sizes), _LARGEST_THRESHOLD)
        stepped = rows.copy()
        moving = (t > 0) & rows.any(axis=1)
        scaled = np.ldexp(rows[moving], -sizes[moving, np.newaxis])
        solved = least_rows(scaled, self.order + 1, t[moving])
        stepped[moving] = np.ldexp(solved, sizes[moving, np.newaxis])
        return stepped

    def _slopes(self, rows: Float64Array) -> Float64Array:
        order = self.order + 1
        if rows.shape[1] <= order:
            return np.zeros(rows.shape)
        sizes = _exponents(rows)[:, np.newaxis]
        scaled = np.ldexp(rows, -sizes)
        differences = difference(scaled, order)
        known = getattr(self, "_limits", limits(FLOAT64))
        apart = known.eps * np.max(np.abs(scaled), axis=1, keepdims=True) + np.ldexp(known.spacing, -sizes)
        zero = np.abs(differences) <= 2.0**order * apart
        jumps = spread(np.where(zero, 0.0, np.sign(differences)), order)
        # The shortest jumps + Dᵀu with |u| <= 1 is what is left over of -jumps, but for its sign.
        return -least_rows(-jumps, order, np.ones(rows.shape[0]), zero)


def _exponents(rows: Float64Array) -> npt.NDArray[np.int32]:
    """For each row the power of two next above the largest magnitude; 0 where all are 0."""
    return np.asarray(np.frexp(np.max(np.abs(rows), axis=1, initial=0.0))[1])
