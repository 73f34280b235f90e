"""Groups shortened in a diagonal metric: every element has a step size, and so a threshold, of its own.

The new elements of a group are ``x_i / (1 + t_i / r)``, with the elements' thresholds t_i and the norm r of
the new elements: the root of the secular equation ``sum over i of (x_i / (r + t_i))^2 = 1``. Of r, one over
the sum's square root grows and is concave. So Newton's steps from below the root rise to it and do not pass
it, and near it each doubles the number of digits (Hebden 1973; Moré and Sorensen 1983). Where the sum is at
most 1 at r = 0 there is no root, and the group vanishes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...arrays import Float64Array
from ...interruption import go_on
from .partitions import EvenRuns, Partition, RaggedRuns

if TYPE_CHECKING:
    import numpy.typing as npt

_SMALL = 2.0**-900
"""What reciprocals are multiplied by, so that those of the smallest numbers are finite."""

_RISES = 1.0 + 2.0**-51
"""By how much a step must raise a root for another one to follow."""


def write_shortened(groups: Partition, x: Float64Array, thresholds: Float64Array, out: Float64Array) -> None:
    """Write argmin_y of the sum of the groups' norms, plus ``sum over i of (y_i - x_i)^2 / (2 * t_i)``.

    Where the thresholds of a group are equal, that is ``max(0, 1 - t / norm(x_g)) * x_g``, with the bits that
    this has. An element whose threshold is 0 stays where it is.

    Args:
        groups: The groups.
        x: Where the step begins.
        thresholds: Of each element, t_i >= 0; of x's shape.
        out: Where the step goes; it may be ``x``.
    """
    if not x.size:
        return
    sizes, x = groups.sizes(), groups.gathered(x)
    # In memory that others write to, a scale may be below 0 that was not when it was looked at.
    thresholds = np.maximum(groups.gathered(thresholds), 0.0)
    runs, new = _runs(sizes), np.empty(x.size)
    highest = runs.maxima(thresholds)
    runs.apply(np.not_equal, thresholds, highest, new)
    differ = runs.maxima(new) > 0.0
    norms = runs.norms(x)
    with np.errstate(all="ignore"):  # what is not chosen may be anything
        factors = np.where(norms <= highest, 0.0, (norms - highest) / norms)
        runs.apply(np.multiply, x, factors, new)
        if differ.any():
            inside = np.repeat(differ, sizes)
            new[inside] = _shortened(_runs(sizes[differ]), x[inside], thresholds[inside])
    new += 0.0  # no negative zeros
    groups.spread(new, out)


def _runs(sizes: npt.NDArray[np.int64]) -> Partition:
    """Runs of these many elements."""
    if (sizes == sizes[0]).all():
        return EvenRuns(sizes.size, int(sizes[0]))
    return RaggedRuns(np.concatenate(([0], np.cumsum(sizes))))


def _shortened(runs: Partition, x: Float64Array, thresholds: Float64Array) -> Float64Array:
    """The new elements of groups whose thresholds differ."""
    largest = runs.maxima(np.abs(x))
    # Times a power of two the largest magnitude is in [1/2, 1): then no square is too large, and none that
    # counts too small.
    exponents = -np.frexp(largest)[1]
    near, heights = np.empty_like(x), np.empty_like(x)
    runs.apply(np.ldexp, x, exponents, near)
    runs.apply(np.ldexp, thresholds, exponents, heights)
    # Each of these is at most the root: a sum of squares is no smaller than one of them, nor than what it is
    # with the largest threshold everywhere.
    roots = np.maximum(np.sqrt(runs.sums(np.square(near))) - runs.maxima(heights), 0.0)
    roots = np.maximum(roots, runs.maxima(np.abs(near) - heights))
    roots[~np.isfinite(largest)] = np.nan
    _raise(roots, runs.sizes(), near, heights)
    new = np.empty_like(x)
    runs.apply(np.divide, heights, roots, new)
    new += 1.0
    np.divide(x, new, out=new)
    # Of a group that vanishes there may be elements too small to count, and without a threshold.
    np.copyto(new, x, where=(heights == 0.0) & np.repeat(roots == 0.0, runs.sizes()))
    return new


def _raise(
    roots: Float64Array, sizes: npt.NDArray[np.int64], x: Float64Array, thresholds: Float64Array
) -> None:
    """Raise what is at most the root of each group to the root, or leave it at 0 where there is none.

    Args:
        roots: Of each group; those that are NaN stay.
        sizes: The groups' numbers of elements.
        x: Their elements, of magnitudes below 1.
        thresholds: The elements' thresholds.
    """
    thresholds = np.where(x == 0.0, 1.0, thresholds)  # any: these elements add nothing
    x = x / _SMALL
    live = np.arange(sizes.size)
    while live.size:
        go_on()
        runs, known = _runs(sizes), roots[live]
        parts = np.empty_like(x)
        runs.apply(np.add, thresholds, known, parts)
        np.divide(_SMALL, parts, out=parts)
        shares = x * parts
        shares *= shares
        sums = runs.sums(shares)
        shares *= parts
        risen = known + (np.sqrt(sums) - 1.0) * (sums * _SMALL / runs.sums(shares))
        above = sums > 1.0
        roots[live[above]] = np.maximum(known, risen)[above]
        moves = above & (risen > known * _RISES)
        if not moves.all():
            inside = np.repeat(moves, sizes)
            x, thresholds = x[inside], thresholds[inside]
            live, sizes = live[moves], sizes[moves]
