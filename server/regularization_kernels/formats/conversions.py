"""Conversion of one element to its number and back: scalar functions that compiled loops use.

Numba has no float16 and no bfloat16, so their elements are read and written as bits. The results have the
bits of ``nearest`` and ``stochastic``. A number is divided by its unit in the last place, a power of two, so
the quotient is exact; then it is rounded once, to a whole number. Conditions select between values instead
of branching, so that the compiler can vectorize.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .data_types import BFLOAT16, fraction_bits, limits

if TYPE_CHECKING:
    from ..arrays import DataType

# Of a float64.
_SIGN = -(1 << 63)
_EXPONENT = 0x7FF << 52
_MANTISSA_BITS = 52
_BIAS = 1023


@dataclass(frozen=True, slots=True)
class Conversion:
    """The functions of a data type that Numba compiles into loops.

    Each works on one element. All but ``is_finite`` take ``numbers`` as their last arguments.
    """

    stored: np.dtype[Any]
    """The type in which loops see an element: of the same size, and one that Numba has."""
    read: Callable[..., Any]
    """Stored element to float64; exact."""
    to_nearest: Callable[..., Any]
    """float64 to the nearest stored element, and its number."""
    at_random: Callable[..., Any]
    """float64 and 64 random bits to a stored element, rounded stochastically, and its number."""
    is_finite: Callable[..., Any]
    """Whether a stored element is neither NaN nor infinite; takes the element alone."""
    numbers: tuple[float, ...]
    """Constants of the data type.

    Floating point: bits of the mantissa, smallest normal number, largest power of two, largest number, and
    the factor that takes a power of two to where float64 has the data type's spacing at that power. Fixed
    point: the unit, the lowest and the highest integer.
    """


@cache
def conversion(data_type: DataType) -> Conversion:
    """The conversion of a data type."""
    bits = fraction_bits(data_type)
    if bits is not None:
        numbers: tuple[float, ...] = (2.0**-bits, -(2.0**bits), 2.0**bits - 1.0)
        return Conversion(data_type, _read_fixed, _fixed_nearest, _fixed_at_random, _always, numbers)
    if data_type == np.float64:
        return Conversion(data_type, _read, _same, _same, _is_finite, ())
    of = limits(data_type)
    mantissa_bits = -int(np.log2(of.eps))
    far = 1.5 * 2.0 ** (_MANTISSA_BITS - mantissa_bits)
    numbers = (mantissa_bits, of.smallest_normal, of.max / (2.0 - of.eps), of.max, far)
    if data_type == np.float32:
        return Conversion(data_type, _read, _float32_nearest, _float32_at_random, _is_finite, numbers)
    if data_type == BFLOAT16:
        functions = _read_bfloat16, _bfloat16_nearest, _bfloat16_at_random, _is_finite_bfloat16
    else:
        functions = _read_float16, _float16_nearest, _float16_at_random, _is_finite_float16
    return Conversion(np.dtype(np.uint16), *functions, numbers)


def _read(element: Any, *_: float) -> Any:
    return np.float64(element)


def _read_fixed(element: Any, unit: float, *_: float) -> Any:
    return np.float64(element) * unit


def _read_bfloat16(element: Any, *_: float) -> Any:
    return np.float64(np.uint32(np.uint32(element) << 16).view(np.float32))


def _read_float16(element: Any, *_: float) -> Any:
    magnitude = np.int32(element) & 0x7FFF
    # The exponent bias of float32 is larger by 112. Infinity and NaN have the largest exponent in both.
    normal = (magnitude << 13) + ((224 if magnitude >= 0x7C00 else 112) << 23)
    # As a normal float32 it has an implicit leading 1; taking that off leaves the subnormal number.
    subnormal = np.int32((magnitude << 13) + (113 << 23)).view(np.float32) - np.float32(2.0**-14)
    size = subnormal if magnitude < 0x400 else np.int32(normal).view(np.float32)
    sign = (np.int32(element) & 0x8000) << 16
    return np.float64(np.int32(np.float32(size).view(np.int32) | sign).view(np.float32))


def _is_finite(element: Any) -> Any:
    return np.isfinite(element)


def _is_finite_bfloat16(element: Any) -> Any:
    return (element & 0x7F80) != 0x7F80


def _is_finite_float16(element: Any) -> Any:
    return (element & 0x7C00) != 0x7C00


def _always(element: Any) -> Any:
    return True


def _same(x: float, *_: Any) -> Any:
    return x, x


def _float32_nearest(x: float, *_: float) -> Any:
    element = np.float32(x)
    return element, np.float64(element)


def _float32_at_random(x: float, word: Any, *numbers: Any) -> Any:
    magnitude = np.int32(_magnitude_at_random(x, word, *numbers)).view(np.float32)
    element = np.copysign(magnitude, np.float32(x)) if x == x else np.float32(x)
    return element, np.float64(element)


def _bfloat16_nearest(x: float, *numbers: Any) -> Any:
    # The upper half of a float32; the cast makes infinity of what is past the largest number.
    number = np.float32(_floating_nearest(x, *numbers))
    return np.uint16(number.view(np.int32) >> 16), np.float64(number)


def _bfloat16_at_random(x: float, word: Any, *numbers: Any) -> Any:
    element = _signed(x, _magnitude_at_random(x, word, *numbers))
    return element, _read_bfloat16(element)


def _float16_nearest(x: float, *numbers: Any) -> Any:
    number = np.float32(_floating_nearest(x, *numbers))
    bits = number.view(np.int32)
    size = bits & 0x7FFFFFFF
    # The exponent bias of float32 is larger by 112, and its mantissa has 13 more bits. In [0.5, 1) it has the
    # spacing of subnormal float16, so adding 0.5 turns a subnormal number into its integer of bits.
    normal: Any = min((size >> 13) - (112 << 10), 0x7C00)
    subnormal = np.float32(abs(number) + np.float32(0.5)).view(np.int32) - 0x3F000000
    magnitude = subnormal if size < 113 << 23 else normal
    element = np.uint16((0x7FFF if size > 0x7F800000 else magnitude) | (bits >> 16 & 0x8000))
    beyond = np.float64(number) * np.inf
    return element, beyond if abs(number) > np.float32(65504.0) else np.float64(number)


def _float16_at_random(x: float, word: Any, *numbers: Any) -> Any:
    element = _signed(x, _magnitude_at_random(x, word, *numbers))
    return element, _read_float16(element)


def _signed(x: float, magnitude: int) -> Any:
    sign = np.int32(np.float64(x).view(np.uint64) >> np.uint64(48)) & 0x8000
    return np.uint16((magnitude if x == x else 0x7FFF) | sign)


def _floating_nearest(
    x: float, mantissa_bits: int, smallest: float, highest: float, largest: float, far: float
) -> Any:
    """The nearest number of the data type, with an unbounded exponent upwards."""
    # At ``away`` float64 has the spacing that the data type has at x, so the sum is rounded to it.
    away = _power_of_two(x, smallest, highest) * far
    rounded = (x + away) - away
    # A result of 0 keeps the sign of x.
    sign = np.float64(x).view(np.int64) & _SIGN
    return np.int64(np.float64(rounded).view(np.int64) | sign).view(np.float64)


def _magnitude_at_random(
    x: float, word: Any, mantissa_bits: int, smallest: float, highest: float, largest: float, far: float
) -> Any:
    size = _limited(abs(x), highest)
    power = _power_of_two(size, smallest, highest)
    units = _units(size, power, mantissa_bits)
    whole = _stepped(units, word) if size <= largest else np.rint(units)
    return _bits(power, whole, smallest, mantissa_bits)


def _limited(size: float, highest: float) -> float:
    """A magnitude clipped at the power of two from which on everything is infinite; NaN stays NaN."""
    return 2.0 * highest if size > 2.0 * highest else size


def _power_of_two(number: float, smallest: float, highest: float) -> Any:
    """The largest power of two not above the magnitude of a number, within the exponents of the data type."""
    power = np.int64(np.float64(number).view(np.int64) & _EXPONENT).view(np.float64)
    raised = smallest if power < smallest else power
    return highest if raised > highest else raised


def _units(size: float, power: float, mantissa_bits: int) -> Any:
    """A magnitude in units in the last place at a power of two; exact."""
    exponent_of_unit = np.float64(power).view(np.int64) - (mantissa_bits << _MANTISSA_BITS)
    return size * np.int64(((2 * _BIAS) << _MANTISSA_BITS) - exponent_of_unit).view(np.float64)


def _stepped(units: float, word: Any) -> Any:
    """The whole number beside units >= 0: the upper one where the fraction is at least 1 - u, u uniform."""
    whole = np.floor(units)
    # As the mantissa of a number in [1, 2) the bits are 1 + u, and 2 - (1 + u) is exact.
    one_and_u = np.uint64((word >> np.uint64(12)) | np.uint64(_BIAS << _MANTISSA_BITS)).view(np.float64)
    return whole + (1.0 if units - whole >= 2.0 - one_and_u else 0.0)


def _bits(power: float, whole: float, smallest: float, mantissa_bits: int) -> Any:
    """The bits, as an int32, of a number of so many units in the last place at a power of two."""
    # The leading 1 of a normal number carries into the exponent.
    above = np.float64(power).view(np.int64) - np.float64(smallest).view(np.int64)
    return np.int32(np.uint64(above) >> np.uint64(_MANTISSA_BITS - mantissa_bits)) + np.int32(whole)


def _fixed_nearest(x: float, unit: float, lowest: float, highest: float) -> Any:
    element = np.int32(_saturated(np.rint(x * (1.0 / unit)), lowest, highest))
    return element, element * unit


def _fixed_at_random(x: float, word: Any, unit: float, lowest: float, highest: float) -> Any:
    # A number out of range has no neighbour inside it, so it is clipped first.
    units = _saturated(x * (1.0 / unit), lowest, highest)
    element = np.int32(np.copysign(_stepped(abs(units), word), units))
    return element, element * unit


def _saturated(number: float, lowest: float, highest: float) -> Any:
    raised = lowest if number < lowest else number
    inside = highest if raised > highest else raised
    return inside if inside == inside else 0.0
