"""What sets of whole segments share: who is inside is asked of all elements together."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined
from ...formats import Grid, is_coarse, share_left_alone
from ...interruption import go_on
from ...preparation import PreparedRegularizer, Unprepared
from ...reductions.reduction import Reduction
from ...regularizer import SETTLING
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


class SegmentSet(Unprepared):
    """0 on a set, infinite off it. NaN makes everything NaN, and so does an infinity outside the set."""

    __slots__ = ()

    leaves_by_rounding: ClassVar[bool] = True
    """Whether rounding a point of the set may leave it."""

    @abstractmethod
    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """Why x is outside, None where it is inside; x has an element and no NaN.

        Args:
            x: The point.
            data_type: To whose precision a sum or a norm is looked at.
            share: Of what these may miss their bound by.
        """

    @abstractmethod
    def project(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write the nearest point of the set; x is finite and outside."""

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, near an exact point; those that are given are not."""
        del exact, numbers, grid
        return None

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedSet:
        """The set as a segment of this data type can tell who is inside."""
        del shape
        return PreparedSet(self, data_type)

    def reduction_in(self, data_type: DataType) -> Reduction | None:
        """How a long segment of this data type is computed, if not as one array."""
        del data_type
        return None

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse, or is of the point and the reference together."""
        del at_random
        return self.leaves_by_rounding and (grid.reference is not None or is_coarse(grid.data_type))


class RadiusSet(SegmentSet):
    """A set of a radius."""

    __slots__ = ()

    radius: float

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Also where a number as large as the radius becomes infinite."""
        return SegmentSet.rounds_outside(self, grid, at_random=at_random) or self.radius > grid.largest


@dataclass(frozen=True, slots=True)
class PreparedSet(PreparedRegularizer):
    """A set, and the data type that its points are rounded to."""

    regularizer: SegmentSet
    data_type: DataType

    def workspace(self, elements: int) -> int:
        """A copy or two of the segment, and flags; more where its rounding is looked at."""
        looks = self.regularizer.leaves_by_rounding and is_coarse(self.data_type)
        return (SETTLING if looks else 3) * elements

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set."""
        if not (exact.size and np.isfinite(exact).all()):
            return None
        finite = grid.finite(numbers)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self.regularizer.breach(grid.points(finite), self.data_type) is not None:
                return self.regularizer.rounded(exact, finite, grid)
        return None if np.array_equal(finite, numbers) else finite

    def reduction(self) -> Reduction | None:
        """The set's, where no point of it leaves it by rounding."""
        if self.regularizer.rounds_outside(Grid(self.data_type), at_random=False):
            return None
        return self.regularizer.reduction_in(self.data_type)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 inside, infinity outside, NaN where there is one, at the place of the first element."""
        if not x.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            term = (
                math.nan
                if has_nan(x)
                else 0.0
                if self.regularizer.breach(x, self.data_type) is None
                else math.inf
            )
        sums.add_at(np.array([position]), np.array([term]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x has one.

        Raises:
            GradientUndefined: If x is outside.
        """
        if not x.size:
            return
        unknown = has_nan(x)
        with np.errstate(over="ignore", invalid="ignore"):
            breach = None if unknown else self.regularizer.breach(x, self.data_type)
        if breach is not None:
            text = f"{breach.rule} to have a gradient, got {breach.got!r}"
            raise GradientUndefined(text, element=breach.element)
        out.fill(math.nan if unknown else 0.0)

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
            if self.regularizer.breach(x, self.data_type, share_left_alone(self.data_type)) is None:
                np.copyto(out, x)
            elif math.isinf(low) or math.isinf(high):
                out.fill(math.nan)
            else:
                go_on()
                self.regularizer.project(x, self.data_type, out)


def has_nan(x: Float64Array) -> bool:
    """Whether there is a NaN among elements, of which there is one at least."""
    return math.isnan(np.max(x))  # the largest of numbers and NaN is NaN
