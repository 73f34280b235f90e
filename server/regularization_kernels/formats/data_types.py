"""The data types of elements: what they are called, what they can hold, and which number an element is.

Fixed point stands in NumPy's integers, of which there are no others here: int8 is Q7, int16 is Q15, int32
is Q31. The number is the integer divided by 2^7, 2^15 or 2^31.
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
"""The upper half of a float32; NumPy has it from a package of its own."""

DATA_TYPES: tuple[DataType, ...] = (
    np.dtype(np.float32),
    np.dtype(np.float64),
    np.dtype(np.float16),
    BFLOAT16,
    np.dtype(np.int8),
    np.dtype(np.int16),
    np.dtype(np.int32),
)
"""In which elements come and go, in the order of the contract."""

_FINE = (np.dtype(np.float32), FLOAT64)

_EXPONENT = np.uint64(0x7FF << 52)

_WHOLE = 2.0**53

_FRACTION_BITS = {np.dtype(np.int8): 7, np.dtype(np.int16): 15, np.dtype(np.int32): 31}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a data type can hold."""

    min: float
    """The lowest finite number."""
    max: float
    """The largest."""
    eps: float
    """Distance from 1 to the next number: of neighbours anywhere, relative to them; 0 in fixed point."""
    spacing: float
    """Distance of neighbours, where it is the same for all, which it is in fixed point; 0 otherwise."""
    smallest_normal: float
    """The smallest number from which on the distance grows with the number; in fixed point as below."""
    smallest_subnormal: float
    """The smallest number above 0."""


@cache
def limits(data_type: DataType) -> Limits:
    """What a data type can hold."""
    bits = fraction_bits(data_type)
    if bits is not None:
        step = 2.0**-bits
        return Limits(-1.0, 1.0 - step, 0.0, step, step, step)
    about = ml_dtypes.finfo(data_type)  # type: ignore[no-untyped-call] # ml_dtypes leaves it untyped
    numbers = (about.min, about.max, about.eps, 0.0, about.smallest_normal, about.smallest_subnormal)
    return Limits(*(float(number) for number in numbers))


@cache
def exponents(data_type: DataType) -> Exponents:
    """Where the finite numbers lie that a data type can hold."""
    of = limits(data_type)
    return Exponents(exponents_of(of.smallest_subnormal).lowest, exponents_of(max(of.max, -of.min)).highest)


def fraction_bits(data_type: DataType) -> int | None:
    """Bits behind the point: 7, 15 or 31; None where the point floats."""
    return _FRACTION_BITS.get(data_type)


def contract_name(data_type: DataType) -> str:
    """What the contract calls a data type, without its prefix: ``FLOAT32``, ``Q15``."""
    bits = fraction_bits(data_type)
    return data_type.name.upper() if bits is None else f"Q{bits}"


def is_coarse(data_type: DataType) -> bool:
    """Whether rounding to it is more than a comparison may overlook: 16 bits, and fixed point."""
    return data_type not in _FINE


def slack(data_type: DataType, elements: int, magnitude: float) -> float:
    """By how much a sum or a norm of some elements may exceed its bound and still count as on it.

    Two units in the last place, however many elements there are: of float32 in float32, where rounding to
    nearest takes a half and stochastic rounding less than one, and of float64, in which sums are computed,
    in all others. What is rounded to a coarse data type is rounded so that it needs no more. Only of numbers
    near the smallest, where units are no longer relative, each element has two of those.

    Args:
        data_type: What elements are rounded to.
        elements: How many there are.
        magnitude: The bound.
    """
    information = limits(FLOAT64 if is_coarse(data_type) else data_type)
    return 2.0 * (information.eps * magnitude + elements * information.smallest_subnormal)


def share_left_alone(data_type: DataType) -> float:
    """The share of ``slack`` up to which a projection leaves a point as it is, before it is rounded.

    Half of it in float32: rounding to it takes up to the other half. Nothing is rounded to float64; and what
    is rounded to a coarse data type is looked at afterwards.
    """
    return 0.5 if data_type == np.float32 else 1.0


def spacings(numbers: Float64Array, data_type: DataType) -> Float64Array:
    """At each number, the distance of neighbours in a data type: twice what rounding to nearest may move it.

    It is 0 in float64, to which nothing is rounded.
    """
    information = limits(data_type)
    if data_type == FLOAT64 or information.spacing:
        return np.full(numbers.shape, information.spacing)
    # A number's exponent by itself is the power of two that is not above it, and 0 for 0.
    powers = (np.ascontiguousarray(numbers).view(np.uint64) & _EXPONENT).view(np.float64)
    powers *= information.eps
    return np.maximum(powers, information.smallest_subnormal, out=powers)


def on_grid(value: float, data_type: DataType) -> float:
    """A number rounded to as many bits as a data type has, whatever its range: sums of elements reach it.

    Args:
        value: Finite, >= 0.
        data_type: A coarse one.
    """
    information = limits(data_type)
    step = information.spacing
    if not step:
        exponent = math.frexp(value)[1] - 1
        step = max(math.ldexp(information.eps, exponent), information.smallest_subnormal)
    steps = value / step
    # From there on a number of float64 is a whole number of steps by itself.
    return value if steps >= _WHOLE else round(steps) * step


def numbers_of(elements: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers that elements stand for: of fixed point in float64, and exact; else the elements."""
    bits = fraction_bits(elements.dtype)
    return elements if bits is None else np.multiply(elements, 2.0**-bits, dtype=np.float64)


def widen_into(elements: npt.NDArray[Any], out: Float64Array) -> None:
    """Write the numbers that elements stand for, which are exact."""
    bits = fraction_bits(elements.dtype)
    if bits is None:
        out[...] = elements
    else:
        np.multiply(elements, 2.0**-bits, out=out, dtype=np.float64)


def are_finite(elements: npt.NDArray[Any], out: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Write which elements are finite, and return that."""
    if fraction_bits(elements.dtype) is not None:
        out.fill(True)
    elif elements.dtype.itemsize != 2:
        np.isfinite(elements, out=out)
    else:
        # Of 16 bits NumPy looks at one element after the other; on integers it is several times as fast.
        exponent = np.uint16(0x7F80 if elements.dtype == BFLOAT16 else 0x7C00)
        np.not_equal(elements.view(np.uint16) & exponent, exponent, out=out)
    return out
