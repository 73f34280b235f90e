"""Number formats by their definitions, in exact rationals, element by element: slow, and no copy of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

WORD = (1 << 64) - 1


@dataclass(frozen=True)
class FixedPoint:
    """The integers from -2^bits to 2^bits - 1, each divided by 2^bits."""

    data_type: np.dtype[Any]
    bits: int

    def __str__(self) -> str:
        return f"Q{self.bits}"

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest integer."""
        return -(1 << self.bits), (1 << self.bits) - 1

    def numbers(self, elements: NDArray[Any]) -> NDArray[np.float64]:
        """What integers stand for."""
        return np.ldexp(elements.astype(np.float64), -self.bits)

    def elements(self, numbers: Any) -> NDArray[Any]:
        """The integers nearest to numbers, in their shape."""
        numbers = np.asarray(numbers, np.float64)
        return np.array(self.nearest(numbers.reshape(-1)), self.data_type).reshape(numbers.shape)

    def nearest(self, numbers: NDArray[np.float64]) -> list[int]:
        """The integers, nearest to even; the end of the range for what is beyond it."""
        return [self._saturated(number, lambda exact, _: round(exact), 0) for number in numbers.tolist()]

    def stochastic(self, numbers: NDArray[np.float64], seed: int, first: int = 0) -> list[int]:
        """The integers that the documented rule gives for the elements from ``first`` on."""
        return [
            self._saturated(number, stepped, random_word(seed, index))
            for index, number in enumerate(numbers.tolist(), first)
        ]

    def _saturated(self, number: float, whole: Any, word: int) -> int:
        low, high = self.ends
        if math.isinf(number):
            return high if number > 0 else low
        return min(max(int(whole(Fraction(number) * (1 << self.bits), word)), low), high)


@dataclass(frozen=True)
class FloatingPoint:
    """Sign, exponent and mantissa, as IEEE 754 has them."""

    data_type: np.dtype[Any]
    mantissa_bits: int
    lowest_exponent: int
    """Of the smallest normal number."""
    highest_exponent: int

    def __str__(self) -> str:
        return self.data_type.name

    @property
    def largest(self) -> Fraction:
        """The largest finite number."""
        return (2 - Fraction(1, 1 << self.mantissa_bits)) * Fraction(2) ** self.highest_exponent

    @property
    def smallest(self) -> float:
        """The smallest number above 0."""
        return math.ldexp(1.0, self.lowest_exponent - self.mantissa_bits)

    def stochastic(self, numbers: NDArray[np.float64], seed: int, first: int = 0) -> list[float]:
        """The numbers that the documented rule gives for the elements from ``first`` on."""
        return [
            self._stepped(number, random_word(seed, index))
            for index, number in enumerate(numbers.tolist(), first)
        ]

    def _stepped(self, number: float, word: int) -> float:
        exact = Fraction(number)
        if abs(exact) > self.largest:
            half = Fraction(2) ** (self.highest_exponent - self.mantissa_bits - 1)
            size = float(self.largest) if abs(exact) < self.largest + half else math.inf
            return math.copysign(size, number)
        exponent = max(math.frexp(number)[1] - 1, self.lowest_exponent) - self.mantissa_bits
        unit = Fraction(2) ** exponent
        return math.copysign(float(abs(stepped(exact / unit, word)) * unit), number)


def stepped(exact: Fraction, word: int) -> int:
    """A rational as a whole number beside it: away from 0 where its fraction is 1 - u or more."""
    u = Fraction(word >> 12, 1 << 52)
    whole = math.floor(abs(exact))
    whole += abs(exact) - whole >= 1 - u
    return whole if exact >= 0 else -whole


def random_word(seed: int, index: int) -> int:
    """The 64 random bits of an element."""
    increment = 0x9E3779B97F4A7C15
    key = _mixed((seed + increment) & WORD)
    return _mixed((key + (index + 1) * increment) & WORD)


def _mixed(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


Q7 = FixedPoint(np.dtype(np.int8), 7)
Q15 = FixedPoint(np.dtype(np.int16), 15)
Q31 = FixedPoint(np.dtype(np.int32), 31)
FIXED = (Q7, Q15, Q31)
FLOATING = (
    FloatingPoint(np.dtype(np.float32), 23, -126, 127),
    FloatingPoint(np.dtype(np.float16), 10, -14, 15),
    FloatingPoint(np.dtype(ml_dtypes.bfloat16), 7, -126, 127),
)
