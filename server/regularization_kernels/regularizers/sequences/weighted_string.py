"""The taut string through a tube whose width changes from place to place: total variation with weights.

Both methods of ``taut_string`` find it, with the width at each place where that has the one threshold; where
all widths of a line are equal, every operation and so every bit is the same. What differs:

A tube of width 0 lets nothing through: there a line ends, as a row does at its last element, and another one
begins, of which nothing is known of what was before.

A piece may enter both chains at once where the tube widens, so each has room for all.

Next to a narrow place a wide one is never reached: from one element to the next the string comes nearer to
the wall, or gets away from it, by no more than the line's largest element exceeds its smallest. Widths are
narrowed to twice that. So no wide wall, of a weight that is to tie neighbours for instance, takes digits of
the sums at a narrow one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...compilation import Sequential
from ...interruption import go_on
from .taut_string import LARGEST, SHRINK, SPARE, total_variation_step

_COLUMNS = 8


def variation_step(
    x: Float64Array, step_size: float, strength: float, out: Float64Array, weights: Float64Array | None
) -> None:
    """Write the step of ``strength·Σ weights_i·|x_{i+1} − x_i|`` for each row; without weights they are 1.

    Args:
        x: Rows, ``(rows, length)``, C-contiguous.
        step_size: At least 0.
        strength: At least 0.
        out: Of the shape of x; may be x.
        weights: Of the shape of x, C-contiguous; those of last elements are ignored.
    """
    if weights is None:
        total_variation_step(x, step_size * strength, out)
        return
    widths = weights * step_size
    widths *= strength
    weighted_variation_step(x, widths, out)


def weighted_variation_step(x: Float64Array, widths: Float64Array, out: Float64Array) -> None:
    """Write argmin_y Σ widths_i·|y_{i+1} − y_i| + ½‖y − x‖² for each row.

    All NaN where x is not finite, or a width is below 0 or NaN.

    Args:
        x: Rows along the last axis, ``(rows, length)``, C-contiguous.
        widths: At least 0, of the shape of x, C-contiguous; overwritten. Those of last elements are ignored.
        out: Of the shape of x; may be x.
    """
    if not x.size:
        return
    widths[:, -1] = 0.0
    peak = max(float(x.max()), -float(x.min()))
    if not (math.isfinite(peak) and float(widths.min()) >= 0):
        out.fill(np.nan)
        return
    if not widths.any():
        np.copyto(out, x)
        return
    go_on()
    if peak > LARGEST:
        np.multiply(x, SHRINK, out=out)
        widths *= SHRINK
        _pull(out, widths, out)
        out /= SHRINK
    else:
        _pull(x, widths, out)
    go_on()
    out += 0.0  # no negative zeros


def weighted_step_workspace(elements: int) -> int:
    """Float64 numbers that a step needs for rows of so many elements in all, beside them and the result.

    The chains of one row and its knot, or the knots of rows of one element.
    """
    return _COLUMNS * (elements + 2) + 2


def _pull(x: Float64Array, widths: Float64Array, out: Float64Array, spare: int = SPARE) -> Float64Array:
    """Write the string's slopes. Gives for each row how far the first method did it, and the wall there."""
    np.minimum(widths, LARGEST, out=widths)
    _narrow_tubes(x.reshape(-1), widths.reshape(-1), np.zeros(4, np.int64), np.zeros(5))
    knots = np.empty((x.shape[0], 2))
    _follow_slopes(x, widths, out, knots, spare, np.array([0, 0, -1, 0, 0, 0, 0, 0]), np.zeros(8))
    if (knots[:, 0] < x.shape[1]).any():
        chains = np.empty((x.shape[1] + 2, _COLUMNS))
        _keep_chains(x, widths, out, knots, chains, np.zeros(6, np.int64), np.zeros(3))
    return knots


def _narrow(
    x: Float64Array,
    widths: Float64Array,
    places: npt.NDArray[np.int64],
    numbers: Float64Array,
    stretch: int,
) -> bool:
    """Narrow the tubes of lines whose widths are not all equal to what the string may reach, and more.

    Where it stops is kept in ``places`` and ``numbers``, 0 at the start.
    """
    begin, end, at, way = int(places[0]), int(places[1]), int(places[2]), int(places[3])
    lowest, highest, narrowest, widest, reach = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    ahead = stretch
    while begin < x.size and ahead > 0:
        if way == 0:  # look for the line's end
            if end == begin:
                lowest, highest, narrowest, widest = x[begin], x[begin], widths[begin], widths[begin]
            while way == 0 and ahead > 0:
                element, width = x[end], widths[end]
                lowest, highest = min(lowest, element), max(highest, element)
                if width > 0.0:
                    narrowest, widest = min(narrowest, width), max(widest, width)
                else:
                    way, at, reach = 1, begin, 0.0
                end += 1
                ahead -= 1
            if way == 0:
                break
            if narrowest == widest:
                begin, way = end, 0
                continue
        step = 2.0 * (highest - lowest)
        if way == 1:  # from its start on
            stop = min(end - 1, at + ahead)
            ahead -= stop - at
            while at < stop:
                reach = min(reach + step, widths[at])
                widths[at] = reach
                at += 1
            if at == end - 1:
                way, at, reach = 2, end - 2, 0.0
        if way == 2:  # from its end back
            stop = max(begin - 1, at - ahead)
            ahead -= at - stop
            while at > stop:
                reach = min(reach + step, widths[at])
                widths[at] = reach
                at -= 1
            if at < begin:
                begin, way = end, 0
    places[0], places[1], places[2], places[3] = begin, end, at, way
    numbers[0], numbers[1], numbers[2], numbers[3], numbers[4] = lowest, highest, narrowest, widest, reach
    return bool(begin == x.size)


