"""Rounding to the nearest number of a data type, ties to even."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .data_types import BFLOAT16, fraction_bits, limits, numbers_of

if TYPE_CHECKING:
    from ..arrays import DataType, Float64Array

# What float32 keeps exactly and bfloat16 rounds off: 12 of 53 bits are more than 8 and a rounding bit.
_LOW_BITS = np.uint64((1 << 41) - 1)

STRETCH = 1 << 15
"""Elements that are rounded at once where that takes scratch memory: so many that the processor's caches
hold, and few against all that a call needs."""


def round_into(values: Float64Array, out: npt.NDArray[Any]) -> None:
    """Round each number once, to nearest-even.

    Beyond the largest finite number it becomes infinite; in fixed point, the end of the range, and NaN
    becomes 0.

    Args:
        values: What is to be rounded, of one axis.
        out: Where it goes, as long, and of one of the data types.
    """
    if out.dtype == BFLOAT16:
        round_stretch = _round_to_bfloat16
    elif fraction_bits(out.dtype) is not None:
        round_stretch = _round_to_fixed_point
    else:
        out[...] = values
        return
    # Memory that is made anew for each stretch would cost more than what is computed in it.
    scratch = np.empty(min(values.size, STRETCH))
    for begin in range(0, values.size, STRETCH):
        stretch = values[begin : begin + STRETCH]
        round_stretch(stretch, out[begin : begin + STRETCH], scratch[: stretch.size])


def _round_to_bfloat16(values: Float64Array, out: npt.NDArray[Any], scratch: Float64Array) -> None:
    # The cast goes by float32, and would round twice. So the bits that are to go are folded into the lowest
    # of those that stay: not zero stays not zero, which is all that the second rounding asks of them.
    bits, sticky = values.view(np.uint64), scratch.view(np.uint64)
    np.bitwise_and(bits, _LOW_BITS, out=sticky)
    sticky += _LOW_BITS
    sticky |= bits
    sticky &= ~_LOW_BITS
    out[...] = scratch.astype(np.float32)


def _round_to_fixed_point(values: Float64Array, out: npt.NDArray[Any], scratch: Float64Array) -> None:
    scaled_to(values, out.dtype, scratch)
    saturate_into(np.rint(scratch, out=scratch), out)


def scaled_to(values: Float64Array, data_type: DataType, out: Float64Array) -> Float64Array:
    """The numbers times 2^7, 2^15 or 2^31: in the unit of a fixed-point type's integers, not yet rounded."""
    with np.errstate(over="ignore"):
        return np.multiply(values, 2.0 ** (fraction_bits(data_type) or 0), out=out)


def saturate_into(whole: Float64Array, out: npt.NDArray[Any]) -> None:
    """Write whole numbers as integers; what is out of range becomes the end that it passed, NaN 0."""
    integers = np.iinfo(out.dtype)
    np.clip(whole, integers.min, integers.max, out=whole)
    unknown = np.isnan(whole)
    if unknown.any():
        whole[unknown] = 0.0
    out[...] = whole


def rounded(value: float, data_type: DataType) -> float:
    """A number as the nearest finite one of a data type."""
    information = limits(data_type)
    out = np.empty(1, data_type)
    round_into(np.array([min(max(value, information.min), information.max)]), out)
    return float(numbers_of(out)[0])


def next_inwards(elements: npt.NDArray[Any], upwards: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Each element's neighbour in its data type, upwards or downwards; of the last one itself."""
    if fraction_bits(elements.dtype) is None:
        ends = np.where(upwards, np.inf, -np.inf).astype(elements.dtype)
        neighbours: npt.NDArray[Any] = np.nextafter(elements, ends)
        return neighbours
    integers = np.iinfo(elements.dtype)
    moved = elements.astype(np.int64) + np.where(upwards, 1, -1)
    return np.clip(moved, integers.min, integers.max).astype(elements.dtype)
