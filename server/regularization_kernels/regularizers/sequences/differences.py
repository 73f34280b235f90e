"""Differences of neighbours: magnitudes, and the slope of what they cost."""

from __future__ import annotations

import numpy as np

from ...arrays import Float64Array
from ...compilation import Sequential
from .taut_string import LARGEST, SHRINK
from .weighted_string import weighted_variation_step

_MOST = float(np.finfo(np.float64).max)


def as_rows(x: Float64Array) -> Float64Array:
    """The same elements as a matrix, whose rows are those along the last axis."""
    length = x.shape[-1] if x.ndim else 1
    return x.reshape(x.size // length if length else 0, length)


def weighted_magnitudes(x: Float64Array, axis: int, weights: Float64Array | None) -> Float64Array:
    """weights_i·|x_{i+1} − x_i| along an axis, each at the place of element i, 0 at the last."""
    terms = magnitudes(x, axis)
    if weights is not None and x.shape[axis]:
        inside = (*(slice(None),) * axis, slice(x.shape[axis] - 1))
        jumps, own = terms[inside], weights[inside]
        # A line is cut where a weight is 0, also if the difference is beyond the largest number.
        jumps[(own == 0) & (jumps == np.inf)] = 0.0
        jumps *= own
    return terms


def magnitudes(x: Float64Array, axis: int, order: int = 1) -> Float64Array:
    """|Δ^order x| along an axis, each at the place of the first of its ``order + 1`` elements, 0 elsewhere.

    A difference of a higher order is a difference of differences, each rounded.
    """
    terms = np.zeros(x.shape)
    if x.shape[axis] > order:
        before = (slice(None),) * axis
        np.abs(np.diff(x, order, axis=axis), out=terms[(*before, slice(x.shape[axis] - order))])
    return terms


def shortest_slope(x: Float64Array, l1_strength: float, tv_strength: float, out: Float64Array) -> None:
    """Write the shortest subgradient of ``l1_strength·Σ|x_i| + tv_strength·Σ|x_{i+1} − x_i|``, row by row.

    On a run of equal elements only the sum of what the differences contribute is settled, by the two jumps at
    its ends; spread evenly it is shortest. On a run of zeros the elements' own signs are free as well, and
    take off up to ``l1_strength``. All NaN where x is not finite.

    Args:
        x: Rows along the last axis, C-contiguous.
        l1_strength: At least 0.
        tv_strength: At least 0.
        out: Of the shape of x; may be x.
    """
    if not np.isfinite(x).all():
        out.fill(np.nan)
    elif x.size:
        _spread(as_rows(x), l1_strength, tv_strength, as_rows(out), np.zeros(4))


def shortest_weighted_slope(
    x: Float64Array, l1_strength: float, tv_strength: float, weights: Float64Array, out: Float64Array
) -> None:
    """Write the shortest subgradient of ``l1_strength·Σ|x_i| + tv_strength·Σ weights_i·|x_{i+1} − x_i|``.

    Each jump pulls at its two elements. Inside a run of equal elements a difference passes on at most what it
    costs, its strength times its weight; what is left is least as the proximal step from the pulls is, whose
    tube is closed at the jumps. On zeros the elements' own signs take off up to ``l1_strength`` more (for one
    strength the soft threshold of such a step is the step of both). All NaN where x is not finite, or a
    weight is below 0 or NaN.

    Args:
        x: Rows, ``(rows, length)``, C-contiguous.
        l1_strength: At least 0.
        tv_strength: At least 0.
        weights: Of the shape of x; those of last elements are ignored.
        out: Of the shape of x; may be x.
    """
    if not x.size:
        return
    widths = weights * tv_strength
    widths[:, -1] = 0.0
    if not (np.isfinite(x).all() and float(widths.min()) >= 0):
        out.fill(np.nan)
        return
    np.minimum(widths, _MOST, out=widths)
    shrink = SHRINK if widths.max() > LARGEST else 1.0
    widths *= shrink
    pulls = np.zeros(x.shape)
    pulls[:, :-1] = np.sign(x[:, :-1] - x[:, 1:])
    jumps = pulls != 0
    pulls *= widths
    widths[jumps] = 0.0
    pulls[:, 1:] -= pulls[:, :-1].copy()
    weighted_variation_step(pulls, widths, pulls)
    pulls /= shrink
    signs = np.sign(x)
    zeros = signs == 0
    np.multiply(signs, l1_strength, out=signs)
    np.negative(np.clip(pulls, -l1_strength, l1_strength), out=signs, where=zeros)
    np.add(pulls, signs, out=out)
    out += 0.0  # no negative zeros


def _spread_over_runs(
    x: Float64Array,
    l1_strength: float,
    tv_strength: float,
    out: Float64Array,
    state: Float64Array,
    stretch: int,
) -> bool:
    """Write the slopes of runs; ``state`` has the row, where in it to go on, the run's start and its jump."""
    count = x.shape[1]
    row, end, begin = int(state[0]), int(state[1]), int(state[2])
    before = state[3]  # the sign of the jump into the run
    ahead = stretch
    while row < x.shape[0] and ahead > 0:
        stop = min(count, end + ahead)
        ahead -= stop - end
        while end < stop:
            level = x[row, end]
            end += 1
            after = 0.0
            if end < count:
                following = x[row, end]
                if following == level:
                    continue
                after = 1.0 if following > level else -1.0
            slope = tv_strength * (before - after) / (end - begin)
            if level > 0.0:
                slope += l1_strength
            elif level < 0.0:
                slope -= l1_strength
            else:
                slope -= min(max(slope, -l1_strength), l1_strength)
            for j in range(begin, end):
                out[row, j] = slope + 0.0  # no negative zeros
            begin = end
            before = after
        if end == count:
            row += 1
            end = begin = 0
            before = 0.0
    state[0], state[1], state[2], state[3] = row, end, begin, before
    return bool(row == x.shape[0])


_spread = Sequential(_spread_over_runs)
