"""Exact sums of the squares of many numbers, as a few doubles: in one compiled pass, or by NumPy.

Of each square, the nearest multiple of a unit is split off, such that a few thousand multiples add up without
rounding, in any order; then the same of what is left, until nothing is (Demmel and Nguyen 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import FLOAT64
from ..compilation import ANY, kept, requested
from ..machine_code import MachineCode, compiled
from ..summation import LANES, ExactSum, exact_expansion

if TYPE_CHECKING:
    from ..arrays import Float64Array

LARGE = 2.0**400
"""Up to here, and down to its inverse, squares are far from the ends of float64's range."""

_TILE = 1 << 12
"""Squares that are added at once: each has at most 2^40 units, and so many of these float64 adds exactly."""
_LEVELS = 80
"""More than a tile can be split: each time takes 20 bits at least of the 1,600 that there may be."""
_ROUNDING = 13
"""The number to round with is 1.5 times a power of two, so many above the largest square's."""
_EXPONENT = 52
_HALF = np.int64(1 << 51)


def sum_of_squares(x: Float64Array) -> tuple[float, ...] | None:
    """The doubles whose exact sum is that of the squares, each rounded to float64.

    Returns:
        None where a number that is not 0 is not between ``LARGE`` and its inverse.
    """
    loop = requested("sum_of_squares", FLOAT64, x.size, _compiled)
    if loop is not None:
        partials = np.empty((x.size // _TILE + 1) * _LEVELS)
        count = loop(x, partials)
        return None if count < 0 else ExactSum.of(partials[:count].tolist()).expansion
    magnitudes = np.abs(x)
    inside = (magnitudes < LARGE) & ((magnitudes > 1.0 / LARGE) | (magnitudes == 0.0))
    return exact_expansion(np.square(x)) if inside.all() else None


@kept
def _compiled(_: str) -> MachineCode:
    """The loop: from numbers, and room for partial sums, how many there are, or -1."""
    import numba

    def loop(x: ANY, partials: ANY) -> int:
        rest, units, tops = np.empty(_TILE), np.empty(LANES), np.empty(LANES)
        count = 0
        for begin in range(0, x.size, _TILE):
            size = min(_TILE, x.size - begin)
            outside = np.int32(0)
            for j in range(size):
                number = x[begin + j]
                magnitude = abs(number)
                inside = (magnitude < LARGE and magnitude > 1.0 / LARGE) or magnitude == 0.0
                outside = np.int32(outside + np.int32(not inside))
                rest[j] = number * number
            if outside != 0:
                return -1
            for j in range(size, _TILE):
                rest[j] = 0.0
            rows = (size + LANES - 1) // LANES
            tops[:] = 0.0
            for row in range(rows):
                part = rest[row * LANES : (row + 1) * LANES]
                for j in range(LANES):
                    tops[j] = part[j] if part[j] > tops[j] else tops[j]
            top = 0.0
            for j in range(LANES):
                top = max(top, tops[j])
            while top > 0.0:
                bits = np.float64(top).view(np.int64)
                exponent = (bits >> _EXPONENT) + _ROUNDING
                rounding = np.int64((exponent << _EXPONENT) | _HALF).view(np.float64)
                units[:] = 0.0
                tops[:] = 0.0
                for row in range(rows):
                    part = rest[row * LANES : (row + 1) * LANES]
                    for j in range(LANES):
                        multiple = (part[j] + rounding) - rounding
                        left = part[j] - multiple
                        part[j] = left
                        units[j] += multiple
                        magnitude = abs(left)
                        tops[j] = magnitude if magnitude > tops[j] else tops[j]
                total = 0.0
                for j in range(LANES):
                    total += units[j]
                partials[count] = total
                count += 1
                top = 0.0
                for j in range(LANES):
                    top = max(top, tops[j])
        return count

    floats = numba.types.Array(numba.float64, 1, "C")
    return compiled(loop, numba.int64(floats, floats))
