"""The exact sum of squares of a whole vector: its parts merge to the same bits, for any cut and order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..summation import exact_expansion
from .exact_sums import LARGE, added, sum_of_squares
from .statistics import Question, Statistic

_SCALE = 600
"""Numbers whose squares float64 does not have are first scaled by two to the power of this."""


@dataclass(slots=True)
class SquareSum(Statistic):
    """What the squares of numbers, each rounded to float64, add up to.

    Attributes:
        middle: Doubles whose exact sum is that of the squares of numbers between 2^-400 and 2^400.
        huge: The same for the squares of larger numbers, each times 2^-1200.
        tiny: The same for the squares of smaller numbers, each times 2^1200.
        infinite: How many numbers are infinite: these have no part in the sums.
        nan: How many are NaN: likewise.
    """

    middle: tuple[float, ...] = field(default=())
    huge: tuple[float, ...] = field(default=())
    tiny: tuple[float, ...] = field(default=())
    infinite: int = 0
    nan: int = 0

    def add(self, x: NDArray[Any], position: int) -> None:
        """Add the squares of numbers in an array of one axis, of float32 or float64, wherever they stand."""
        del position
        squares = sum_of_squares(x)
        if squares is not None:
            self.middle = added(self.middle, squares)
            return
        x = x.astype(np.float64)  # a copy, that nobody writes to
        magnitudes = np.abs(x)
        finite = np.isfinite(x)
        nan = int(np.count_nonzero(np.isnan(x)))
        self.nan += nan
        self.infinite += x.size - int(np.count_nonzero(finite)) - nan
        huge, tiny = finite & (magnitudes >= LARGE), magnitudes <= 1.0 / LARGE
        self.middle = added(self.middle, exact_expansion(np.square(x[finite & ~(huge | tiny)])))
        self.huge = added(self.huge, exact_expansion(np.square(x[huge] * 2.0**-_SCALE)))
        self.tiny = added(self.tiny, exact_expansion(np.square(x[tiny] * 2.0**_SCALE)))

    def merge(self, other: SquareSum) -> None:
        """Add what another sum has, too."""
        self.middle = added(self.middle, other.middle)
        self.huge = added(self.huge, other.huge)
        self.tiny = added(self.tiny, other.tiny)
        self.infinite += other.infinite
        self.nan += other.nan

    def quotient(self, number: float) -> float:
        """A finite number divided by the norm, which is finite and not 0, even beyond float64."""
        if self.huge:
            scaled = math.sqrt(math.fsum((*self.huge, *_scaled_all(self.middle, -2 * _SCALE))))
            return math.ldexp(number, -_SCALE) / scaled
        return number / self.root()

    def root(self) -> float:
        """The Euclidean norm: NaN where a number is, or else infinite where one is."""
        if self.nan or self.infinite:
            return math.nan if self.nan else math.inf
        if self.huge:
            return _scaled(math.sqrt(math.fsum((*self.huge, *_scaled_all(self.middle, -2 * _SCALE)))), _SCALE)
        if self.middle:
            return math.sqrt(math.fsum((*self.middle, *_scaled_all(self.tiny, -2 * _SCALE))))
        return _scaled(math.sqrt(math.fsum(self.tiny)), -_SCALE)


@dataclass(frozen=True, slots=True)
class SquareQuestion(Question[SquareSum]):
    """What is the sum of squares?"""

    in_own_type: ClassVar[bool] = True

    def of_nothing(self) -> SquareSum:
        """0."""
        return SquareSum()


def _scaled(number: float, exponent: int) -> float:
    try:
        return math.ldexp(number, exponent)
    except OverflowError:
        return math.inf


def _scaled_all(numbers: tuple[float, ...], exponent: int) -> tuple[float, ...]:
    return tuple(math.ldexp(number, exponent) for number in numbers)
