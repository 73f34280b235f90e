"""Stochastic rounding: to one of the two neighbours at random, such that the mean is exact.

The random bits are a function of the seed and of an element's index in the whole vector, and of nothing
else. docs/numerics.md defines them in full, so that other languages can produce the same bits.
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
"""The increment of SplitMix64: from the state of one element to that of the next."""
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

    They are outputs of SplitMix64 (Steele, Lea and Flood 2014): element i has output i. The generator starts
    from the first output of another one that starts from the seed. So neighbouring seeds, such as the numbers
    of steps, give unrelated bits.

    Args:
        seed: 0 <= seed < 2^64.
        first: Index of the first element in the whole vector.
        count: Number of elements.
        scratch: ``(2, count)``, overwritten; the result is its first row. None to allocate it.
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
    """The state that an element's random bits are mixed from; the next is larger by ``INCREMENT`` mod 2^64.

    Args:
        seed: 0 <= seed < 2^64.
        element: Its index in the whole vector.
    """
    return (_first_output(seed) + (element + 1) * INCREMENT) & _WORD


def mixed(state: Any) -> Any:
    """The 64 random bits of a state, a ``np.uint64``: ``random_bits`` for one element, compiled by Numba."""
    once = (state ^ (state >> _FIRST_SHIFT)) * _FIRST_MULTIPLIER
    twice = (once ^ (once >> _SECOND_SHIFT)) * _SECOND_MULTIPLIER
    return twice ^ (twice >> _LAST_SHIFT)


def round_stochastically(values: Float64Array, out: npt.NDArray[Any], seed: int, first: int) -> None:
    """Round each number to one of its neighbours, with the probabilities that make the mean exact.

    Numbers of the data type stay unchanged. Beyond its largest finite number they are rounded to nearest.
    Fixed point saturates, and NaN becomes 0.

    Args:
        values: The numbers, ``(n,)``.
        out: The elements, ``(n,)``, of one of the data types.
        seed: 0 <= seed < 2^64.
        first: Index of the first number in the whole vector.
    """
    if out.dtype == np.float64:
        out[...] = values
        return
    step_into = _step_floating_into if fraction_bits(out.dtype) is None else _step_fixed_into
    # Allocating scratch memory for each stretch would take longer than rounding it.
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
    # Random bits are added to the mantissa bits that the data type lacks: a carry steps away from 0.
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
    """Write whole numbers: away from 0 where the fraction is at least 1 - u, u uniform in [0, 1).

    ``values`` and ``bits`` are overwritten.
    """
    # As the mantissa of a number in [1, 2) the bits are 1 + u, and 2 - (1 + u) is exact.
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
    """The mantissa bits of float64, of 52, that a data type lacks."""
    return 52 - int(ml_dtypes.finfo(data_type).nmant)  # type: ignore[no-untyped-call] # as in data_types


def _first_output(seed: int) -> int:
    state = (seed + INCREMENT) & _WORD
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, 1), strict=True):
        state = ((state ^ state >> shift) * multiplier) & _WORD
    return state
