"""What is asked of a long vector of which a sample is at hand: the same answers, with fewer looks at it.

A sample tells between which numbers a threshold probably lies. Where it does, one look is enough: the vector
is split there (``splits``), and few numbers are left to search. Where it does not, it is searched without.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from .array_survey import exact_sum, exact_threshold
from .census import Facts, Order
from .splits import Room, Split, SplitQuestion
from .survey import Place, Search, Survey
from .thresholds import expected_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..arrays import Float64Array

_DEVIATIONS = 4.0
"""By so many standard deviations a vector may differ from its sample before the expectation fails."""
_MOST_BETWEEN = 1 << 21
"""Numbers between the two that are kept: 16 bytes each, with their positions."""
_LEAST = 2.0**-149
"""The least positive number of float32."""
_FEWEST, _MOST, _SHARE = 1 << 14, 1 << 22, 1 << 8


def sample_size(size: int) -> int:
    """How many of so many numbers make a sample that is worth its time, and leaves few between."""
    return min(max(size // _SHARE, _FEWEST), _MOST)


def most_memory(size: int) -> int:
    """Bytes that a sample of so many numbers, and what lies between, may take: two copies of either."""
    return 32 * (min(size, _MOST_BETWEEN) + sample_size(size))


class SampledSurvey(Survey):
    """What is asked of one vector, with a sample of it.

    Args:
        order: Whether thresholds are of numbers or of magnitudes.
        size: How many numbers there are.
        sample: Gives some of them, from everywhere.
    """

    def __init__(self, order: Order, size: int, sample: Callable[[], NDArray[Any]]) -> None:
        super().__init__(order, size)
        self._take_sample = sample
        self._question: SplitQuestion | None = None
        self._answer: Split | None = None

    def expect_place(self, count: int) -> None:
        """Have the next look tell what ``place`` of this count needs."""
        sample = self._sample()
        share = sample.size / self.size
        margin = _DEVIATIONS * (math.sqrt(max(count * share * (1.0 - count / self.size), 0.0)) + 1.0)
        most, least = int(count * share + margin) + 1, max(int(count * share - margin), 1)
        if most < sample.size:
            few = np.partition(sample, (sample.size - most, sample.size - least))
            low, high = float(few[-most]), float(few[-least])
            self._expect(sample, low, high, inside=high == 0, summing=False)
        else:
            self._expect(sample, 0.0, 0.0, inside=True, summing=False)

    def expect_threshold(self, radius: float) -> None:
        """Have the next look tell what ``threshold`` of this radius needs, and ``total``."""
        sample = self._sample()
        if radius > 0 and sample.size:
            share = sample.size / self.size
            about, low, high = expected_threshold(sample, radius * share, _DEVIATIONS)
            self._expect(sample, _in_float32(low), _in_float32(high), inside=about <= 0, summing=True)

    def _sample(self) -> Float64Array:
        """The sample's finite numbers, or their magnitudes."""
        sample = self._take_sample()
        terms = np.abs(sample) if self._order is Order.MAGNITUDES else sample
        finite: Float64Array = terms[np.isfinite(terms)]
        return finite

    def _expect(self, sample: Float64Array, low: float, high: float, *, inside: bool, summing: bool) -> None:
        """Have the next look split the vector, if few numbers may lie between.

        Args:
            sample: Of the vector.
            low: The lower number of the two.
            high: The higher one.
            inside: Whether the vector is probably where it is to be, so that nothing is looked for.
            summing: Whether sums are needed.
        """
        if self._order is Order.MAGNITUDES and inside:
            low = high = _LEAST  # so that all but zeros are above
        elif self._order is Order.MAGNITUDES and low <= 0:
            return
        between = int(np.count_nonzero((sample >= low) & (sample <= high)))
        if math.isfinite(low) and math.isfinite(high) and between * self.size <= _MOST_BETWEEN * sample.size:
            self._question = SplitQuestion(self._order, low, high, summing, Room(_MOST_BETWEEN))

    def facts(self) -> Search[Facts]:
        """How many numbers are of which kind."""
        split = yield from self._split()
        return (yield from super().facts()) if split is None else split.facts

    def total(self) -> Search[Fraction]:
        """The exact sum of the magnitudes, or of numbers of which none is negative; all are finite."""
        split = yield from self._complete_split()
        if split is not None and split.question.summing:
            numbers, _ = split.between()
            if split.above + int(np.count_nonzero(numbers)) == split.nonzeros:
                return split.sum_above + exact_sum(numbers)
        return (yield from super().total())

    def exceeds(self, bound: float | Fraction) -> Search[bool]:
        """Whether ``total`` is above a bound, which it is where that of the largest numbers is."""
        split = yield from self._complete_split()
        if split is not None and split.question.summing:
            between = Fraction(max(split.question.low, 0.0)) * split.kept
            if split.sum_above + between > bound:
                return True
        return (yield from super().exceeds(bound))

    def place(self, count: int) -> Search[Place]:
        """Where the ``count``-th largest stands, from 1 on, which is not 0; all are finite."""
        split = yield from self._complete_split()
        if split is not None:
            numbers, _ = split.between()
            rank = count - split.above
            if 1 <= rank <= numbers.size:
                number = float(np.partition(numbers, numbers.size - rank)[numbers.size - rank])
                higher = int(np.count_nonzero(numbers > number))
                return Place(number, int(np.count_nonzero(numbers == number)), split.above + higher)
        return (yield from super().place(count))

    def threshold(self, radius: float) -> Search[Fraction]:
        """What is to be taken off for what is then left above 0 to add up to ``radius``, exactly."""
        split = yield from self._complete_split()
        if split is not None and split.question.summing:
            numbers, _ = split.between()
            if split.above or numbers.size:
                found = exact_threshold(numbers, radius, split.above, split.sum_above)
                # Then it is that of all: those below are not above it, and those above are.
                if split.question.low <= found <= split.question.high:
                    return found
        return (yield from super().threshold(radius))

    def position_of_tie(self, magnitude: float, rank: int) -> Search[int]:
        """The position of the ``rank``-th number, from 1 on, of those that have this magnitude."""
        split = yield from self._complete_split()
        if split is not None and split.question.low <= magnitude <= split.question.high:
            numbers, places = split.between()
            ties = np.sort(places[numbers == magnitude])
            if rank <= ties.size:
                return int(ties[rank - 1])
        return (yield from super().position_of_tie(magnitude, rank))

    def _split(self) -> Search[Split | None]:
        """The vector, split where that was expected to help; None where it was not."""
        if self._answer is None and self._question is not None:
            self._answer = yield self._question
        return self._answer

    def _complete_split(self) -> Search[Split | None]:
        """The same, where there was room for all that lies between."""
        split = yield from self._split()
        return split if split is not None and split.is_complete else None


def _in_float32(number: float) -> float:
    """About a number, such that the vector's data type has it, whichever it is; or an infinity."""
    return float(np.float32(number))
