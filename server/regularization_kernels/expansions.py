"""How many doubles an exact sum may need, from what is known of its terms before they are there.

Every finite double is a multiple of a power of two, and below another. Sums, differences and products of
such numbers are so again, and rounding changes neither: a multiple of 2^a that has too many bits is rounded
to one with fewer, and 2^b is a double, so that what is not above it is rounded to nothing above it.

The bound. Let a sum S be a multiple of 2^a with |S| <= 2^b. The first double of its expansion, S rounded, is
at most 2^b. A double from 2^e to below 2^(e + 1) leaves a remainder of at most 2^(e - 53), half the distance
of its neighbours, so the exponent of the next double is smaller by 53 at least. Remainders are multiples of
2^a, as S and the doubles are; so once an exponent would be below a, nothing remains. Of the exponents b,
b - 53, b - 106, ... there are floor((b - a) / 53) + 1 that are not below a. Of doubles at large, multiples of
2^-1074 up to 2^1024, that is 40.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .arrays import Float64Array

_LOWEST, _HIGHEST = -1074, 1024
_BITS = 53
_NUMBERS_KEPT = 1024


class Exponents(NamedTuple):
    """Where numbers lie: they are multiples of 2^lowest, and at most 2^highest in magnitude.

    What is not finite is left out: a sum that has it is one double.
    """

    lowest: int
    highest: int

    def plus(self, other: Exponents) -> Exponents:
        """The exponents of sums and differences of two numbers."""
        return Exponents(min(self.lowest, other.lowest), max(self.highest, other.highest) + 1)

    def times(self, other: Exponents) -> Exponents:
        """The exponents of products."""
        return Exponents(self.lowest + other.lowest, self.highest + other.highest)

    def added(self, count: int) -> Exponents:
        """The exponents of sums of so many numbers."""
        return Exponents(self.lowest, self.highest + max(count - 1, 0).bit_length())

    @property
    def longest_expansion(self) -> int:
        """The most doubles that the exact expansion of a number there has: at least 1."""
        lowest, highest = max(self.lowest, _LOWEST), min(self.highest, _HIGHEST)
        return max(highest - lowest, 0) // _BITS + 1


@lru_cache(_NUMBERS_KEPT)
def exponents_of(number: float) -> Exponents:
    """The exponents of a finite number, such as a strength that many segments have."""
    if number == 0.0:
        return Exponents(0, 0)
    numerator, denominator = number.as_integer_ratio()
    trailing_zeros = (numerator & -numerator).bit_length() - 1
    fraction, exponent = math.frexp(number)
    power_of_two = abs(fraction) == 0.5
    return Exponents(trailing_zeros - (denominator.bit_length() - 1), exponent - power_of_two)


def exponents_of_all(numbers: Float64Array) -> Exponents:
    """The exponents of finite doubles, whatever their bits are."""
    _, exponents = np.frexp(numbers[numbers != 0])
    if not exponents.size:
        return Exponents(0, 0)
    return Exponents(int(exponents.min()) - _BITS, int(exponents.max()))


def norm_exponents(x: Exponents) -> Exponents:
    """Where Euclidean norms lie, of groups of elements that lie in ``x``.

    A norm that is not 0 is no less than its largest element but for rounding, so it is 2^(lowest - 1) at
    least, and has 53 bits; it is no more than the square root of 2^60 elements times the largest.
    """
    return Exponents(x.lowest - 1 - _BITS, x.highest + 31)


ANY = Exponents(_LOWEST, _HIGHEST)
"""All doubles."""

LONGEST_EXPANSION = ANY.longest_expansion
"""Doubles of the longest expansion that there is."""
