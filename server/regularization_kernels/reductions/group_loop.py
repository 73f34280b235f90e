"""The digits of squares by groups in one compiled pass, and where the groups of a stretch are.

Both ways to add squares, this one and NumPy's in ``group_squares``, give the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..compilation import ANY, kept
from ..machine_code import MachineCode, compiled

DIGITS = 4
"""Digits that squares are taken apart in."""
DIGIT_BITS = 32
"""Bits of each."""

LIMIT = 2.0 ** (DIGIT_BITS - 1)
"""Squares of a group's level, scaled, are below it."""

ROUNDING = tuple(1.5 * 2.0 ** (52 - DIGIT_BITS * digit) for digit in range(DIGITS))
"""Added to a number, each rounds it to a multiple of its digit's unit, which the low bits then tell."""

LOWEST = -69
"""The level of a group that has nothing but zeros: one below that of the smallest square there is."""
HIGHEST = 64
"""That of the largest."""
INFINITE, NAN = HIGHEST + DIGITS, HIGHEST + 2 * DIGITS
"""Levels of groups that have an infinity, or a NaN: so high that no digit is left."""

_ROW = 1 << 10
"""Elements that are taken together, so that their squares stay in the first cache."""
_SHORT = 1 << 6
"""Of fewer, to take them together costs more than it saves."""
_BIAS, _EXPONENT, _MANTISSA = 1023, 52, (1 << 52) - 1
_ENLARGING = 64
"""By two to the power of this, subnormal numbers become normal ones."""

Scalar = TypeVar("Scalar", bound=np.generic)


def of_each_group(values: npt.NDArray[Scalar], inner: int, position: int, size: int) -> npt.NDArray[Scalar]:
    """Each element's value, which is its group's.

    Args:
        values: One for each group, of which there is one at least.
        inner: How many consecutive elements one has before the next group's follow.
        position: Of the first element.
        size: How many elements.
    """
    first, last = position // inner, (position + max(size, 1) - 1) // inner
    runs = np.resize(np.roll(values, -(first % values.size)), last - first + 1)
    if inner == 1:
        return runs[:size]
    # Only the first run and the last may have fewer elements.
    lengths = np.full(runs.size, inner)
    lengths[-1] = position + size - last * inner
    lengths[0] -= position - first * inner
    return np.repeat(runs, lengths)


