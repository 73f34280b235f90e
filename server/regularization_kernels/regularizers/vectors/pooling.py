"""Nondecreasing fits: neighbours in the wrong order are pooled until none are (Ayer et al. 1955)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...compilation import Sequential

_HUGE = 1e290
_SHRINKING = 2.0**-64
"""What makes sums of huge numbers finite."""
_INT32 = 2**31 - 1


def pool_rows(values: Float64Array, length: int, out: Float64Array) -> None:
    """Write the nearest rows that do not decrease.

    Args:
        values: Rows of ``length`` elements one after the other, at least one, without NaN, of one axis.
        length: Elements of a row, at least 1.
        out: May be the values.
    """
    if max(float(np.max(values)), -float(np.min(values))) > _HUGE:
        _pool_within_range(values * _SHRINKING, length, out)
        out /= _SHRINKING
    else:
        _pool_within_range(values, length, out)


def _pool_within_range(values: Float64Array, length: int, out: Float64Array) -> None:
    places = np.array([0, 0, 0, -1, -1])
    # Half as much memory, where they can say where a pool starts.
    starts = np.empty(values.size, np.int32 if values.size <= _INT32 else np.int64)
    _pool(values, length, starts, np.empty(values.size), out, places, np.zeros(2))


@Sequential
def _pool(
    values: npt.NDArray[Any],
    length: int,
    starts: npt.NDArray[Any],
    sums: npt.NDArray[Any],
    out: npt.NDArray[Any],
    places: npt.NDArray[Any],
    partial: npt.NDArray[Any],
    stretch: int,
) -> bool:
    """Write each pool's mean to its places; ``starts`` and ``sums`` of a row's pools are scratch.

    Where it stops is kept. ``places`` has the row's begin, the end of what is pooled or not yet written, how
    many pools there are, which is written (-1 while they are made) and how far it is summed up; ``partial``
    has its sum, and what rounding left off.
    """
    begin, end, pools, pool, place = places[0], places[1], places[2], places[3], places[4]
    total, lost = partial[0], partial[1]
    ahead = stretch
    while begin < values.size and ahead > 0:
        last = begin + length
        if pool < 0:
            stop = min(last, end + ahead)
            ahead -= stop - end
            while end < stop:
                start, pooled = end, values[end]
                end += 1
                # The mean of the pool before is above this one's: multiplied out, as divisions take time.
                while pools > 0 and sums[pools - 1] * (end - start) > pooled * (start - starts[pools - 1]):
                    pools -= 1
                    start = starts[pools]
                    pooled += sums[pools]
                starts[pools] = start
                sums[pools] = pooled
                pools += 1
            if end < last:
                break
            pool, place = pools - 1, -1
        while pool >= 0 and ahead > 0:
            start = starts[pool]
            mean = values[start]
            if end - start > 1:
                # The loop's sums decide what is pooled; that of the mean keeps what each addition rounds off.
                if place < 0:
                    place, total, lost = start, 0.0, 0.0
                stop = min(end, place + ahead)
                ahead -= stop - place
                while place < stop:
                    added = total + values[place]
                    back = added - total
                    lost += (total - (added - back)) + (values[place] - back)
                    total = added
                    place += 1
                if place < end:
                    break
                if lost == lost:  # not so beside an infinity
                    total += lost
                mean = total / (end - start) + 0.0  # no negative zeros
            if end < last and mean > out[end]:
                mean = out[end]  # neighbours may be the same but for their rounding
            for j in range(start, end):
                out[j] = mean
            ahead -= 1
            end, place, pool = start, -1, pool - 1
        if pool < 0:
            begin = end = last
            pools = 0
    places[0], places[1], places[2], places[3], places[4] = begin, end, pools, pool, place
    partial[0], partial[1] = total, lost
    return bool(begin >= values.size)
