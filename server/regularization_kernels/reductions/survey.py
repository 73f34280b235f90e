"""What whole vectors are asked for: searches over statistics of their parts.

A search is a generator: it asks questions, takes the merged answer of all parts to each, and returns what it
looked for. It keeps nothing else, so that given the same answers it asks the same questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from .census import BINS, MANTISSA, SIGN, WIDEST, CensusQuestion, Facts, Interval, Order, Spread, number_of
from .group_squares import GroupSquareQuestion, GroupSquares
from .squares import SquareQuestion, SquareSum
from .statistics import Peak, PeakQuestion, Question

ResultT = TypeVar("ResultT")

Search = Generator[Question[Any], Any, ResultT]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a number stands among those of a vector."""

    number: float
    """The number, or magnitude."""
    ties: int
    """How many are equal to it."""
    above: int
    """How many are above it."""


_SMALL = (1023 - 100) << MANTISSA
"""The key of the magnitude 2^-100."""
_LARGE = (1023 + 28) << MANTISSA
"""That of 2^28: between these two lie the numbers of which most vectors consist."""
_FINE = 44
"""Open bits of bins of which 2^15 go from the one to the other."""


@dataclass(frozen=True, slots=True)
class _Region:
    """Keys that are looked at together: those from an interval's first to before ``end``."""

    interval: Interval
    end: int

    @property
    def bins(self) -> int:
        """How many bins that are."""
        return (self.end - self.interval.low) >> self.interval.open_bits


_REGIONS = {
    Order.MAGNITUDES: (
        _Region(Interval(_LARGE, WIDEST), 2047 << MANTISSA),
        _Region(Interval(_SMALL, _FINE), _LARGE),
        _Region(Interval(0, WIDEST), _SMALL),
    ),
    Order.NUMBERS: (
        _Region(Interval(SIGN + _LARGE, WIDEST), SIGN + (2047 << MANTISSA)),
        _Region(Interval(SIGN + _SMALL, _FINE), SIGN + _LARGE),
        _Region(Interval(SIGN, WIDEST), SIGN + _SMALL),
        _Region(Interval(SIGN - _SMALL, WIDEST), SIGN),
        _Region(Interval(SIGN - _LARGE, _FINE), SIGN - _SMALL),
        _Region(Interval(SIGN - (2047 << MANTISSA), WIDEST), SIGN - _LARGE),
    ),
}
"""From the largest keys to the smallest."""

_USUAL = 1
"""The region at which a search begins."""

_Reached = Callable[[float, int, Fraction], bool]
"""Told a number, how many are not below it, and what they add up to: whether a condition holds there, which
holds for all small enough numbers."""


