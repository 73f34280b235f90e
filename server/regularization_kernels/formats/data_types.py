"""The data types of elements: names, limits, and the numbers that elements stand for.

Fixed point is stored in NumPy's integers: int8 is Q7, int16 is Q15, int32 is Q31. The number is the integer
divided by 2^7, 2^15 or 2^31. Integers have no other meaning here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..arrays import FLOAT64
from ..expansions import Exponents, exponents_of

if TYPE_CHECKING:
    from ..arrays import DataType, Float64Array

BFLOAT16: DataType = cast("DataType", np.dtype(ml_dtypes.bfloat16))
"""The upper half of a float32; the package ``ml_dtypes`` adds it to NumPy."""

DATA_TYPES: tuple[DataType, ...] = (
    np.dtype(np.float32),
    np.dtype(np.float64),
    np.dtype(np.float16),
    BFLOAT16,
    np.dtype(np.int8),
    np.dtype(np.int16),
    np.dtype(np.int32),
)
"""The data types of elements, in the order of the contract."""

_FINE = (np.dtype(np.float32), FLOAT64)

_EXPONENT = np.uint64(0x7FF << 52)

_WHOLE = 2.0**53

_FRACTION_BITS = {np.dtype(np.int8): 7, np.dtype(np.int16): 15, np.dtype(np.int32): 31}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a data type."""

    min: float
    """The lowest finite number."""
    max: float
    """The largest finite number."""
    eps: float
    """The distance from 1 to the next number, which is the relative spacing; 0 in fixed point."""
    spacing: float
    """The constant spacing of fixed point; 0 in floating point."""
    smallest_normal: float
    """The smallest normal number; in fixed point the smallest number above 0."""
    smallest_subnormal: float
    """The smallest number above 0."""


@cache
def limits(data_type: DataType) -> Limits:
    """The limits of a data type."""
    bits = fraction_bits(data_type)
    if bits is not None:
        step = 2.0**-bits
        return Limits(-1.0, 1.0 - step, 0.0, step, step, step)
    about = ml_dtypes.finfo(data_type)  # type: ignore[no-untyped-call] # ml_dtypes leaves it untyped
    numbers = (about.min, about.max, about.eps, 0.0, about.smallest_normal, about.smallest_subnormal)
    return Limits(*(float(number) for number in numbers))


@cache
def exponents(data_type: DataType) -> Exponents:
    """The exponents of the finite numbers of a data type."""
    of = limits(data_type)
    return Exponents(exponents_of(of.smallest_subnormal).lowest, exponents_of(max(of.max, -of.min)).highest)


def fraction_bits(data_type: DataType) -> int | None:
    """The fraction bits of a fixed-point type: 7, 15 or 31; None for floating point."""
    return _FRACTION_BITS.get(data_type)


def contract_name(data_type: DataType) -> str:
    """The name of a data type in the contract, without its prefix: ``FLOAT32``, ``Q15``."""
    bits = fraction_bits(data_type)
    return data_type.name.upper() if bits is None else f"Q{bits}"


def is_coarse(data_type: DataType) -> bool:
    """Whether rounding to it may take a point out of a set: true of 16 bits and of fixed point."""
    return data_type not in _FINE


def slack(data_type: DataType, elements: int, magnitude: float) -> float:
    """The tolerance by which a sum or a norm may exceed its bound and still count as inside.

    It is two units in the last place of the bound, whatever the number of elements. In float32 these are
    units of float32: rounding to nearest takes half of one, and stochastic rounding less than one. In all
    other types they are units of float64, in which sums are computed; results in a coarse type are rounded
    so that they need no more. Near 0, where a unit is no longer relative, each element adds two of the
    smallest numbers.

    Args:
        data_type: The data type of the elements.
        elements: The number of elements.
        magnitude: The bound.
    """
    information = limits(FLOAT64 if is_coarse(data_type) else data_type)
    return 2.0 * (information.eps * magnitude + elements * information.smallest_subnormal)


def share_left_alone(data_type: DataType) -> float:
    """The share of ``slack`` within which a projection leaves a point unchanged.

    It is one half in float32, because rounding the result takes up to the other half. It is 1 in float64,
    where results are not rounded, and in coarse types, where the rounded result is checked.
    """
    return 0.5 if data_type == np.float32 else 1.0


def spacings(numbers: Float64Array, data_type: DataType) -> Float64Array:
    """The spacing of a data type at each number: twice the largest error of rounding to nearest.

    It is 0 for float64, because results are not rounded to it.
    """
    information = limits(data_type)
    if data_type == FLOAT64 or information.spacing:
        return np.full(numbers.shape, information.spacing)
    # The exponent bits alone are the largest power of two not above the number; 0 for 0.
    powers = (np.ascontiguousarray(numbers).view(np.uint64) & _EXPONENT).view(np.float64)
    powers *= information.eps
    return np.maximum(powers, information.smallest_subnormal, out=powers)


def on_grid(value: float, data_type: DataType) -> float:
    """A number rounded to the precision of a data type, not to its range: a sum that elements can reach.

    Args:
        value: Finite, >= 0.
        data_type: A coarse data type.
    """
    information = limits(data_type)
    step = information.spacing
    if not step:
        exponent = math.frexp(value)[1] - 1
        step = max(math.ldexp(information.eps, exponent), information.smallest_subnormal)
    steps = value / step
    # From 2^53 steps on, every float64 number is a whole number of steps.
    return value if steps >= _WHOLE else round(steps) * step


def numbers_of(elements: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers that elements stand for: fixed point in float64, exact; floating point as it is."""
    bits = fraction_bits(elements.dtype)
    return elements if bits is None else np.multiply(elements, 2.0**-bits, dtype=np.float64)


def widen_into(elements: npt.NDArray[Any], out: Float64Array) -> None:
    """Write the numbers that elements stand for; exact."""
    bits = fraction_bits(elements.dtype)
    if bits is None:
        out[...] = elements
    else:
        np.multiply(elements, 2.0**-bits, out=out, dtype=np.float64)


def are_finite(elements: npt.NDArray[Any], out: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Write which elements are finite into ``out``, and return it."""
    if fraction_bits(elements.dtype) is not None:
        out.fill(True)
    elif elements.dtype.itemsize != 2:
        np.isfinite(elements, out=out)
    else:
        # NumPy checks 16-bit floats one by one; comparing their bits is several times as fast.
        exponent = np.uint16(0x7F80 if elements.dtype == BFLOAT16 else 0x7C00)
        np.not_equal(elements.view(np.uint16) & exponent, exponent, out=out)
    return out