def _follow(
    x: Float64Array,
    widths: Float64Array,
    out: Float64Array,
    knots: Float64Array,
    spare: int,
    places: npt.NDArray[np.int64],
    numbers: Float64Array,
    stretch: int,
) -> bool:
    """Write each row up to a knot; its place and its height over the running sum go to ``knots``.

    Where it stops is kept in ``places`` and ``numbers``, 0 at the start but for the third place, which is -1.
    """
    count = x.shape[1]
    row, begin, at = int(places[0]), int(places[1]), int(places[2])
    end, j, spent = int(places[3]), int(places[4]), int(places[5])
    least_end, largest_end = int(places[6]), int(places[7])
    wall, next_wall, least, largest = numbers[0], numbers[1], numbers[2], numbers[3]
    under, over, high, low = numbers[4], numbers[5], numbers[6], numbers[7]
    ahead = stretch
    while row < x.shape[0] and ahead > 0:
        while begin < count and spent <= spare and ahead > 0:
            if end == begin:  # the string's next bend is not known yet
                if at < begin:
                    element, width = x[row, begin], widths[row, begin]
                    # The least and the largest slope from the knot on, and how far over the running sum each
                    # has come.
                    least, largest = element + (-width - wall), element + (width - wall)
                    under, over = width, -width
                    least_end = largest_end = at = begin
                bend, entered, stop = 0, at, at + ahead
                while at < stop and widths[row, at] > 0.0:
                    element, width = x[row, at + 1], widths[row, at + 1]
                    if width == 0.0:  # a line's end is judged below, as a row's is with one threshold
                        width = widths[row, at]
                    under += element - least
                    if under < -width:
                        bend = -1
                        break
                    over += element - largest
                    if over > width:
                        bend = 1
                        break
                    at += 1
                    if under >= width:
                        least_end = at
                        least += (under - width) / (at - begin + 1)
                        under = width
                    if over <= -width:
                        largest_end = at
                        largest += (over + width) / (at - begin + 1)
                        over = -width
                ahead -= at - entered + 1
                if bend == 0:
                    if widths[row, at] > 0.0:
                        break
                    bend = -1 if under < 0.0 else (1 if over > 0.0 else 0)
                end, next_wall = at + 1, 0.0
                if bend < 0:
                    end, next_wall = least_end + 1, -widths[row, least_end]
                elif bend > 0:
                    end, next_wall = largest_end + 1, widths[row, largest_end]
                j, high, low = begin, 0.0, 0.0
            stop = min(end, j + stretch)
            ahead -= stop - j
            while j < stop:
                element = x[row, j]
                before = high
                high = before + element
                added = high - before
                low += (before - (high - added)) + (element - added)
                j += 1
            if j < end:
                break
            value = ((high + (next_wall - wall)) + low) / (end - begin)
            for k in range(begin, end):
                out[row, k] = value
            spent += (at + 1 - end) - 4 * (end - begin)
            begin, at, wall = end, end - 1, next_wall
        if begin == count or spent > spare:
            knots[row, 0], knots[row, 1] = begin, wall
            row += 1
            begin = end = spent = 0
            at, wall = -1, 0.0
    places[0], places[1], places[2], places[3] = row, begin, at, end
    places[4], places[5], places[6], places[7] = j, spent, least_end, largest_end
    numbers[0], numbers[1], numbers[2], numbers[3] = wall, next_wall, least, largest
    numbers[4], numbers[5], numbers[6], numbers[7] = under, over, high, low
    return bool(row == x.shape[0])


