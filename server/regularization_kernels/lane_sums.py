"""The exact sums of many blocks' lanes in one compiled pass, each row's numbers staying in the first cache.

NumPy's way, ``short_sums.sums_of_rows``, gives the same doubles: an exact sum has one canonical form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .compilation import ANY, kept, requested
from .machine_code import MachineCode, compiled
from .summation import LANES

if TYPE_CHECKING:
    from .arrays import Float64Array

LARGEST = 2.0**900
"""Magnitude up to which a number's high bits are split off by adding a power of two."""

_HEADROOM = LANES.bit_length() + 1
"""Bits by which that power is above all numbers, so that the sum of what is split off is exact."""

_FRACTION_BITS = 52
"""Of a double; its exponent stands above them."""

_NEXT = 2.0 ** (_HEADROOM - 53)
"""What is left over is at most 2^-53 of the power; this many times the power is the next one."""

_FLOAT64 = np.dtype(np.float64)


def sums_of_lanes(
    lanes: Float64Array, scale: float
) -> tuple[Float64Array, Float64Array, npt.NDArray[np.int64]] | None:
    """The exact sums of rows of lanes, each lane multiplied by a scale.

    Args:
        lanes: ``(n, 256)``, row after row in memory.
        scale: What each number is multiplied by first, rounded.

    Returns:
        Of each row the sum rounded to nearest and what remains, ``(n,)``, and the rows to which this does not
        apply: they have numbers that are too far apart, too large or not finite. None where no loop is there.
    """
    loop = requested("sums_of_lanes", _FLOAT64, lanes.size, _compiled)
    if loop is None:
        return None
    values, remainders = np.empty(len(lanes)), np.empty(len(lanes))
    left = np.zeros(len(lanes), np.int64)
    loop(lanes, scale, values, remainders, left)
    return values, remainders, np.flatnonzero(left)


@kept
def _compiled(_: str) -> MachineCode:
    """The loop. It takes lanes, the scale, values, remainders, and where it writes 1 for what it leaves."""
    import numba

    jit: Any = numba.njit(error_model="numpy")
    fold, split = jit(_largest), jit(_split)

    def loop(lanes: ANY, scale: float, values: ANY, remainders: ANY, left: ANY) -> int:
        rest, high = np.empty(LANES), np.empty(LANES)
        for row in range(values.size):
            values[row] = remainders[row] = 0.0
            numbers = lanes[row]
            odd = 0
            for j in range(LANES):
                product = numbers[j] * scale
                rest[j], high[j] = product, abs(product)
                odd += not (high[j] < LARGEST)
            if odd > 0:
                left[row] = 1
                continue
            top = fold(high)
            if top == 0.0:
                continue
            # The power of two above it, and so many bits more, written as a double's exponent.
            exponent = (np.float64(top).view(np.int64) >> _FRACTION_BITS) + 1 + _HEADROOM
            power = np.int64(exponent << _FRACTION_BITS).view(np.float64)
            one = split(rest, high, power)
            other = split(rest, high, power * _NEXT)
            remaining = 0
            for j in range(LANES):
                remaining += rest[j] != 0.0
            if remaining > 0:
                left[row] = 1
                continue
            value = one + other
            moved = value - one
            values[row], remainders[row] = value, (one - (value - moved)) + (other - moved)
        return 0

    number, count = numba.float64, numba.int64
    one_axis = numba.types.Array(number, 1, "C")
    lanes = numba.types.Array(number, 2, "C")
    return compiled(loop, (lanes, number, one_axis, one_axis, numba.types.Array(count, 1, "C")))


def _largest(numbers: ANY) -> Any:
    """The largest of the numbers, which are written over; for Numba."""
    half = LANES // 2
    while half > 0:
        # Element by element, so that several are compared at once.
        for j in range(half):
            numbers[j] = numbers[j + half] if numbers[j + half] > numbers[j] else numbers[j]
        half //= 2
    return numbers[0]


def _split(rest: ANY, high: ANY, power: float) -> Any:
    """Split the high bits off the numbers, and give their sum, which is exact in any order; for Numba."""
    for j in range(LANES):
        high[j] = (rest[j] + power) - power
        rest[j] -= high[j]
    half = LANES // 2
    while half > 0:
        for j in range(half):
            high[j] += high[j + half]
        half //= 2
    return high[0]
