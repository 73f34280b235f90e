"""What penalties of groups share: steps and subgradients of their norms, group by group.

A penalty of the whole segment is one of a single group. Thresholds are one number for each group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...interruption import go_on
from .partitions import RaggedRuns

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ...arrays import Float64Array
    from .partitions import Partition


def shrink_norms(partition: Partition, x: Float64Array, thresholds: Float64Array, out: Float64Array) -> None:
    """Write ``max(0, 1 - threshold_g / norm(x_g)) * x_g``, computed as ``(norm - threshold) / norm * x``."""
    norms = partition.norms(x)
    kept = np.zeros(partition.count)
    # A zero group with threshold 0 is the limit 0/0: any factor will do, as x is 0 there.
    with np.errstate(invalid="ignore"):
        np.divide(norms - thresholds, norms, out=kept, where=~(norms <= thresholds))
    partition.apply(np.multiply, x, kept, out)
    out += 0.0  # no negative zeros


def write_directions(
    partition: Partition, x: Float64Array, strengths: Float64Array, out: Float64Array
) -> None:
    """Write ``strength_g * x_g / norm(x_g)``, 0 for a zero group."""
    norms = partition.norms(x)
    with np.errstate(invalid="ignore"):
        partition.apply(np.divide, x, np.where(norms == 0, 1.0, norms), out)
    partition.apply(np.multiply, out, strengths, out)
    out += 0.0  # no negative zeros


def clip_peaks(partition: Partition, x: Float64Array, radii: Float64Array, out: Float64Array) -> None:
    """Write x_g less its projection onto the L1 ball of radius_g: no magnitude above the group's ceiling.

    The ceiling is ``largest - depth``, with the depth at which what is above the ceiling adds up to the
    radius. It is found from the distances to the largest: those that count are small, so nothing cancels.
    """
    magnitudes = np.abs(x)
    largest = partition.maxima(magnitudes)
    below = np.empty_like(magnitudes)
    with np.errstate(invalid="ignore"):
        partition.apply(_distance_from, magnitudes, largest, below)
    depths = lowered(partition, below, radii, lambda live, sums, sizes: (radii[live] + sums) / sizes)
    with np.errstate(invalid="ignore"):
        # A largest that is NaN or infinite leaves no group as it was: no ceiling is known.
        ceilings = np.where(np.isfinite(largest), np.maximum(largest - depths, 0.0), np.nan)
    partition.apply(np.minimum, magnitudes, ceilings, magnitudes)
    np.copysign(magnitudes, x, out=out)
    out += 0.0  # no negative zeros


def write_peaks(partition: Partition, x: Float64Array, strengths: Float64Array, out: Float64Array) -> None:
    """Write ``strength_g * sign(x) / m`` on the m elements of a group with the largest magnitude, else 0."""
    magnitudes = np.abs(x)
    largest = partition.maxima(magnitudes)
    at_peak = np.empty_like(magnitudes)
    partition.apply(np.equal, magnitudes, largest, at_peak)
    shares = np.where(np.isnan(largest), np.nan, strengths) / np.maximum(partition.sums(at_peak), 1.0)
    np.multiply(np.sign(x, out=magnitudes), at_peak, out=out)
    partition.apply(np.multiply, out, shares, out)
    out += 0.0  # no negative zeros


def exclusive_thresholds(
    partition: Partition, magnitudes: Float64Array, strengths: Float64Array
) -> Float64Array:
    """By how much ½·strength_g·(sum |x_g|)² takes magnitudes down: ``u·Σ/(1 + k·u)`` over the k above it."""

    def mean(live: npt.NDArray[np.int64], sums: Float64Array, sizes: npt.NDArray[np.int64]) -> Float64Array:
        return strengths[live] * sums / (1.0 + sizes * strengths[live])

    with np.errstate(invalid="ignore"):
        thresholds = -lowered(partition, -magnitudes, np.zeros(partition.count), mean)
    return np.where(np.isfinite(partition.maxima(magnitudes)), thresholds, np.nan)


def lowered(
    partition: Partition,
    values: Float64Array,
    bounds: Float64Array,
    mean: Callable[[npt.NDArray[np.int64], Float64Array, npt.NDArray[np.int64]], Float64Array],
) -> Float64Array:
    """Each group's bound, lowered to the mean of the values below it until those stay the same.

    The mean is one in which a value above the mean raises it: so the bound falls onto the one bound that is
    the mean of exactly those below it, after a few rounds (Michelot 1986), of fewer and fewer values.

    Args:
        partition: The groups.
        values: The elements' values.
        bounds: Of each group, not below the bound that is looked for.
        mean: Of the groups with these indices, from the sum of their values and how many they are.
    """
    bounds, values = bounds.copy(), partition.gathered(values)
    sizes = partition.sizes()
    live = np.flatnonzero(sizes)
    known = np.full(live.size, -1)
    sizes = sizes[live]
    while live.size:
        go_on()
        inside = values < np.repeat(bounds[live], sizes)
        starts = np.cumsum(sizes) - sizes
        counts = np.add.reduceat(inside, starts, dtype=np.int64)
        moves = (counts > 0) & (counts != known)
        inside &= np.repeat(moves, sizes)
        values, live, sizes = values[inside], live[moves], counts[moves]
        known = sizes
        if live.size:
            runs = RaggedRuns(np.concatenate(([0], np.cumsum(sizes))))
            bounds[live] = np.minimum(bounds[live], mean(live, runs.sums(values), sizes))
    return bounds


def _distance_from(magnitudes: Float64Array, largest: Float64Array, out: Float64Array) -> None:
    np.subtract(largest, magnitudes, out=out)