def _chain(
    x: Float64Array,
    widths: Float64Array,
    out: Float64Array,
    knots: Float64Array,
    chains: Float64Array,
    places: npt.NDArray[np.int64],
    numbers: Float64Array,
    stretch: int,
) -> bool:
    """Write the rest of each row, line by line; ``knots`` says where each line begins.

    Where it stops is kept in ``places`` and ``numbers``, 0 at the start.
    """
    # A piece of a chain is (start, running sum at the start, what that sum's rounding left off, slope). The
    # upper chain's are the first four columns of ``chains``, the lower one's the others.
    count = x.shape[1]
    row, first = int(places[0]), int(places[1])
    upper, upper_end, lower, lower_end = int(places[2]), int(places[3]), int(places[4]), int(places[5])
    wall, high, low = numbers[0], numbers[1], numbers[2]
    ahead = stretch
    while row < x.shape[0] and ahead > 0:
        knot = int(knots[row, 0])
        if knot == count:
            row += 1
            ahead -= 1
            continue
        if first == 0:
            wall, width = knots[row, 1], widths[row, knot]
            high, low = x[row, knot], 0.0  # the running sum from here on
            upper = upper_end = lower = lower_end = 0
            chains[0, 0] = chains[0, 4] = knot
            chains[0, 1] = chains[0, 2] = chains[0, 5] = chains[0, 6] = 0.0
            chains[0, 3], chains[0, 7] = high + (width - wall), high + (-width - wall)
            first = knot + 1
            ahead -= 1
        i, last = first, min(count, first + ahead)
        while i < last and widths[row, i - 1] > 0.0:
            element, before, width = x[row, i], widths[row, i - 1], widths[row, i]
            start, end = float(i), i + 1.0
            start_high, start_low = high, low
            high = start_high + element
            added = high - start_high
            low += (start_high - (high - added)) + (element - added)
            i += 1

            slope = element + (width - before)
            rises = slope > chains[upper_end, 3]
            if rises:
                upper_end += 1
                chains[upper_end, 0], chains[upper_end, 1], chains[upper_end, 2] = (
                    start,
                    start_high,
                    start_low,
                )
            else:
                # Slopes rise along the upper chain: pieces at least as steep as what follows join it.
                while True:
                    begin = int(chains[upper_end, 0])
                    rise = width - (wall if upper_end == upper else widths[row, begin - 1])
                    rise += (high - chains[upper_end, 1]) + (low - chains[upper_end, 2])
                    slope = rise / (end - begin)
                    if upper_end == upper or chains[upper_end - 1, 3] < slope:
                        break
                    upper_end -= 1
            chains[upper_end, 3] = slope

            slope = element - (width - before)
            if (not rises or width > before) and slope < chains[lower_end, 7]:
                lower_end += 1
                chains[lower_end, 4], chains[lower_end, 5], chains[lower_end, 6] = (
                    start,
                    start_high,
                    start_low,
                )
            else:
                while True:
                    begin = int(chains[lower_end, 4])
                    rise = -width - (wall if lower_end == lower else -widths[row, begin - 1])
                    rise += (high - chains[lower_end, 5]) + (low - chains[lower_end, 6])
                    slope = rise / (end - begin)
                    if lower_end == lower or chains[lower_end - 1, 7] > slope:
                        break
                    lower_end -= 1
            chains[lower_end, 7] = slope

            if upper == upper_end and lower != lower_end and chains[upper, 3] <= chains[lower, 7]:
                begin = int(chains[upper, 0])
                while True:
                    value = chains[lower, 7]
                    lower += 1
                    stop = int(chains[lower, 4])
                    wall = -widths[row, stop - 1]
                    for j in range(begin, stop):
                        out[row, j] = value
                    begin = stop
                    rise = width - wall
                    rise += (high - chains[lower, 5]) + (low - chains[lower, 6])
                    slope = rise / (end - begin)
                    if lower == lower_end or slope > chains[lower, 7]:
                        break
                upper = upper_end = 0
                chains[0, 0], chains[0, 3] = begin, slope
                chains[0, 1], chains[0, 2] = chains[lower, 5], chains[lower, 6]
            elif lower == lower_end and upper != upper_end and chains[lower, 7] >= chains[upper, 3]:
                begin = int(chains[lower, 4])
                while True:
                    value = chains[upper, 3]
                    upper += 1
                    stop = int(chains[upper, 0])
                    wall = widths[row, stop - 1]
                    for j in range(begin, stop):
                        out[row, j] = value
                    begin = stop
                    rise = -width - wall
                    rise += (high - chains[upper, 1]) + (low - chains[upper, 2])
                    slope = rise / (end - begin)
                    if upper == upper_end or slope < chains[upper, 3]:
                        break
                lower = lower_end = 0
                chains[0, 4], chains[0, 7] = begin, slope
                chains[0, 5], chains[0, 6] = chains[upper, 1], chains[upper, 2]
        ahead -= i - first
        first = i
        if widths[row, i - 1] > 0.0:
            break
        begin = int(chains[upper, 0])
        value = ((high - chains[upper, 1]) + (low - chains[upper, 2]) - wall) / (i - begin)
        for j in range(begin, i):
            out[row, j] = value
        knots[row, 0], knots[row, 1] = i, 0.0
        first = 0
    places[0], places[1] = row, first
    places[2], places[3], places[4], places[5] = upper, upper_end, lower, lower_end
    numbers[0], numbers[1], numbers[2] = wall, high, low
    return bool(row == x.shape[0])


_narrow_tubes = Sequential(_narrow)
_follow_slopes = Sequential(_follow)
_keep_chains = Sequential(_chain)
