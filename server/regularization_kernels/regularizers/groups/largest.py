"""Which elements of a group are the largest: groups of one size, each along the last axis."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array


def nonzeros_in(rows: Float64Array) -> Float64Array:
    """How many of each row are not 0; NaN where one is NaN."""
    counts: Float64Array = np.add.reduce(rows != 0, axis=-1, dtype=np.float64)
    counts[np.isnan(rows).any(axis=-1)] = np.nan
    return counts


def nearest_with_nonzeros(rows: Float64Array, count: int) -> Float64Array:
    """Rows with their ``count`` largest magnitudes, of equal ones the first, and 0 for the others.

    A row with a NaN, or with an infinity and more than ``count`` elements that are not 0, is all NaN: which
    are the largest is not known, or nothing is nearest.
    """
    nonzeros = nonzeros_in(rows)
    lost = np.isnan(nonzeros) | (np.isinf(rows).any(axis=-1) & (nonzeros > count))
    nearest = np.where(_largest(np.abs(rows), count), rows, 0.0)
    nearest[lost] = np.nan
    return nearest


def _largest(magnitudes: Float64Array, count: int) -> npt.NDArray[np.bool_]:
    """Which along the last axis are among the ``count`` largest, of equal ones the first."""
    length = magnitudes.shape[-1]
    if count == 0 or count >= length:
        return np.full(magnitudes.shape, count >= length)
    least = np.partition(magnitudes, length - count, axis=-1)[..., length - count, np.newaxis]
    kept = magnitudes > least
    ties = magnitudes == least
    room = count - np.add.reduce(kept, axis=-1, dtype=np.int64)
    kept |= ties & (np.add.accumulate(ties, axis=-1, dtype=np.int64) <= room[..., np.newaxis])
    return kept
