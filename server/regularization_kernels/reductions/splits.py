"""A long vector split at two numbers, between which a threshold is expected.

How many numbers are above, what they add up to, and all that lie between, with their positions: where the
expectation holds a search needs no more, and one look at the vector tells it. All of it is exact, and merges
in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..compilation import requested
from ..summation import exact_expansion
from .census import Facts, Order
from .exact_sums import added
from .split_loops import SUMMABLE, Found, SplitLoop, compiled_split, room_for_sums
from .statistics import Question, Statistic

if TYPE_CHECKING:
    from ..arrays import Float64Array

_BLOCK = 1 << 15
"""Numbers that stay in the cache from one of NumPy's operations to the next."""

Places = npt.NDArray[np.int64]


class Room:
    """Room for the numbers that lie between, of all parts of a vector together.

    Args:
        numbers: How many.
    """

    def __init__(self, numbers: int) -> None:
        self._left = numbers
        self._lock = Lock()

    def take(self, numbers: int) -> bool:
        """Take room for so many, if there is any."""
        with self._lock:
            fits = numbers <= self._left
            self._left -= numbers if fits else 0
        return fits


@dataclass(frozen=True, slots=True)
class SplitQuestion(Question["Split"]):
    """What lies above, below and between two numbers?

    Args:
        order: Whether of the numbers of the vector, or of their magnitudes.
        low: The lower one of the two; it lies between itself. A number of the vector's data type.
        high: The higher one: likewise.
        summing: Whether it is asked what those above add up to.
        room: For those between.
    """

    order: Order
    low: float
    high: float
    summing: bool
    room: Room = field(compare=False)

    in_own_type: ClassVar[bool] = True

    def of_nothing(self) -> Split:
        """Nothing."""
        return Split(self)


@dataclass(slots=True)
class Split(Statistic):
    """The answer to a question, of the numbers that were added."""

    question: SplitQuestion
    above: int = 0
    """How many are above."""
    is_complete: bool = True
    """Whether there was room for all that lie between, and sums, where they are asked, could be taken."""
    nonzeros: int = 0
    first_negative: tuple[int, float] | None = None
    infinite: int = 0
    nan: int = 0
    _sum_above: tuple[float, ...] = ()
    _between: list[tuple[npt.NDArray[Any], Places]] = field(default_factory=list)

    @property
    def facts(self) -> Facts:
        """How many numbers are of which kind."""
        return Facts(self.nonzeros, self.first_negative, self.infinite, self.nan, self.above)

    @property
    def sum_above(self) -> Fraction:
        """What those above add up to, where that is asked, and all are finite."""
        return sum(map(Fraction, self._sum_above), Fraction())

    @property
    def kept(self) -> int:
        """How many lie between, where there was room."""
        return sum(values.size for values, _ in self._between)

    def between(self) -> tuple[Float64Array, Places]:
        """The numbers that lie between, and their positions, in an order that is not told."""
        if not self._between:
            return np.empty(0), np.empty(0, np.int64)
        values, places = zip(*self._between, strict=True)
        return np.concatenate(values, dtype=np.float64), np.concatenate(places)

    def add(self, x: npt.NDArray[Any], position: int) -> None:
        """Take in an array of one axis, of float32 or float64, whose first number stands at ``position``."""
        if not self._add_compiled(x, position):
            for begin in range(0, x.size, _BLOCK):
                # A copy, that nobody writes to.
                self._add(x[begin : begin + _BLOCK].astype(np.float64), position + begin)

    def _add_compiled(self, x: npt.NDArray[Any], position: int) -> bool:
        question = self.question
        variant = SplitLoop(question.order, x.dtype, question.summing)
        loop = requested(variant, x.dtype, x.size, compiled_split)
        if loop is None:
            return False
        found = np.zeros(len(Found), np.int64)
        found[Found.FIRST_NEGATIVE] = -1
        partials = np.empty(room_for_sums(x.size) if question.summing else 1)
        values, places = np.empty(x.size, x.dtype), np.empty(x.size, np.int64)
        between = loop(x, question.low, question.high, found, partials, values, places)
        if between < 0:
            return False
        nonzeros, infinite, nan, higher, first, sums = found.tolist()
        negative = None if first < 0 else (position + first, float(x[first]))
        self._count(nonzeros, infinite, nan, higher, negative)
        self._sum_above = added(self._sum_above, partials[:sums].tolist())
        self._keep(values[:between], places[:between] + position)
        return True

    def _add(self, x: Float64Array, position: int) -> None:
        question = self.question
        finite, terms = np.isfinite(x), np.abs(x) if question.order is Order.MAGNITUDES else x
        nan, negative = int(np.count_nonzero(np.isnan(x))), np.flatnonzero(x < 0)
        above = terms > question.high
        self._count(
            int(np.count_nonzero(x)),
            x.size - int(np.count_nonzero(finite)) - nan,
            nan,
            int(np.count_nonzero(above)),
            (position + int(negative[0]), float(x[negative[0]])) if negative.size else None,
        )
        if question.summing:
            self.is_complete &= not np.any(finite & (np.abs(x) >= SUMMABLE))
            self._sum_above = added(self._sum_above, exact_expansion(terms[above & finite]))
        places = np.flatnonzero((terms >= question.low) & ~above)
        self._keep(terms[places], places + position)

    def merge(self, other: Split) -> None:
        """Take in what another split has, to the same question."""
        self._count(other.nonzeros, other.infinite, other.nan, other.above, other.first_negative)
        self._sum_above = added(self._sum_above, other._sum_above)
        self.is_complete &= other.is_complete
        self._between += other._between

    def _count(
        self, nonzeros: int, infinite: int, nan: int, above: int, negative: tuple[int, float] | None
    ) -> None:
        self.nonzeros += nonzeros
        self.infinite += infinite
        self.nan += nan
        self.above += above
        if negative is not None and (self.first_negative is None or negative[0] < self.first_negative[0]):
            self.first_negative = negative

    def _keep(self, values: npt.NDArray[Any], places: Places) -> None:
        self.is_complete = self.is_complete and self.question.room.take(values.size)
        if not self.is_complete:
            self._between.clear()
        elif values.size:
            self._between.append((values.copy(), places))
