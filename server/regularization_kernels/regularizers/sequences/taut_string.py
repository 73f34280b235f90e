"""Proximal step of the total variation of rows, exact and in linear time: the taut string.

The running sums R of a row, less and plus the threshold t, are the walls of a tube. The proximal point is the
slope of the shortest string through it, from 0 at the row's start to R at its end (Davies and Kovac 2001).

Two methods find it. From the string's last knot on the first follows only the least and the largest slope
that stay in the tube; when they cross, the string bends where one of them last touched a wall, and the
elements behind that knot are looked at again (Condat 2013). On most data that is the fastest. Once a row has
been looked at too often, the second takes over at the knot. It keeps two whole chains, the convex one under
the upper wall and the concave one over the lower wall. Where one is a single piece that crosses the first
piece of the other, the string bends: the piece that it crosses is the string's, and that piece's end the next
knot. An element enters a chain once and leaves it once, so the time is linear whatever the data.

Sums are kept in two doubles each. So every run of the answer is as exact as if the row had no other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...compilation import Sequential
from ...interruption import go_on

_COLUMNS = 3
SPARE = 4096
"""Elements that may be looked at again beyond four times those that are done."""
LARGEST = 1e280
"""Elements up to here add up without overflow, and so do thresholds."""
SHRINK = 2.0**-200


def total_variation_step(x: Float64Array, threshold: float, out: Float64Array) -> None:
    """Write argmin_y threshold·Σ|y_{i+1} − y_i| + ½‖y − x‖² for each row; all NaN where x is not finite.

    Args:
        x: Rows along the last axis, C-contiguous.
        threshold: At least 0.
        out: Of the shape of x; may be x.
    """
    if not x.size:
        return
    peak = max(float(x.max()), -float(x.min()))
    if not np.isfinite(peak):
        out.fill(np.nan)
        return
    if threshold == 0 or not x.ndim or x.shape[-1] == 1:
        np.copyto(out, x)
        return
    go_on()
    rows, results = x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1])
    if peak <= LARGEST:
        _pull(rows, min(threshold, LARGEST), results)
    else:
        np.multiply(rows, SHRINK, out=results)
        _pull(results, threshold * SHRINK, results)
        results /= SHRINK
    go_on()
    out += 0.0  # no negative zeros


def step_workspace(elements: int) -> int:
    """Float64 numbers that a step needs for rows of so many elements in all, beside them and the result.

    The chains of one row, which come to most where there is one row, and a knot for each.
    """
    return _COLUMNS * (elements + 2) + 2


def _pull(x: Float64Array, threshold: float, out: Float64Array, spare: int = SPARE) -> Float64Array:
    """Write the string's slopes. Gives for each row how far the first method did it, and the wall there."""
    knots = np.empty((x.shape[0], 2))
    _follow_slopes(x, threshold, out, knots, spare, np.array([0, 0, -1, 0, 0, 0, 0, 0]), np.zeros(8))
    if (knots[:, 0] < x.shape[1]).any():
        chains = np.empty((x.shape[1] + 2, _COLUMNS))
        _keep_chains(x, threshold, out, knots, chains, np.zeros(6, np.int64), np.zeros(7))
    return knots


