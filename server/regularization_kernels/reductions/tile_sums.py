"""Exact sums of the numbers of a tile, by functions that compiled loops call.

Of each number, the nearest multiple of a unit is split off, such that all multiples of a tile add up without
rounding, in any order; then the same of what is left, until nothing is (Demmel and Nguyen 2015). So a tile
has a few partial sums, whose exact sum is that of its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..compilation import ANY

TILE = 1 << 11
"""Numbers of a tile: with the multiples that are split off they stay in the nearest cache."""
_BITS = 41
"""A number has at most two to this power units, so that a tile's multiples add up to 2^52 units at most."""
_ROUNDING = 52 - _BITS
"""The number to round with is 1.5 times a power of two, so far above what bounds the numbers."""
_BIAS = 1023
_MANTISSA = 52
_HALF = np.int64(1 << 51)

MOST_PARTIALS = 54
"""More than a tile has: each time takes 41 bits of the 2,098 that float64 numbers may differ by."""


@cache
def rounding_number() -> Callable[[int], float]:
    """A compiled function: what numbers are rounded with to multiples of a unit, by adding and taking it off.

    Of the power of two that all their magnitudes are below; 2^41 units are as much.
    """
    import numba

    def write(exponent: int) -> float:
        # The lowest unit is that of all float64 numbers, so that nothing is left of them then.
        field = max(exponent + _ROUNDING + _BIAS, 1)
        return np.int64((np.int64(field) << _MANTISSA) | _HALF).view(np.float64)

    jit: Any = numba.njit(error_model="numpy")
    rounding: Callable[[int], float] = jit(write)
    return rounding


@cache
def tile_sums() -> Callable[[ANY, ANY, int, ANY, int], int]:
    """A compiled function: it writes a tile's partial sums, and gives how many there are then.

    Of the tile's numbers, which it writes over; room for as many; the power of two that all magnitudes are
    below, at most 2^1000; where partial sums are written; and how many were before.
    """
    import numba

    jit: Any = numba.njit(error_model="numpy")
    # Sums that are exact may be taken in any order, so several numbers at once.
    in_any_order: Any = numba.njit(error_model="numpy", fastmath={"reassoc", "nsz"})

    def add_up(numbers: ANY) -> float:
        total = 0.0
        for j in range(numbers.size):
            total += numbers[j]
        return total

    def split(rest: ANY, multiples: ANY, rounding: float) -> int:
        left = np.int32(0)
        for j in range(rest.size):
            multiple = (rest[j] + rounding) - rounding
            remainder = rest[j] - multiple
            multiples[j] = multiple
            rest[j] = remainder
            left = np.int32(left + np.int32(remainder != 0.0))
        return int(left)

    split_off, added_up, rounding_to = jit(split), in_any_order(add_up), rounding_number()

    def write(rest: ANY, multiples: ANY, exponent: int, partials: ANY, count: int) -> int:
        left = 1
        while left != 0:
            left = split_off(rest, multiples, rounding_to(exponent))
            partials[count] = added_up(multiples)
            count += 1
            exponent -= _BITS
        return count

    written: Callable[[ANY, ANY, int, ANY, int], int] = jit(write)
    return written
