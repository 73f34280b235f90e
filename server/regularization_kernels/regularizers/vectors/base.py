"""What sets of whole segments share: who is inside is asked of all elements together."""

from __future__ import annotations

import math
from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldOutOfRange, GradientUndefined
from ...formats import Grid, is_coarse, share_left_alone, slack
from ...interruption import go_on
from ...regularizer import SETTLING, Regularizer
from ...summation import BlockSum


@dataclass(frozen=True, slots=True)
class Breach:
    """Why a point is outside."""

    rule: str
    """What it would have to be."""
    got: float
    """What it is."""
    element: int = 0
    """Where, if that can be said."""


class SegmentSet(Regularizer):
    """0 on a set, infinite off it. NaN makes everything NaN, and so does an infinity outside the set."""

    __slots__ = ("_data_type",)

    _data_type: DataType

    @property
    def scale(self) -> float:
        """1: a set has no strength."""
        return 1.0

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The set made ready for a segment of this shape, with the tolerance of this data type."""
        del shape
        ready = copy(self)
        object.__setattr__(ready, "_data_type", data_type)
        return ready

    def workspace(self, elements: int) -> int:
        """A copy or two of the segment, and flags; more where its rounding is looked at."""
        return (SETTLING if is_coarse(self.data_type) else 3) * elements

    @abstractmethod
    def breach(self, x: Float64Array, share: float = 1.0) -> Breach | None:
        """Why x is outside, None where it is inside; x has an element and no NaN.

        Args:
            x: The point.
            share: Of what a sum or a norm may miss its bound by.
        """

    @abstractmethod
    def project(self, x: Float64Array, out: Float64Array) -> None:
        """Write the nearest point of the set; x is finite and outside."""

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse, or is of the point and the reference together."""
        del at_random
        return grid.reference is not None or is_coarse(grid.data_type)

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set."""
        if not (exact.size and np.isfinite(exact).all()):
            return None
        finite = grid.finite(numbers)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self.breach(grid.points(finite)) is not None:
                return self.rounded(exact, finite, grid)
        return None if np.array_equal(finite, numbers) else finite

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, near an exact point; those that are given are not."""
        del exact, numbers, grid
        return None

    def allowed(self, elements: int, magnitude: float) -> float:
        """By how much a sum or norm may miss its bound and still count as on it."""
        return slack(self.data_type, elements, magnitude)

    @property
    def data_type(self) -> DataType:
        """What results are rounded to."""
        return getattr(self, "_data_type", FLOAT64)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 inside, infinity outside, NaN where there is one, at the place of the first element."""
        if not x.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            term = math.nan if _has_nan(x) else 0.0 if self.breach(x) is None else math.inf
        sums.add_at(np.array([position]), np.array([term]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x has one.

        Raises:
            GradientUndefined: If x is outside.
        """
        if not x.size:
            return
        has_nan = _has_nan(x)
        with np.errstate(over="ignore", invalid="ignore"):
            breach = None if has_nan else self.breach(x)
        if breach is not None:
            text = f"{breach.rule} to have a gradient, got {breach.got!r}"
            raise GradientUndefined(text, element=breach.element)
        out.fill(math.nan if has_nan else 0.0)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest point of the set, x itself where it is inside."""
        del step_size
        if not x.size:
            return
        low, high = float(np.min(x)), float(np.max(x))
        if math.isnan(high):
            out.fill(math.nan)
            return
        go_on()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self.breach(x, share_left_alone(self.data_type)) is None:
                np.copyto(out, x)
            elif math.isinf(low) or math.isinf(high):
                out.fill(math.nan)
            else:
                go_on()
                self.project(x, out)


def require_radius(value: float) -> None:
    """Reject what is not finite or below 0."""
    if not (math.isfinite(value) and value >= 0):
        raise FieldOutOfRange(f"must be finite and >= 0, got {value!r}", field="radius")


def _has_nan(x: Float64Array) -> bool:
    return math.isnan(np.max(x))  # the largest of numbers and NaN is NaN
