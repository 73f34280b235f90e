"""Rounding to the nearest number of a data type, ties to even."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .data_types import BFLOAT16, fraction_bits, limits, numbers_of

if TYPE_CHECKING:
    from ..arrays import DataType, Float64Array

# The bits of float64 below the 12 that are kept: bfloat16 needs 8 and one to round by, float32 holds 12.
_LOW_BITS = np.uint64((1 << 41) - 1)

STRETCH = 1 << 15
"""Elements that are rounded at a time, where rounding needs scratch memory: they fit in the cache."""


def round_into(values: Float64Array, out: npt.NDArray[Any]) -> None:
    """Round each number once, to nearest, ties to even.

    Overflow becomes infinity. Fixed point saturates, and NaN becomes 0.

    Args:
        values: The numbers, ``(n,)``.
        out: The elements, ``(n,)``, of one of the data types.
    """
    if out.dtype == BFLOAT16:
        round_stretch = _round_to_bfloat16
    elif fraction_bits(out.dtype) is not None:
        round_stretch = _round_to_fixed_point
    else:
        out[...] = values
        return
    # Allocating scratch memory for each stretch would take longer than rounding it.
    scratch = np.empty(min(values.size, STRETCH))
    for begin in range(0, values.size, STRETCH):
        stretch = values[begin : begin + STRETCH]
        round_stretch(stretch, out[begin : begin + STRETCH], scratch[: stretch.size])


def _round_to_bfloat16(values: Float64Array, out: npt.NDArray[Any], scratch: Float64Array) -> None:
    # The cast goes through float32 and would round twice. So the low bits are replaced by one sticky bit
    # first: the second rounding needs to know only whether they were zero.
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
    """The numbers in units of a fixed-point type, times 2^7, 2^15 or 2^31; not rounded."""
    with np.errstate(over="ignore"):
        return np.multiply(values, 2.0 ** (fraction_bits(data_type) or 0), out=out)


def saturate_into(whole: Float64Array, out: npt.NDArray[Any]) -> None:
    """Write whole numbers as integers: saturated, NaN as 0."""
    integers = np.iinfo(out.dtype)
    np.clip(whole, integers.min, integers.max, out=whole)
    unknown = np.isnan(whole)
    if unknown.any():
        whole[unknown] = 0.0
    out[...] = whole


def rounded(value: float, data_type: DataType) -> float:
    """The finite number of a data type nearest to a number."""
    information = limits(data_type)
    out = np.empty(1, data_type)
    round_into(np.array([min(max(value, information.min), information.max)]), out)
    return float(numbers_of(out)[0])


def next_inwards(elements: npt.NDArray[Any], upwards: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The neighbour of each element in its data type, up or down; the last one has itself."""
    if fraction_bits(elements.dtype) is None:
        ends = np.where(upwards, np.inf, -np.inf).astype(elements.dtype)
        neighbours: npt.NDArray[Any] = np.nextafter(elements, ends)
        return neighbours
    integers = np.iinfo(elements.dtype)
    moved = elements.astype(np.int64) + np.where(upwards, 1, -1)
    return np.clip(moved, integers.min, integers.max).astype(elements.dtype)
