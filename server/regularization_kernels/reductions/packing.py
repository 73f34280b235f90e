"""Numbers as bytes, and back from bytes that may be anything.

What is read is checked in exact integers before an array is made from it.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Integers = npt.NDArray[np.int64]

LARGEST = (1 << 63) - 1
"""The largest integer that is read."""

_DOUBLE = struct.Struct("<d")
_WIDTHS = (1, 2, 4, 8)
_FLAGS = (None, False, True)
_LONGEST_VARINT = 9
_LONGEST_NUMERATOR = 512
_EXPONENT_BIAS = 4096


class Malformed(ValueError):
    """The bytes are not what they should be."""


class Packer:
    """Bytes that are written one after the other."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._parts)

    def packed(self) -> bytes:
        """All of them."""
        return bytes(self._parts)

    def raw(self, data: bytes | memoryview) -> None:
        """Write bytes as they are."""
        self._parts += data

    def block(self, data: bytes | memoryview) -> None:
        """Write bytes, with their number in front."""
        self.integer(len(data))
        self.raw(data)

    def integer(self, number: int) -> None:
        """Write an integer from 0 to ``LARGEST``: seven bits a byte, the lowest first."""
        while number > 0x7F:
            self._parts.append(number & 0x7F | 0x80)
            number >>= 7
        self._parts.append(number)

    def optional(self, flag: bool | None) -> None:
        """Write a flag, or that there is none."""
        self.integer(_FLAGS.index(flag))

    def double(self, number: float) -> None:
        """Write a double; of NaN there is one."""
        self._parts += _DOUBLE.pack(math.nan if math.isnan(number) else number)

    def doubles(self, numbers: Sequence[float]) -> None:
        """Write a few doubles, with their number in front."""
        self.integer(len(numbers))
        for number in numbers:
            self.double(number)

    def dyadic(self, number: Fraction) -> None:
        """Write a sum of doubles: an odd integer times a power of two, or 0."""
        numerator, power = number.numerator, 1 - number.denominator.bit_length()
        zeros = (numerator & -numerator).bit_length() - 1 if numerator else 0
        numerator >>= zeros
        length = (numerator.bit_length() + 8) // 8 if numerator else 0
        self.integer(length)
        if length:
            self.integer(power + zeros + _EXPONENT_BIAS)
            self.raw(numerator.to_bytes(length, "little", signed=True))

    def array(self, numbers: Integers) -> None:
        """Write integers >= 0, each in as many bytes as the largest needs."""
        width = width_of(int(numbers.max(initial=0)))
        self._parts.append(width)
        self.raw(numbers.astype(f"<u{width}").tobytes())


class Unpacker:
    """Bytes that are read one after the other.

    Args:
        data: The bytes.

    Raises:
        Malformed: By every method, if there is nothing such to read.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether all has been read."""
        return self._at == len(self._data)

    def check_over(self) -> None:
        """Check that all has been read."""
        if not self.is_over:
            raise Malformed("goes on after its end")

    def raw(self, length: int) -> memoryview:
        """So many bytes."""
        if length > len(self._data) - self._at:
            raise Malformed("ends too soon")
        self._at += length
        return self._data[self._at - length : self._at]

    def block(self) -> memoryview:
        """Bytes, and their number in front of them."""
        return self.raw(self.integer())

    def integer(self, most: int = LARGEST) -> int:
        """An integer from 0 to ``most``."""
        number = 0
        for shift in range(0, 7 * _LONGEST_VARINT, 7):
            byte = self.raw(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if number > most:
                    raise Malformed(f"has {number} in place of at most {most}")
                return number
        raise Malformed("has an integer that is too long")

    def optional(self) -> bool | None:
        """A flag, or None."""
        return _FLAGS[self.integer(len(_FLAGS) - 1)]

    def double(self) -> float:
        """Any double."""
        number: float = _DOUBLE.unpack(self.raw(_DOUBLE.size))[0]
        return math.nan if math.isnan(number) else number

    def doubles(self, most: int) -> tuple[float, ...]:
        """Any doubles, at most so many."""
        return tuple(self.double() for _ in range(self.integer(most)))

    def dyadic(self) -> Fraction:
        """A sum of doubles."""
        length = self.integer(_LONGEST_NUMERATOR)
        if not length:
            return Fraction(0)
        power = self.integer(2 * _EXPONENT_BIAS) - _EXPONENT_BIAS
        return int.from_bytes(self.raw(length), "little", signed=True) * Fraction(2) ** power

    def array(self, count: int) -> Integers:
        """So many integers from 0 to ``LARGEST``."""
        width = self.raw(1)[0]
        if width not in _WIDTHS:
            raise Malformed(f"has integers of {width} bytes")
        numbers = np.frombuffer(self.raw(count * width), f"<u{width}")
        if int(numbers.max(initial=0)) > LARGEST:
            raise Malformed("has an integer that is too large")
        return numbers.astype(np.int64)


def width_of(largest: int) -> int:
    """Bytes of each of several integers, the largest of which this is."""
    return next(width for width in _WIDTHS if largest < 1 << 8 * width)
