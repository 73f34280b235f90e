"""Nondecreasing fits: neighbours in the wrong order are pooled until none are (Ayer et al. 1955)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiled import Sequential
from ..regularizer import Float64Array

_HUGE = 1e290
_SHRINKING = 2.0**-64
"""What makes sums of huge numbers finite."""


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
    _pool(values, length, np.empty(values.size, np.int64), np.empty(values.size), out)


@Sequential
def _pool(
    values: npt.NDArray[Any],
    length: int,
    starts: npt.NDArray[Any],
    sums: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> None:
    """Write each pool's mean to its places; ``starts`` and ``sums`` of a row's pools are scratch."""
    for begin in range(0, values.size, length):
        pools = 0
        for end in range(begin + 1, begin + length + 1):
            start, total = end - 1, values[end - 1]
            # The mean of the pool before is above this one's: multiplied out, as divisions take their time.
            while pools > 0 and sums[pools - 1] * (end - start) > total * (start - starts[pools - 1]):
                pools -= 1
                start = starts[pools]
                total += sums[pools]
            starts[pools] = start
            sums[pools] = total
            pools += 1
        end = begin + length
        for pool in range(pools - 1, -1, -1):
            start = starts[pool]
            mean = values[start]
            if end - start > 1:
                # The loop's sums decide what is pooled; that of the mean keeps what each addition rounds off.
                total, lost = 0.0, 0.0
                for place in range(start, end):
                    added = total + values[place]
                    back = added - total
                    lost += (total - (added - back)) + (values[place] - back)
                    total = added
                if lost == lost:  # not so beside an infinity
                    total += lost
                mean = total / (end - start) + 0.0  # no negative zeros
            if end < begin + length and mean > out[end]:
                mean = out[end]  # neighbours may be the same but for their rounding
            for place in range(start, end):
                out[place] = mean
            end = start