def blocks(
    x: npt.NDArray[Scalar], count: int, inner: int, position: int
) -> Iterator[tuple[npt.NDArray[Scalar], slice]]:
    """The elements of a stretch in blocks of whole runs, and runs of which a part is missing: five at most.

    Args:
        x: The elements.
        count: How many groups there are.
        inner: How many consecutive elements one has before the next group's follow.
        position: Of the first element.

    Yields:
        Elements, ``(times, groups, n)``, and which groups these are.
    """
    begin = 0
    while begin < x.size:
        group, within = (position + begin) // inner % count, (position + begin) % inner
        left = x.size - begin
        if within or left < inner:
            times, groups, size = 1, 1, min(inner - within, left)
        elif group or left < count * inner:
            times, groups, size = 1, min(count - group, left // inner), inner
        else:
            times, groups, size = left // (count * inner), count, inner
        end = begin + times * groups * size
        yield x[begin:end].reshape(times, groups, size), slice(group, group + groups)
        begin = end


@kept
def compiled_loop(_: str) -> MachineCode:
    """The loop that adds squares to digits, and raises levels where it must.

    It takes numbers, how many consecutive ones a group has, the position of the first, the groups' levels,
    the scales of these, the groups' digits, and the scales of all levels from the lowest on. It gives 0.
    """
    import numba

    jit: Any = numba.njit(error_model="numpy")
    lift = jit(_lift)

    def row_of_groups(
        row: ANY, left: ANY, group: int, levels: ANY, scales: ANY, digits: ANY, of_levels: ANY
    ) -> None:
        size, high = row.size, 0
        first, second = scales[0, group : group + size], scales[1, group : group + size]
        for j in range(size):
            scaled = row[j] * first[j] * second[j]
            left[j] = scaled * scaled
            high += not (left[j] < LIMIT)
        if high > 0:
            for j in range(size):
                if not (left[j] < LIMIT):
                    lift(row[j], group + j, levels, scales, digits, of_levels)
            for j in range(size):
                scaled = row[j] * first[j] * second[j]
                left[j] = scaled * scaled
                if not (left[j] < LIMIT):
                    left[j] = 0.0
        for digit in range(DIGITS):
            rounding, sums = ROUNDING[digit], digits[digit, group : group + size]
            bits = np.float64(rounding).view(np.int64)
            for j in range(size):
                multiple = left[j] + rounding
                sums[j] += np.float64(multiple).view(np.int64) - bits
                left[j] -= multiple - rounding

    def run_of_one(
        row: ANY, left: ANY, group: int, levels: ANY, scales: ANY, digits: ANY, of_levels: ANY
    ) -> None:
        size, high = row.size, 0
        first, second = scales[0, group], scales[1, group]
        for j in range(size):
            scaled = row[j] * first * second
            left[j] = scaled * scaled
            high += not (left[j] < LIMIT)
        if high > 0:
            for j in range(size):
                if not (left[j] < LIMIT):
                    lift(row[j], group, levels, scales, digits, of_levels)
            first, second = scales[0, group], scales[1, group]
            for j in range(size):
                scaled = row[j] * first * second
                left[j] = scaled * scaled
                if not (left[j] < LIMIT):
                    left[j] = 0.0
        for digit in range(DIGITS):
            rounding, total = ROUNDING[digit], np.int64(0)
            bits = np.float64(rounding).view(np.int64)
            for j in range(size):
                multiple = left[j] + rounding
                total += np.float64(multiple).view(np.int64) - bits
                left[j] -= multiple - rounding
            digits[digit, group] += total

    def one_by_one(
        x: ANY, inner: int, position: int, levels: ANY, scales: ANY, digits: ANY, of_levels: ANY
    ) -> None:
        count = levels.size
        group, within = (position // inner) % count, position % inner
        for j in range(x.size):
            scaled = x[j] * scales[0, group] * scales[1, group]
            left = scaled * scaled
            if not (left < LIMIT):
                lift(x[j], group, levels, scales, digits, of_levels)
                scaled = x[j] * scales[0, group] * scales[1, group]
                left = scaled * scaled
                if not (left < LIMIT):
                    left = 0.0
            for digit in range(DIGITS):
                rounding = ROUNDING[digit]
                multiple = left + rounding
                bits = np.float64(rounding).view(np.int64)
                digits[digit, group] += np.float64(multiple).view(np.int64) - bits
                left -= multiple - rounding
            within += 1
            if within == inner:
                within = 0
                group = group + 1 if group + 1 < count else 0

    row_of_groups, run_of_one, one_by_one = jit(row_of_groups), jit(run_of_one), jit(one_by_one)

    def loop(x: ANY, inner: int, position: int, levels: ANY, scales: ANY, digits: ANY, of_levels: ANY) -> int:
        count, done = levels.size, 0
        if (count if inner == 1 else inner) < _SHORT:
            one_by_one(x, inner, position, levels, scales, digits, of_levels)
            return 0
        group, within = (position // inner) % count, position % inner
        rest = np.empty(_ROW)
        while done < x.size:
            size = min(_ROW, x.size - done, count - group if inner == 1 else inner - within)
            row, left = x[done : done + size], rest[:size]
            if inner == 1:
                row_of_groups(row, left, group, levels, scales, digits, of_levels)
                group += size
            else:
                run_of_one(row, left, group, levels, scales, digits, of_levels)
                within += size
                if within == inner:
                    within = 0
                    group += 1
            if group == count:
                group = 0
            done += size
        return 0

    floats, integers = (numba.types.Array(of, 1, "C") for of in (numba.float64, numba.int64))
    tables, sums = (numba.types.Array(of, 2, "C") for of in (numba.float64, numba.int64))
    return compiled(loop, numba.int64(floats, numba.int64, numba.int64, integers, tables, sums, tables))


def _lift(number: float, group: int, levels: ANY, scales: ANY, digits: ANY, of_levels: ANY) -> None:
    """Raise a group's level to that of a number which is not 0, and drop the digits below; for Numba."""
    magnitude = abs(number)
    if magnitude != magnitude:
        level = NAN
    elif magnitude == np.inf:
        level = INFINITE
    else:
        enlarged = magnitude * 2.0**_ENLARGING if magnitude < 2.0**-1000 else magnitude
        bits = np.float64(enlarged).view(np.int64)
        exponent = (bits >> _EXPONENT) - _BIAS - (_ENLARGING if magnitude < 2.0**-1000 else 0)
        mantissa = np.int64((bits & _MANTISSA) | (_BIAS << _EXPONENT)).view(np.float64)
        level = int((2 * exponent + (2 if mantissa * mantissa >= 2.0 else 1)) // DIGIT_BITS)
    by = level - levels[group]
    if by > 0:
        for digit in range(DIGITS - 1, -1, -1):
            digits[digit, group] = digits[digit - by, group] if digit >= by else 0
        levels[group] = level
        scales[0, group] = of_levels[0, level - LOWEST]
        scales[1, group] = of_levels[1, level - LOWEST]
