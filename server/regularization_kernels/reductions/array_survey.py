"""The answers to what a whole vector is asked for, where all of it is in one array: the same, to the bit.

Statistics that merge exactly tell the exact answer, and so does this; of an array it takes a fraction of the
time. A threshold is looked for in float64 first, among the elements that a sample lets expect above it; then
exactly, by Michelot's method: what some elements have above their own threshold have all, so those below it
are left out until none is (Condat 2016).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..interruption import go_on
from ..summation import exact_expansion
from .census import Facts, Order
from .squares import SquareSum
from .statistics import Peak
from .survey import Place, Search, Survey
from .thresholds import SAMPLE, Term, above, approximate_threshold, blocks

if TYPE_CHECKING:
    from ..arrays import Float64Array

T = TypeVar("T")

_SPLITTABLE = 2.0**900
"""Numbers whose sums are far from the largest float64; larger ones are scaled by a power of two."""
_SCALE = 200
_MARGIN = 2.0**-40
"""By how much a threshold found in float64 is believed to be off, at most; exact arithmetic then sees."""


def at_once(search: Search[T]) -> T:
    """What a search of an array finds: it asks nothing.

    Raises:
        RuntimeError: If it asks.
    """
    try:
        question = next(search)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError(f"an array answers all, but was asked {question}")


class ArraySurvey(Survey):
    """What is asked of the elements of an array.

    Args:
        order: Whether thresholds are of numbers or of magnitudes.
        x: The elements, of one axis. They must not change meanwhile.
    """

    def __init__(self, order: Order, x: Float64Array) -> None:
        super().__init__(order, x.size)
        self._x = x
        self._term: Term = np.abs if order is Order.MAGNITUDES else np.positive
        self._facts: Facts | None = None
        self._total: Fraction | None = None

    def facts(self) -> Search[Facts]:
        """How many numbers are of which kind."""
        if self._facts is None:
            self._facts = _facts(self._x)
        return self._facts
        yield  # it asks nothing, and neither do the others

    def squares(self) -> Search[SquareSum]:
        """The exact sum of squares."""
        if self._squares is None:
            self._squares = SquareSum()
            for part in blocks(self._x):
                self._squares.add(part, 0)
        return self._squares
        yield

    def peak(self) -> Search[Peak]:
        """The largest magnitude."""
        peak = Peak()
        for part in blocks(self._x):
            peak.add(part, 0)
        return peak
        yield

    def total(self) -> Search[Fraction]:
        """The exact sum of the magnitudes, or of numbers of which none is negative; all are finite."""
        if self._total is None:
            self._total = sum((exact_sum(self._term(part)) for part in blocks(self._x)), Fraction())
        return self._total
        yield

    def place(self, count: int) -> Search[Place]:
        """Where the ``count``-th largest stands, from 1 on, which is not 0; all are finite."""
        number = _least_of_largest(self._x, count, self._term)
        ties = larger = 0
        for part in blocks(self._x):
            terms = self._term(part)
            ties += int(np.count_nonzero(terms == number))
            larger += int(np.count_nonzero(terms > number))
        return Place(number, ties, larger)
        yield

    def threshold(self, radius: float) -> Search[Fraction]:
        """What is to be taken off for what is then left above 0 to add up to ``radius``, exactly."""
        least = _believed(approximate_threshold(self._x, radius, self._term))
        while True:
            candidates = above(self._x, least, self._term)
            if not candidates.size:
                least = -math.inf
                continue
            exact = exact_threshold(candidates, radius)
            if candidates.size == self._x.size or exact >= Fraction(least):
                return exact
            least = _next_below(exact)  # some were left out that are above the threshold
        yield

    def position_of_tie(self, magnitude: float, rank: int) -> Search[int]:
        """The position of the ``rank``-th number, from 1 on, of those that have this magnitude."""
        position = 0
        for part in blocks(self._x):
            places = np.flatnonzero(np.abs(part) == magnitude)
            if rank <= places.size:
                return position + int(places[rank - 1])
            rank, position = rank - places.size, position + part.size
        return self.size - 1  # only where an array changes meanwhile
        yield


def exact_sum(numbers: Float64Array) -> Fraction:
    """The exact sum of finite numbers."""
    if not numbers.size:
        return Fraction()
    huge = np.abs(numbers) >= _SPLITTABLE
    if not huge.any():
        return sum(map(Fraction, exact_expansion(numbers)), Fraction())
    scaled = sum(map(Fraction, exact_expansion(np.ldexp(numbers[huge], -_SCALE))), Fraction())
    return exact_sum(numbers[~huge]) + scaled * Fraction(2**_SCALE)


def _facts(x: Float64Array) -> Facts:
    nonzeros = infinite = nan = position = 0
    first: tuple[int, float] | None = None
    for part in blocks(x):
        nonzeros += int(np.count_nonzero(part))
        negative = part < 0
        if first is None and negative.any():
            at = int(np.argmax(negative))
            first = position + at, float(part[at])
        finite = int(np.count_nonzero(np.isfinite(part)))
        if finite < part.size:
            of_part = int(np.count_nonzero(np.isnan(part)))
            nan, infinite = nan + of_part, infinite + part.size - finite - of_part
        position += part.size
    return Facts(nonzeros, first, infinite, nan, above=0)


def _believed(threshold: float) -> float:
    """A number that is probably below a threshold that rounding has made inexact."""
    return threshold - abs(threshold) * _MARGIN if math.isfinite(threshold) else -math.inf


def exact_threshold(
    numbers: Float64Array, radius: float, others: int = 0, sum_of_others: Fraction = Fraction()
) -> Fraction:
    """The threshold of the numbers, by leaving out those that are below their common one.

    Args:
        numbers: Finite, of one axis.
        radius: > 0.
        others: How many others there are, all of them above the threshold; > 0 where there are no numbers.
        sum_of_others: What these add up to.
    """
    least = _believed(_nearly(numbers, radius, others, float(sum_of_others)))
    candidates = numbers[numbers > least]
    if candidates.size or others:
        found = _threshold(candidates, Fraction(radius), others, sum_of_others)
        if candidates.size == numbers.size or found >= Fraction(least):
            return found
    return _threshold(numbers, Fraction(radius), others, sum_of_others)


def _nearly(numbers: Float64Array, radius: float, others: int, sum_of_others: float) -> float:
    """About the threshold, in the same way."""
    while True:
        go_on()
        threshold = (float(np.sum(numbers)) + sum_of_others - radius) / (others + numbers.size)
        higher = numbers[numbers > threshold]
        if higher.size == numbers.size or not others + higher.size:
            return threshold
        numbers = higher


def _threshold(numbers: Float64Array, radius: Fraction, others: int, sum_of_others: Fraction) -> Fraction:
    mass = sum_of_others + exact_sum(numbers)
    while True:
        go_on()
        threshold = (mass - radius) / (others + numbers.size)
        left_out = numbers <= _next_below(threshold)
        if not left_out.any():
            return threshold
        mass -= exact_sum(numbers[left_out])
        numbers = numbers[~left_out]


def _next_below(exact: Fraction) -> float:
    """The largest float64 that is not above a number."""
    try:
        rounded = float(exact)
    except OverflowError:
        return -math.inf if exact < 0 else float(np.finfo(np.float64).max)
    return rounded if rounded <= exact else math.nextafter(rounded, -math.inf)


def _least_of_largest(x: Float64Array, count: int, term: Term) -> float:
    """The least of the ``count`` largest terms."""
    candidates = above(x, _guess(x, count, term), term)
    if candidates.size < count:
        candidates = term(x)
    place = candidates.size - count
    candidates.partition(place)
    return float(candidates[place])


def _guess(x: Float64Array, count: int, term: Term) -> float:
    """Probably a little less than the least of the largest terms, from a sample."""
    if x.size < 4 * SAMPLE:
        return -math.inf
    sample = term(x[:: x.size // SAMPLE])
    share = count * sample.size / x.size
    place = sample.size - 1 - int(share + 4.0 * math.sqrt(share) + 4.0)
    return float(np.partition(sample, place)[place]) if place > 0 else -math.inf
