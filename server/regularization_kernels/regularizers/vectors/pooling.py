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


def pool_rows(
    values: Float64Array, length: int, out: Float64Array, step_sizes: Float64Array | None = None
) -> None:
    """Write the nearest rows that do not decrease, or with step sizes those of the least squares over these.

    A pool's mean is then weighted by one over the step sizes t: ``sum(v_i / t_i) / sum(1 / t_i)``, or the
    plain mean of those whose t is 0, which all others follow. Where the step sizes of a row are equal, its
    bits are those of a row without.

    Args:
        values: Rows of ``length`` elements one after the other, at least one, without NaN, of one axis.
        length: Elements of a row, at least 1.
        out: May be the values.
        step_sizes: Of the values, >= 0, maybe infinite; None where they are equal.
    """
    if max(float(np.max(values)), -float(np.min(values))) > _HUGE:
        np.multiply(values, _SHRINKING, out=out)
        _pool_within_range(out, length, out, step_sizes)
        out /= _SHRINKING
    else:
        _pool_within_range(values, length, out, step_sizes)


def _pool_within_range(
    values: Float64Array, length: int, out: Float64Array, step_sizes: Float64Array | None
) -> None:
    size, places = values.size, np.array([0, 0, 0, -1, -1])
    # Half as much memory, where they can say where a pool starts.
    starts, sums = np.empty(size, np.int32 if size <= _INT32 else np.int64), np.empty(size)
    if step_sizes is None:
        _pool_plainly(values, length, starts, sums, out, places, np.zeros(2))
    else:
        pools = (starts, sums, np.empty(size), np.empty(size))
        _pool_by_weights(values, step_sizes, length, *pools, out, places, np.zeros(4))


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


def _pool_weighted(
    values: npt.NDArray[Any],
    step_sizes: npt.NDArray[Any],
    length: int,
    starts: npt.NDArray[Any],
    sums: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    least: npt.NDArray[Any],
    out: npt.NDArray[Any],
    places: npt.NDArray[Any],
    partial: npt.NDArray[Any],
    stretch: int,
) -> bool:
    """Write each pool's weighted mean to its places, as ``_pool`` does its plain mean.

    An element's weight is a share of 1: the least step size of its pool, over its own. So none is too large,
    none that counts too small, whatever the step sizes are, and equal ones weigh 1. ``weights`` and ``least``
    of a row's pools are scratch, too; ``partial`` has the two sums, and what rounding left off each.
    """
    begin, end, pools, pool, place = places[0], places[1], places[2], places[3], places[4]
    total, lost, weight, missed = partial[0], partial[1], partial[2], partial[3]
    ahead = stretch
    while begin < values.size and ahead > 0:
        last = begin + length
        if pool < 0:
            stop = min(last, end + ahead)
            ahead -= stop - end
            while end < stop:
                start, pooled, pooled_weight, smallest = end, values[end], 1.0, step_sizes[end]
                end += 1
                while pools > 0 and sums[pools - 1] * pooled_weight > pooled * weights[pools - 1]:
                    pools -= 1
                    start = starts[pools]
                    # Both as shares of the smaller of their least step sizes.
                    if least[pools] < smallest:
                        share = least[pools] / smallest
                        pooled = pooled * share + sums[pools]
                        pooled_weight = pooled_weight * share + weights[pools]
                        smallest = least[pools]
                    else:
                        share = 1.0 if smallest == least[pools] else smallest / least[pools]
                        pooled += sums[pools] * share
                        pooled_weight += weights[pools] * share
                starts[pools] = start
                sums[pools] = pooled
                weights[pools] = pooled_weight
                least[pools] = smallest
                pools += 1
            if end < last:
                break
            pool, place = pools - 1, -1
        while pool >= 0 and ahead > 0:
            start = starts[pool]
            mean = values[start]
            if end - start > 1:
                if place < 0:
                    place, total, lost, weight, missed = start, 0.0, 0.0, 0.0, 0.0
                stop = min(end, place + ahead)
                ahead -= stop - place
                smallest = least[pool]
                while place < stop:
                    share = 1.0 if step_sizes[place] == smallest else smallest / step_sizes[place]
                    value = values[place] * share
                    added = total + value
                    back = added - total
                    lost += (total - (added - back)) + (value - back)
                    total = added
                    added = weight + share
                    back = added - weight
                    missed += (weight - (added - back)) + (share - back)
                    weight = added
                    place += 1
                if place < end:
                    break
                mean = (total + lost) / (weight + missed) + 0.0  # no negative zeros
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
    partial[0], partial[1], partial[2], partial[3] = total, lost, weight, missed
    return bool(begin >= values.size)


_pool_plainly = Sequential(_pool)
_pool_by_weights = Sequential(_pool_weighted)