class Survey:
    """What is asked of one vector, whose thresholds are of its numbers or of their magnitudes.

    Nothing is asked twice.

    Args:
        order: Whether thresholds are of numbers or of magnitudes.
        size: How many numbers there are.
    """

    def __init__(self, order: Order, size: int) -> None:
        self.size = size
        self._order = order
        self._regions = _REGIONS[order]
        self._censuses: dict[int, Spread] = {}
        self._squares: SquareSum | None = None
        self._groups: dict[GroupSquareQuestion, GroupSquares] = {}

    def expect_place(self, count: int) -> None:
        """Be told that ``place`` of this count may be asked next, which changes no answer."""

    def expect_threshold(self, radius: float) -> None:
        """Be told that ``threshold`` of this radius may be asked next, and ``total``: likewise."""

    def facts(self) -> Search[Facts]:
        """How many numbers are of which kind."""
        return (yield from self._census(_USUAL)).facts()

    def squares(self) -> Search[SquareSum]:
        """The exact sum of squares."""
        if self._squares is None:
            self._squares = yield SquareQuestion()
        return self._squares

    def groups(self, question: GroupSquareQuestion) -> Search[GroupSquares]:
        """The sums of the squares of groups; what is known of them later are norms and quotients alone."""
        if question not in self._groups:
            self._groups[question] = yield question
        return self._groups[question]

    def peak(self) -> Search[Peak]:
        """The largest magnitude."""
        peak: Peak = yield PeakQuestion()
        return peak

    def total(self) -> Search[Fraction]:
        """The exact sum of the magnitudes, or of numbers of which none is negative; all are finite."""
        mass, seen = Fraction(0), 0
        nonzeros = (yield from self.facts()).nonzeros
        for index in (_USUAL, 0, 2):
            if index == _USUAL or seen < nonzeros:
                census, bins = (yield from self._census(index)), self._regions[index].bins
                mass, seen = mass + census.mass(0, bins), seen + census.count(0, bins)
        return mass

    def exceeds(self, bound: float | Fraction) -> Search[bool]:
        """Whether ``total`` is above a bound."""
        return (yield from self.total()) > bound

    def place(self, count: int) -> Search[Place]:
        """Where the ``count``-th largest stands, from 1 on, which is not 0; all are finite."""
        place, _ = yield from self._place(lambda _, above, __: above >= count)
        return place

    def threshold(self, radius: float) -> Search[Fraction]:
        """What is to be taken off for what is then left above 0 to add up to ``radius``, exactly.

        Args:
            radius: Above 0, and below the sum where it is one of magnitudes. All are finite.
        """
        exact = Fraction(radius)
        place, mass = yield from self._place(
            lambda number, above, mass: mass - above * Fraction(number) >= exact
        )
        return (mass - exact) / max(place.above, 1)  # 0 only where a vector changes meanwhile

    def position_of_tie(self, magnitude: float, rank: int) -> Search[int]:
        """The position of the ``rank``-th number, from 1 on, of those that have this magnitude."""
        interval = Interval(0, max((self.size - 1).bit_length() - BINS.bit_length() + 1, 0))
        before = 0
        while True:
            census: Spread = yield CensusQuestion(Order.POSITIONS, interval, magnitude)
            place, less = census.bin_of(rank - before)
            if not interval.open_bits:
                return interval.edge(place)
            before += less
            interval = interval.within(place)

    def _place(self, reached: _Reached) -> Search[tuple[Place, Fraction]]:
        """The largest number, of the vector or between two of it, at which a condition holds.

        Returns:
            Where it stands, and what the numbers above it add up to.
        """
        above, mass = 0, Fraction(0)
        usual = yield from self._census(_USUAL)
        for index in range(0 if usual.facts().above else _USUAL, len(self._regions)):
            interval, bins = self._regions[index].interval, self._regions[index].bins
            census = yield from self._census(index)
            place, above, mass = _last_bin(census, bins, above, mass, reached)
            while place >= 0:
                if census.holds_one_number(place):
                    number = number_of(interval.edge(place), self._order)
                    return Place(number, census.count(place, place + 1), above), mass
                open_bits, interval = interval.open_bits, interval.within(place)
                census = yield CensusQuestion(self._order, interval)
                bins = 1 << (open_bits - interval.open_bits)
                place, above, mass = _last_bin(census, bins, above, mass, reached)
        return Place(-math.inf, 0, above), mass

    def _census(self, index: int) -> Search[Spread]:
        if index not in self._censuses:
            self._censuses[index] = yield CensusQuestion(self._order, self._regions[index].interval)
        return self._censuses[index]


def _last_bin(
    census: Spread, bins: int, above: int, mass: Fraction, reached: _Reached
) -> tuple[int, int, Fraction]:
    """The last bin at whose first key the condition holds, and count and mass of what is above that bin.

    Args:
        census: The bins.
        bins: How many of them.
        above: How many keys there are above all of them.
        mass: What these add up to.
        reached: The condition.

    Returns:
        The bin, -1 where there is none.
    """
    question = census.question
    low, high = -1, bins
    while high - low > 1:
        middle = (low + high) // 2
        count, total = above + census.count(middle, high), mass + census.mass(middle, high)
        if reached(number_of(question.interval.edge(middle), question.order), count, total):
            low = middle
        else:
            high, above, mass = middle, count, total
    return low, above, mass
