"""What the squares of each group add up to, where groups interleave: the same bits for any cut and order.

Groups are the slices of a vector along an axis, so a stretch of it has elements of many of them. Squares are
float64's, of an exponent that may be any. A group's largest square tells its **level** t, the smallest
integer for which that square is below 2^(32·t + 31). Each square is rounded to the nearest multiple of
2^(32·(t − 3)), ties to even, and the multiples are added exactly. What rounding takes from one square is at
most 2^-96 of the largest, and nothing where an element is no less than 2^-21 of the group's largest.

A square is taken apart in four digits: how many times 2^(32·t) it is, to nearest, and what is left over how
many times 2^(32·(t − 1)), and so on. Their sums are kept apart. A larger square that raises the level drops
the lowest of them, and no square that was there before has a digit above (it is below a half): so the sums
are those of the last level, whatever came first (after Demmel and Nguyen 2015, Parallel reproducible
summation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import FLOAT64, Float64Array
from ..compilation import requested
from ..formulas.evaluation import evaluate
from ..summation import BLOCK
from .group_loop import (
    DIGIT_BITS,
    DIGITS,
    HIGHEST,
    INFINITE,
    LIMIT,
    LOWEST,
    NAN,
    ROUNDING,
    blocks,
    compiled_loop,
)
from .statistics import Question, Statistic

Integers = npt.NDArray[np.int64]

MOST_GROUPS = 30_000
"""Groups whose squares are added so: their statistics are below 1 MiB."""

MOST_IN_A_GROUP = (1 << DIGIT_BITS) - 1
"""Elements of a group whose digits' sums are sure to fit 64 bits."""

_CACHED = 1 << 15
"""Elements that NumPy takes at once, so that what it makes of them stays in the cache."""
_ROUNDING_BITS = tuple(int(np.float64(rounding).view(np.int64)) for rounding in ROUNDING)
_WORD = 1 << 64
_LOW_BITS = (1 << DIGIT_BITS) - 1
_HALF_WORD = np.int64(1 << (DIGIT_BITS - 1))
_SMALLEST_FACTOR = 1e-290
"""Below it a factor may have lost bits; divided by a power of two first, it has not."""
_LARGEST_POWER = 1023
_SPLITTER = 2.0**27 + 1.0

