"""The data types of elements: what they are called, what they can hold, and which number an element is.

Fixed point stands in NumPy's integers, of which there are no others here: int8 is Q7, int16 is Q15, int32
is Q31. The number is the integer divided by 2^7, 2^15 or 2^31.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..expansions import Grid, grid_of

if TYPE_CHECKING:
    from ..regularizer import DataType, Float64Array

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
def grid(data_type: DataType) -> Grid:
    """Where the finite numbers lie that a data type can hold."""
    of = limits(data_type)
    return Grid(grid_of(of.smallest_subnormal).lowest, grid_of(max(of.max, -of.min)).highest)


def fraction_bits(data_type: DataType) -> int | None:
    """Bits behind the point: 7, 15 or 31; None where the point floats."""
    return _FRACTION_BITS.get(data_type)


def contract_name(data_type: DataType) -> str:
    """What the contract calls a data type, without its prefix: ``FLOAT32``, ``Q15``."""
    bits = fraction_bits(data_type)
    return data_type.name.upper() if bits is None else f"Q{bits}"


def slack(data_type: DataType, elements: int, magnitude: float) -> float:
    """By how much rounding each of some elements to a data type may change a sum or a norm of them.

    Sets whose border is a sum, such as balls, count what exceeds it by no more than this as inside: so the
    penalty of what a projection gave, rounded, is 0. It holds for stochastic rounding too, which moves an
    element by less than the distance of its neighbours.

    Args:
        data_type: What elements are rounded to.
        elements: How many there are.
        magnitude: The sum or the norm.
    """
    information = limits(data_type)
    return 2.0 * information.eps * magnitude + elements * information.smallest_subnormal


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
