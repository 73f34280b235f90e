"""What rows of whole segments share: some figures of all elements, and then one rule for each."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined
from ...formats import Grid, is_coarse, share_left_alone
from ...interruption import go_on
from ...preparation import PreparedRegularizer, Unprepared
from ...reductions.array_survey import ArraySurvey, at_once
from ...reductions.reduction import Reduction, SetReduction
from ...reductions.rules import Rule
from ...reductions.survey import Search
from ...regularizer import SETTLING
from ...summation import BlockSum

if TYPE_CHECKING:
    from ...expansions import Exponents

T = TypeVar("T")


class VectorRegularizer(Unprepared):
    """A penalty of a whole segment, told by a few figures of it."""

    __slots__ = ()

    @abstractmethod
    def reduction_in(self, data_type: DataType) -> Reduction:
        """What is asked of a segment of this data type, and what follows of it."""

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedVector:
        """The penalty of all elements of a segment."""
        del shape
        return PreparedVector(self, data_type)


@dataclass(frozen=True, slots=True)
class PreparedVector(PreparedRegularizer):
    """A penalty of a whole segment, and the segment's data type."""

    regularizer: VectorRegularizer
    data_type: DataType

    def reduction(self) -> Reduction:
        """The regularizer's."""
        return self.regularizer.reduction_in(self.data_type)

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """One term is one double, and so is its product with the scale."""
        del x, weights, size
        return 1

    def workspace(self, elements: int) -> int:
        """Those elements that a threshold is looked for among, twice."""
        return 3 * elements

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the one term, at the place of the first element."""
        add_term(self.reduction(), x, sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        write_slope(self.reduction(), x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        write_step(self.reduction(), x, step_size, out)


def add_term(reduction: Reduction, x: Float64Array, sums: BlockSum, position: int) -> None:
    """Add the term of a whole segment at the place of its first element."""
    if x.size:
        term = _found(reduction, x, reduction.term)
        sums.add_at(np.array([position]), np.array([term]))


def write_slope(reduction: Reduction, x: Float64Array, out: Float64Array) -> None:
    """Write the minimum-norm subgradient at a whole segment.

    Raises:
        GradientUndefined: If there is none.
    """
    if x.size:
        _found(reduction, x, reduction.slope).write(x.reshape(-1), 0, out.reshape(-1))


def write_step(reduction: Reduction, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
    """Write the proximal step from a whole segment."""
    if x.size:
        rule = _found(reduction, x, lambda survey: reduction.step(survey, float(step_size)))
        rule.write(x.reshape(-1), 0, out.reshape(-1))


def _found(reduction: Reduction, x: Float64Array, search: Callable[[ArraySurvey], Search[T]]) -> T:
    go_on()
    with np.errstate(all="ignore"):
        return at_once(search(ArraySurvey(reduction.order, x.reshape(-1))))


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

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """The set as a segment of this data type can tell who is inside."""
        del shape
        return PreparedSet(self, data_type)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse, or is of the point and the reference together."""
        del at_random
        return self.leaves_by_rounding and (grid.reference is not None or is_coarse(grid.data_type))


class ReducedSet(SegmentSet):
    """A set that a few figures of the whole segment tell: whether a point is inside, and the nearest one."""

    __slots__ = ()

    @abstractmethod
    def reduction_in(self, data_type: DataType) -> SetReduction:
        """What is asked of a segment of this data type, and what follows of it."""

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """The set as a segment of this data type can tell who is inside."""
        del shape
        return PreparedReducedSet(self, data_type)

    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """Why x is outside, None where it is inside."""
        reduction = self.reduction_in(data_type)
        found = _found(reduction, x, lambda survey: reduction.breach(survey, share))
        return None if found is None else Breach(*found)

    def project(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write the nearest point of the set."""
        reduction = self.reduction_in(data_type)
        rule: Rule = _found(reduction, x, reduction.projection)
        rule.write(x.reshape(-1), 0, out.reshape(-1))


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
                self.project(x, step_size, out)

    def project(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest point of the set; x is finite and outside."""
        del step_size
        self.regularizer.project(x, self.data_type, out)


@dataclass(frozen=True, slots=True)
class PreparedReducedSet(PreparedSet):
    """A set that a few figures tell, and the data type that its points are rounded to."""

    regularizer: ReducedSet

    def reduction(self) -> Reduction | None:
        """The set's, where no point of it leaves it by rounding."""
        if self.regularizer.rounds_outside(Grid(self.data_type), at_random=False):
            return None
        return self._reduction

    @property
    def _reduction(self) -> SetReduction:
        return self.regularizer.reduction_in(self.data_type)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 inside, infinity outside, NaN where there is one, at the place of the first element."""
        add_term(self._reduction, x, sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x has one.

        Raises:
            GradientUndefined: If x is outside.
        """
        write_slope(self._reduction, x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest point of the set, x itself where it is inside."""
        write_step(self._reduction, x, step_size, out)


def has_nan(x: Float64Array) -> bool:
    """Whether there is a NaN among elements, of which there is one at least."""
    return math.isnan(np.max(x))  # the largest of numbers and NaN is NaN