_LEVELS = np.arange(LOWEST, NAN + 1)
_EXPONENTS = np.where(_LEVELS <= HIGHEST, -(DIGIT_BITS // 2) * _LEVELS, -2 * 1100)
# What scales the numbers of a group of a level so that their squares have the first digit's unit 1: two
# powers of two, since float64 may not have their product. Where there are no digits it is 0.
_SCALES: Float64Array = np.ldexp(1.0, np.stack((_EXPONENTS // 2, _EXPONENTS - _EXPONENTS // 2)))


@dataclass(frozen=True, slots=True)
class GroupSquareQuestion(Question["GroupSquares"]):
    """What do the squares of each group add up to?

    Args:
        count: How many groups there are, 1 to ``MOST_GROUPS`` where statistics travel.
        inner: How many consecutive elements one has before the next group's follow, >= 1.
        size: Elements of each, at most ``MOST_IN_A_GROUP``.
        point: From an element and the numbers: what is squared in its place; None for itself.
        numbers: The numbers.
    """

    count: int
    inner: int
    size: int
    point: Callable[..., Any] | None = None
    numbers: tuple[float, ...] = ()

    def of_nothing(self) -> GroupSquares:
        """0 for each group."""
        return GroupSquares(self)


@dataclass(slots=True, eq=False)
class GroupSquares(Statistic):
    """The digits of the groups' sums.

    Attributes:
        question: What was asked.
        levels: Of each group, ``(count,)``.
        digits: The digits' sums, ``(4, count)``, the highest first; all 0 where a level has none.
    """

    question: GroupSquareQuestion
    levels: Integers = field(init=False)
    digits: Integers = field(init=False)

    def __post_init__(self) -> None:
        """Begin with zeros alone."""
        self.levels = np.full(self.question.count, LOWEST, np.int64)
        self.digits = np.zeros((DIGITS, self.question.count), np.int64)

    def add(self, x: Float64Array, position: int) -> None:
        """Add the squares of numbers in an array of one axis, the first of which stands at ``position``."""
        if self.question.point is not None:
            points = np.empty_like(x)
            evaluate(self.question.point, points, x, *self.question.numbers)
            x = points
        for begin in range(0, x.size, BLOCK):
            with np.errstate(all="ignore"):  # what is beyond its group's level is looked at again
                self._add(x[begin : begin + BLOCK], position + begin)

    def _add(self, x: Float64Array, position: int) -> None:
        loop = requested("group_squares", FLOAT64, x.size, compiled_loop)
        if loop is None:
            for begin in range(0, x.size, _CACHED):
                self._add_by_numpy(x[begin : begin + _CACHED], position + begin)
            return
        scales = np.ascontiguousarray(_SCALES[:, self.levels - LOWEST])
        loop(x, self.question.inner, position, self.levels, scales, self.digits, _SCALES)

    def _add_by_numpy(self, x: Float64Array, position: int) -> None:
        for part, groups in blocks(x, self.question.count, self.question.inner, position):
            self._add_block(part, groups)

    def _add_block(self, x: Float64Array, groups: slice) -> None:
        rest = self._scaled_squares(x, groups)
        if not (rest < LIMIT).all():
            levels = self.levels.copy()
            peaks = np.max(np.max(np.abs(x), axis=0), axis=1)
            levels[groups] = np.maximum(levels[groups], levels_of(peaks))
            self._raise(levels)
            rest = self._scaled_squares(x, groups)
            rest[~(rest < LIMIT)] = 0.0  # where there are no digits
        multiples = np.empty_like(rest)
        for digit, rounding, bits in zip(self.digits, ROUNDING, _ROUNDING_BITS, strict=True):
            np.add(rest, rounding, out=multiples)
            # What these sums lose beyond 64 bits comes back when the bits of the rounding are taken off.
            sums = multiples.view(np.int64).sum(axis=0).sum(axis=1)
            digit[groups] += sums - np.array(bits * x.shape[0] * x.shape[2] % _WORD, np.uint64).view(np.int64)
            multiples -= rounding
            rest -= multiples

    def _scaled_squares(self, x: Float64Array, groups: slice) -> Float64Array:
        first, second = _SCALES[:, self.levels[groups] - LOWEST, np.newaxis]
        scaled: Float64Array = x * first
        scaled *= second
        scaled *= scaled
        return scaled

    def _raise(self, levels: Integers) -> None:
        """Drop the digits that higher levels do not have."""
        by = np.minimum(levels - self.levels, DIGITS)
        moved = np.flatnonzero(by)
        if moved.size:
            self.digits[:, moved] = _shifted(self.digits[:, moved], by[moved])
            self.levels[moved] = levels[moved]

    def merge(self, other: GroupSquares) -> None:
        """Add what another sum has, too."""
        levels = np.maximum(self.levels, other.levels)
        self._raise(levels)
        self.digits += _shifted(other.digits, np.minimum(levels - other.levels, DIGITS))

    def norms(self) -> Float64Array:
        """Each group's norm: the root of its sum, rounded to 53 bits. NaN beside NaN, or else infinite."""
        sums = self._sums()
        with np.errstate(over="ignore", under="ignore"):
            norms = np.ldexp(np.sqrt(sums.rounded), sums.half_exponents)
        return np.where(self.levels == NAN, np.nan, np.where(self.levels == INFINITE, np.inf, norms))

    def quotients(self, bounds: Float64Array) -> tuple[Float64Array, Float64Array]:
        """By what each group is to be divided, then multiplied, for its norm to be no more than a bound.

        The quotient of the bound and the norm, of which the next bits are known too, is rounded downwards.
        So what rounding the products adds to a norm is less than 4 units of 2^-53, and nothing else is added.

        Args:
            bounds: Finite, >= 0; one for each group.

        Returns:
            Powers of two, 1 unless the quotient is too small for float64, and factors; of groups without a
            finite norm above 0 they are anything.
        """
        sums = self._sums()
        with np.errstate(all="ignore"):
            roots = np.sqrt(sums.rounded)
            product, error = _product(roots, roots)
            roots_rest = ((sums.high - product) - error + sums.low) / (2.0 * roots)
            mantissas, exponents = np.frexp(bounds)

            def rest(factors: Float64Array) -> Float64Array:
                product, error = _product(factors, roots)
                left: Float64Array = ((mantissas - product) - error) - factors * roots_rest
                return left

            factors = mantissas / roots
            factors += rest(factors) / roots
            factors = np.where(rest(factors) < 0, np.nextafter(factors, 0.0), factors)
            exponents = exponents - sums.half_exponents
            whole = np.ldexp(factors, exponents)
            apart = (whole < _SMALLEST_FACTOR) & (bounds > 0)
            powers = np.minimum(np.frexp(roots)[1] + sums.half_exponents, _LARGEST_POWER)
            divisors = np.where(apart, np.ldexp(1.0, powers), 1.0)
            return divisors, np.where(apart, np.ldexp(factors, exponents + powers), whole)

    def _sums(self) -> _Sums:
        """The sums of 64 bits, the last of which tells whether anything follows."""
        first, second, third, fourth = self.digits
        third = third + (fourth >> DIGIT_BITS)
        second = second + (third >> DIGIT_BITS)
        first = first + (second >> DIGIT_BITS)
        second, third, fourth = second & _LOW_BITS, third & _LOW_BITS, fourth & _LOW_BITS
        short = first < _HALF_WORD
        high = np.where(short, (first << DIGIT_BITS) | second, first)
        low = np.where(short, (third << DIGIT_BITS) | fourth, (second << DIGIT_BITS) | third)
        after = np.where(short, 0, fourth)
        up = np.clip(64 - _bit_lengths(high), 1, 63).astype(np.uint64)
        low = low.view(np.uint64)
        word = (high.view(np.uint64) << up) | (low >> (np.uint64(64) - up))
        word |= ((low << up) != 0) | (after != 0)
        exponents = DIGIT_BITS * (self.levels - short) - up.astype(np.int64)
        odd = 1.0 + (exponents & 1)
        cut = word & ~np.uint64(0x7FF)
        return _Sums(
            rounded=word.astype(np.float64) * odd,
            high=cut.astype(np.float64) * odd,
            low=(word - cut).astype(np.float64) * odd,
            half_exponents=(exponents >> 1).astype(np.int32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums of groups, divided by powers of four that bring them near 2^64, or 0."""

    rounded: Float64Array
    """Rounded to nearest-even."""
    high: Float64Array
    low: Float64Array
    """Two parts of the first 64 bits."""
    half_exponents: npt.NDArray[np.int32]
    """Of the powers of four: what the roots are to be multiplied by is two to the power of this."""


def levels_of(peaks: Float64Array) -> Integers:
    """The levels of groups whose largest magnitudes these are."""
    mantissas, exponents = np.frexp(peaks)
    levels = (2 * exponents.astype(np.int64) + np.frexp(mantissas * mantissas)[1]) // DIGIT_BITS
    levels = np.where(peaks == 0.0, LOWEST, levels)
    return np.where(np.isnan(peaks), NAN, np.where(np.isinf(peaks), INFINITE, levels))


def _shifted(digits: Integers, by: Integers) -> Integers:
    """Digits that have come down by so many places, up to ``DIGITS``."""
    source = np.arange(DIGITS)[:, np.newaxis] - by
    taken = np.take_along_axis(digits, np.maximum(source, 0), axis=0)
    return np.where(source >= 0, taken, 0)


def _bit_lengths(numbers: Integers) -> Integers:
    """How many bits integers >= 0 have."""
    lengths = np.frexp(numbers.astype(np.float64))[1].astype(np.int64)
    # As float64 a number may have been rounded up to a power of two.
    shorter: Integers = (numbers >> np.maximum(lengths - 1, 0)) == 0
    return lengths - shorter


def _product(one: Float64Array, other: Float64Array) -> tuple[Float64Array, Float64Array]:
    """A product as a float64 and what that misses (Dekker 1971)."""
    product = one * other
    (a, b), (c, d) = _halves(one), _halves(other)
    return product, ((a * c - product) + a * d + b * c) + b * d


def _halves(numbers: Float64Array) -> tuple[Float64Array, Float64Array]:
    scaled = numbers * _SPLITTER
    high = scaled - (scaled - numbers)
    return high, numbers - high
