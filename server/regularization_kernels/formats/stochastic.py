"""Rounding to one of the two neighbours at random, so that the mean is exact.

The random bits are a function of a seed and of an element's index in the whole vector, and of nothing
else: docs/numerics.md has it in full, so that another language can give the same bits.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .data_types import fraction_bits, limits
from .nearest import STRETCH, round_into, saturate_into, scaled_to

if TYPE_CHECKING:
    from ..arrays import DataType, Float64Array

_WORD = (1 << 64) - 1
INCREMENT = 0x9E3779B97F4A7C15
"""From one element's state to the next one's: SplitMix64's."""
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_FIRST_SHIFT, _SECOND_SHIFT, _LAST_SHIFT = map(np.uint64, _SHIFTS)
_FIRST_MULTIPLIER, _SECOND_MULTIPLIER = map(np.uint64, _MULTIPLIERS)
_ONE = np.uint64(0x3FF << 52)
"""The bits of 1.0."""


def random_bits(
    seed: int, first: int, count: int, scratch: npt.NDArray[np.uint64] | None = None
) -> npt.NDArray[np.uint64]:
    """64 random bits for each of the elements from ``first`` on.

    They are the outputs of SplitMix64 (Steele, Lea and Flood 2014), counted from 0 by the element's index,
    whose state begins as the first output of another that begins as the seed: so seeds that are near each
    other, such as the numbers of steps, have nothing in common.

    Args:
        seed: 0 <= seed < 2^64.
        first: Index of the first element in the whole vector.
        count: How many.
        scratch: Two rows of as many; the first is what is returned. None to make them.
    """
    rows = np.empty((2, count), np.uint64) if scratch is None else scratch
    bits: npt.NDArray[np.uint64] = rows[0]
    shifted = rows[1]
    np.add(_multiples(count), np.uint64(random_state(seed, first)), out=bits)
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, None), strict=True):
        np.right_shift(bits, np.uint64(shift), out=shifted)
        bits ^= shifted
        if multiplier is not None:
            bits *= np.uint64(multiplier)
    return bits


def random_state(seed: int, element: int) -> int:
    """What an element's random bits are mixed from; that of the next is larger by ``INCREMENT``, modulo 2^64.

    Args:
        seed: 0 <= seed < 2^64.
        element: Its index in the whole vector.
    """
    return (_first_output(seed) + (element + 1) * INCREMENT) & _WORD


def mixed(state: Any) -> Any:
    """The 64 random bits of a state, a ``np.uint64``: ``random_bits`` of one element, for Numba."""
    once = (state ^ (state >> _FIRST_SHIFT)) * _FIRST_MULTIPLIER
    twice = (once ^ (once >> _SECOND_SHIFT)) * _SECOND_MULTIPLIER
    return twice ^ (twice >> _LAST_SHIFT)


def round_stochastically(values: Float64Array, out: npt.NDArray[Any], seed: int, first: int) -> None:
    """Round each number to one of its neighbours, away from 0 with the probability that makes the mean exact.

    Numbers of the data type stay what they are. Beyond its largest finite number, rounding is as to nearest;
    in fixed point it is to the end of the range, and of NaN to 0.

    Args:
        values: What is to be rounded, of one axis.
        out: Where it goes, as long, and of one of the data types.
        seed: 0 <= seed < 2^64.
        first: Index of the first number in the whole vector.
    """
    if out.dtype == np.float64:
        out[...] = values
        return
    step_into = _step_floating_into if fraction_bits(out.dtype) is None else _step_fixed_into
    # Memory that is made anew for each stretch would cost more than what is computed in it.
    scratch = np.empty((4, min(values.size, STRETCH)), np.uint64)
    for begin in range(0, values.size, STRETCH):
        stretch = values[begin : begin + STRETCH]
        own = scratch[:, : stretch.size]
        bits = random_bits(seed, first + begin, stretch.size, own[:2])
        step_into(stretch, out[begin : begin + STRETCH], bits, own[1:])


def _step_fixed_into(
    values: Float64Array, out: npt.NDArray[Any], bits: npt.NDArray[np.uint64], scratch: npt.NDArray[np.uint64]
) -> None:
    scaled, whole, size = scratch.view(np.float64)
    scaled_to(values, out.dtype, scaled)
    _step(scaled, bits, whole, size)
    saturate_into(whole, out)


def _step_floating_into(
    values: Float64Array, out: npt.NDArray[Any], bits: npt.NDArray[np.uint64], scratch: npt.NDArray[np.uint64]
) -> None:
    information, dropped = limits(out.dtype), _dropped_bits(out.dtype)
    # Random bits are added to those that the data type has no room for: the carry is the step away from 0.
    moved = np.right_shift(bits, np.uint64(64 - dropped), out=scratch[0])
    moved += values.view(np.uint64)
    moved &= np.uint64(_WORD << dropped & _WORD)
    result = moved.view(np.float64)
    size = np.abs(values, out=scratch[1].view(np.float64))
    subnormal = np.flatnonzero((size < information.smallest_normal) & (size > 0.0))
    if subnormal.size:
        unit = information.smallest_subnormal
        whole, spare = np.empty((2, subnormal.size))
        _step(values[subnormal] / unit, bits[subnormal], whole, spare)
        result[subnormal] = whole * unit
    beyond = np.flatnonzero(~(size <= information.max))
    if beyond.size:
        nearest = np.empty(beyond.size, out.dtype)
        round_into(values[beyond], nearest)
        result[beyond] = nearest
    out[...] = result


def _step(
    values: Float64Array, bits: npt.NDArray[np.uint64], out: Float64Array, scratch: Float64Array
) -> None:
    """Write whole numbers: away from 0 where the fraction is at least 1 - u, u in [0, 1) being random.

    Values and bits are used up.
    """
    # As the mantissa of a number from 1 to 2, bits are 1 + u; what is left to 2 is exact.
    bits >>= np.uint64(12)
    bits |= _ONE
    enough = np.subtract(2.0, bits.view(np.float64), out=bits.view(np.float64))
    np.trunc(values, out=out)
    with np.errstate(invalid="ignore"):
        values -= out
    away = np.abs(values, out=scratch) >= enough
    out += np.copysign(away, values, out=scratch)


@lru_cache(2)
def _multiples(count: int) -> npt.NDArray[np.uint64]:
    steps = np.arange(count, dtype=np.uint64) * np.uint64(INCREMENT)
    steps.flags.writeable = False
    return steps


@cache
def _dropped_bits(data_type: DataType) -> int:
    """Bits of a float64's 52 that a data type's mantissa has no room for."""
    return 52 - int(ml_dtypes.finfo(data_type).nmant)  # type: ignore[no-untyped-call] # as in data_types


def _first_output(seed: int) -> int:
    state = (seed + INCREMENT) & _WORD
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, 1), strict=True):
        state = ((state ^ state >> shift) * multiplier) & _WORD
    return state
