"""Numbers as the schema defines them: data types, rounding, random bits. Exact, in integers and fractions."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mpmath import mp, mpf
from regularization.v1 import layout_pb2

from ..runner.streams import random_bits

mp.prec = 300
"""Bits of what is computed between two roundings: sums and products of doubles near 1 are exact in them."""

Real = Any
"""A real number of mpmath; its library has no types."""
SLACK = Fraction(1, 2**40)
"""How near, relatively, an exact number may come to where rounding changes."""


SHORT = 40
"""Bits of short numbers: well below binary64's, which numbers such as 0.1 fill."""


class TooNear(ValueError):
    """An exact number so near to a tie that the order of operations would decide on its bits."""


def exact(number: Real) -> Fraction:
    """The fraction that a finite real number is."""
    sign, mantissa, exponent, _ = mpf(number)._mpf_
    magnitude = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -magnitude if sign else magnitude


def is_short(number: Fraction) -> bool:
    """Whether it has so few bits that every order of operations on such numbers gives it unrounded."""
    denominator_is_power = number.denominator & (number.denominator - 1) == 0
    return (
        denominator_is_power and abs(number.numerator).bit_length() <= SHORT and number.denominator < 2**1000
    )


@dataclass(frozen=True)
class DataType:
    """One of the schema's data types.

    Attributes:
        name: Its name in the schema, without the prefix.
        width: Bytes of an element.
        precision: Significant bits; of fixed point, all bits.
        least: Exponent of the smallest number above 0, the distance of the numbers of fixed point.
        largest: The largest number.
        fixed: Whether it is fixed point.
    """

    name: str
    width: int
    precision: int
    least: int
    largest: Fraction
    fixed: bool = False

    @property
    def number(self) -> layout_pb2.DataType.ValueType:
        """Its value in the schema."""
        return layout_pb2.DataType.Value(f"DATA_TYPE_{self.name}")

    def encode(self, values: list[float]) -> bytes:
        """The little-endian bytes of numbers of the type."""
        if self.fixed:
            return b"".join(
                int(math.ldexp(value, -self.least)).to_bytes(self.width, "little", signed=True)
                for value in values
            )
        if self.name == "BFLOAT16":
            return b"".join(struct.pack("<f", value)[2:] for value in values)
        code = {2: "e", 4: "f", 8: "d"}[self.width]
        return struct.pack(f"<{len(values)}{code}", *values)

    def neighbours(self, magnitude: Fraction) -> tuple[Fraction, Fraction]:
        """The largest number of the type at most a magnitude, and the next one, whatever the range."""
        exponent = self.least
        if not self.fixed and magnitude > 0:
            floor_of_log = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
            floor_of_log -= magnitude < Fraction(2) ** floor_of_log
            exponent = max(floor_of_log - self.precision + 1, self.least)
        unit = Fraction(2) ** exponent
        below = math.floor(magnitude / unit) * unit
        return below, below + unit

    def nearest(self, number: Fraction) -> float:
        """Rounded to nearest, ties to even; too large is infinite, or saturates in fixed point."""
        below, above = self.neighbours(abs(number))
        twice = 2 * abs(number) - below - above
        even = (below / (above - below)) % 2 == 0
        return self._within(below if twice < 0 or (twice == 0 and even) else above, number < 0)

    def rounded(self, number: Fraction) -> float:
        """Rounded to nearest, where every order of operations gives the same.

        Raises:
            TooNear: If the exact number is too near to where rounding changes.
        """
        value = self.nearest(number)
        if not is_short(number) and any(
            self.nearest(number * (1 + error)) != value for error in (SLACK, -SLACK)
        ):
            raise TooNear(f"{float(number)!r} in {self.name}")
        return value

    def stochastic(self, number: Fraction, random: Fraction) -> float:
        """Rounded at random, by a random number from 0 to 1."""
        if abs(number) > self.largest and not self.fixed:
            return self.nearest(number)
        below, above = self.neighbours(abs(number))
        place = (abs(number) - below) / (above - below)
        if not is_short(number) and abs(place - (1 - random)) < SLACK * 2**12:
            raise TooNear(f"{float(number)!r} at random in {self.name}")
        return self._within(above if place >= 1 - random else below, number < 0)

    def _within(self, magnitude: Fraction, negative: bool) -> float:
        if self.fixed:
            most = self.largest + (Fraction(2) ** self.least if negative else 0)
            value = float(min(magnitude, most))
            return -value if negative and value else value
        value = float(magnitude) if magnitude <= self.largest else math.inf
        return -value if negative else value


def _floating(name: str, width: int, precision: int, least: int, top: int) -> DataType:
    return DataType(name, width, precision, least, (2 - Fraction(2, 2**precision)) * Fraction(2) ** top)


def _fixed(width: int) -> DataType:
    bits = 8 * width - 1
    return DataType(f"Q{bits}", width, bits, -bits, 1 - Fraction(1, 2**bits), fixed=True)


FLOAT32 = _floating("FLOAT32", 4, 24, -149, 127)
FLOAT64 = _floating("FLOAT64", 8, 53, -1074, 1023)
FLOAT16 = _floating("FLOAT16", 2, 11, -24, 15)
BFLOAT16 = _floating("BFLOAT16", 2, 8, -133, 127)
Q7, Q15, Q31 = _fixed(1), _fixed(2), _fixed(4)
DATA_TYPES = (FLOAT32, FLOAT64, FLOAT16, BFLOAT16, Q7, Q15, Q31)
BY_NUMBER = {data_type.number: data_type for data_type in DATA_TYPES}


def uniform(seed: int, index: int) -> Fraction:
    """Stochastic rounding's random number of an element, by its index in the whole vector."""
    return Fraction(random_bits(seed, index) >> 12, 2**52)