def _follow(
    x: Float64Array,
    threshold: float,
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
                    element = x[row, begin]
                    # The least and the largest slope from the knot on, and how far over the running sum each
                    # has come.
                    least, largest = element + (-threshold - wall), element + (threshold - wall)
                    under, over = threshold, -threshold
                    least_end = largest_end = at = begin
                bend, entered, stop = 0, at, min(count - 1, at + ahead)
                while at < stop:
                    element = x[row, at + 1]
                    under += element - least
                    if under < -threshold:
                        bend = -1
                        break
                    over += element - largest
                    if over > threshold:
                        bend = 1
                        break
                    at += 1
                    if under >= threshold:
                        least_end = at
                        least += (under - threshold) / (at - begin + 1)
                        under = threshold
                    if over <= -threshold:
                        largest_end = at
                        largest += (over + threshold) / (at - begin + 1)
                        over = -threshold
                ahead -= at - entered + 1
                if bend == 0:
                    if at < count - 1:
                        break
                    bend = -1 if under < 0.0 else (1 if over > 0.0 else 0)
                end, next_wall = count, 0.0
                if bend < 0:
                    end, next_wall = least_end + 1, -threshold
                elif bend > 0:
                    end, next_wall = largest_end + 1, threshold
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
    threshold: float,
    out: Float64Array,
    knots: Float64Array,
    chains: Float64Array,
    places: npt.NDArray[np.int64],
    numbers: Float64Array,
    stretch: int,
) -> bool:
    """Write the rest of each row. Where it stops is kept in ``places`` and ``numbers``, 0 at the start."""
    # A piece of a chain is (start, running sum at the start, what that sum's rounding left off). The upper
    # chain grows from the front of ``chains``, the lower one from the back. An element adds one piece to one
    # of them, or none, so they never meet. Slopes of first and last pieces are at hand; those in between wait
    # in ``out``, each at its piece's start, which is no other's and where nothing is written yet.
    count = x.shape[1]
    back = count + 1
    row, first = int(places[0]), int(places[1])
    upper, upper_end, lower, lower_end = int(places[2]), int(places[3]), int(places[4]), int(places[5])
    wall, high, low = numbers[0], numbers[1], numbers[2]
    upper_first, upper_last, lower_first, lower_last = numbers[3], numbers[4], numbers[5], numbers[6]
    ahead = stretch
    while row < x.shape[0] and ahead > 0:
        knot = int(knots[row, 0])
        if first == 0 and knot < count:
            wall = knots[row, 1]
            high, low = x[row, knot], 0.0  # the running sum from here on
            upper = upper_end = 0
            lower = lower_end = back
            chains[upper, 0] = chains[lower, 0] = knot
            chains[upper, 1] = chains[upper, 2] = chains[lower, 1] = chains[lower, 2] = 0.0
            upper_last, lower_last = high + (threshold - wall), high + (-threshold - wall)
            first = knot + 1
        last = min(count, first + ahead) if knot < count else first
        ahead -= last - first + 1
        for i in range(first, last):
            element = x[row, i]
            start, end = float(i), i + 1.0
            start_high, start_low = high, low
            high = start_high + element
            added = high - start_high
            low += (start_high - (high - added)) + (element - added)
            # The string ends on the running sum itself, in the middle of the tube.
            half_width = threshold if i < count - 1 else 0.0

            slope = element + (half_width - threshold)
            rises = slope > upper_last
            if rises:
                if upper_end == upper:
                    upper_first = upper_last
                else:
                    out[row, int(chains[upper_end, 0])] = upper_last
                upper_end += 1
                chains[upper_end, 0] = start
                chains[upper_end, 1], chains[upper_end, 2] = start_high, start_low
            else:
                # Slopes rise along the upper chain: pieces at least as steep as what follows join it.
                while True:
                    rise = half_width - (wall if upper_end == upper else threshold)
                    rise += (high - chains[upper_end, 1]) + (low - chains[upper_end, 2])
                    slope = rise / (end - chains[upper_end, 0])
                    if upper_end == upper:
                        break
                    before = (
                        upper_first if upper_end - 1 == upper else out[row, int(chains[upper_end - 1, 0])]
                    )
                    if before < slope:
                        break
                    upper_end -= 1
            upper_last = slope

            slope = element - (half_width - threshold)
            if not rises and slope < lower_last:
                if lower_end == lower:
                    lower_first = lower_last
                else:
                    out[row, int(chains[lower_end, 0])] = lower_last
                lower_end -= 1
                chains[lower_end, 0] = start
                chains[lower_end, 1], chains[lower_end, 2] = start_high, start_low
            else:
                while True:
                    rise = -half_width - (wall if lower_end == lower else -threshold)
                    rise += (high - chains[lower_end, 1]) + (low - chains[lower_end, 2])
                    slope = rise / (end - chains[lower_end, 0])
                    if lower_end == lower:
                        break
                    before = (
                        lower_first if lower_end + 1 == lower else out[row, int(chains[lower_end + 1, 0])]
                    )
                    if before > slope:
                        break
                    lower_end += 1
            lower_last = slope

            if upper == upper_end and lower != lower_end and upper_last <= lower_first:
                begin = int(chains[upper, 0])
                wall = -threshold
                while True:
                    value = lower_first
                    lower -= 1
                    stop = int(chains[lower, 0])
                    lower_first = lower_last if lower == lower_end else out[row, stop]
                    for j in range(begin, stop):
                        out[row, j] = value
                    begin = stop
                    rise = half_width - wall
                    rise += (high - chains[lower, 1]) + (low - chains[lower, 2])
                    slope = rise / (end - chains[lower, 0])
                    if lower == lower_end or slope > lower_first:
                        break
                upper = upper_end = 0
                chains[upper, 0], upper_last = chains[lower, 0], slope
                chains[upper, 1], chains[upper, 2] = chains[lower, 1], chains[lower, 2]
            elif lower == lower_end and upper != upper_end and lower_last >= upper_first:
                begin = int(chains[lower, 0])
                wall = threshold
                while True:
                    value = upper_first
                    upper += 1
                    stop = int(chains[upper, 0])
                    upper_first = upper_last if upper == upper_end else out[row, stop]
                    for j in range(begin, stop):
                        out[row, j] = value
                    begin = stop
                    rise = -half_width - wall
                    rise += (high - chains[upper, 1]) + (low - chains[upper, 2])
                    slope = rise / (end - chains[upper, 0])
                    if upper == upper_end or slope < upper_first:
                        break
                lower = lower_end = back
                chains[lower, 0], lower_last = chains[upper, 0], slope
                chains[lower, 1], chains[lower, 2] = chains[upper, 1], chains[upper, 2]
        first = last
        if knot < count:
            if first < count:
                break
            begin = int(chains[upper, 0])
            value = ((high - chains[upper, 1]) + (low - chains[upper, 2]) - wall) / (count - begin)
            for j in range(begin, count):
                out[row, j] = value
        row += 1
        first = 0
    places[0], places[1] = row, first
    places[2], places[3], places[4], places[5] = upper, upper_end, lower, lower_end
    numbers[0], numbers[1], numbers[2] = wall, high, low
    numbers[3], numbers[4], numbers[5], numbers[6] = upper_first, upper_last, lower_first, lower_last
    return bool(row == x.shape[0])


_follow_slopes = Sequential(_follow)
_keep_chains = Sequential(_chain)
