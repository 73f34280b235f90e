"""Sums of many vectors at once, and the nearest points of simplices, each vector in a row.

A simplex allows its sum two units in the last place, which n roundings would exceed. So sums are of pairs of
numbers: each addition's error, which is a number itself (Knuth), is added up beside it, and what is left out
is 2^-100 of the sum. A threshold is a pair, too. All is measured from a row's largest element, as far below
it as the radius at most, so that nothing cancels where elements are much larger than the radius.

Inside, vectors are columns: so NumPy goes through many at once, however short they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...interruption import go_on

Mask = npt.NDArray[np.bool_]
Pair = tuple[Float64Array, Float64Array]
"""Numbers, and small ones that are to be added to them."""

_LARGE, _SHRINKING = 2.0**900, 2.0**-200
"""From the one on, numbers are multiplied by the other, so that their sums are far from the largest."""
_MARGIN = 1.0 + 2.0**-30
"""By how much a distance found in float64 is raised, so that no element within it is left out."""
_SPLITTING = 134_217_729.0
"""What splits a number in two of 26 bits."""


def sums_less(terms: Float64Array, limits: Float64Array) -> Float64Array:
    """Each row's sum less a limit, with the right sign: 0 only where it is the limit exactly.

    Args:
        terms: ``(rows, n)``, >= 0.
        limits: One for each row, finite.

    Returns:
        Differences, those of huge numbers scaled; NaN for a row with a NaN, else infinity for one with an
        infinity.
    """
    columns = _columns(terms)
    tops = columns.max(axis=0, initial=0.0)
    large = tops >= _LARGE
    if large.any():
        factors = np.where(large, _SHRINKING, 1.0)
        columns, limits = columns * factors, limits * factors
    with np.errstate(invalid="ignore"):
        sums, rest = _sums(columns, np.zeros_like(columns))
        return np.where(np.isinf(tops), np.inf, (sums - limits) + rest)


def nearest_in_simplices(rows: Float64Array, radii: Float64Array) -> Float64Array:
    """In each row the nearest point whose elements are not negative and add up to the row's radius.

    Args:
        rows: ``(rows, n)``, finite, n >= 1.
        radii: One for each row, finite, >= 0.
    """
    factors = np.where(radii >= _LARGE, _SHRINKING, 1.0)
    return np.ascontiguousarray((_nearest(_columns(rows) * factors, radii * factors) / factors).T)


def _columns(rows: Float64Array) -> Float64Array:
    return np.ascontiguousarray(rows.T)


def _nearest(columns: Float64Array, radii: Float64Array) -> Float64Array:
    far, rest = _distances(columns)
    (depths, more), inside = _depths(far, rest, radii)
    with np.errstate(invalid="ignore"):  # of what is infinitely far below
        left, errors = _added(depths, -far)
        left += errors + (more - rest)
    return np.where(inside, np.maximum(left, 0.0), 0.0)


def _distances(columns: Float64Array) -> Pair:
    """How far each element is below its column's largest."""
    with np.errstate(over="ignore", invalid="ignore"):
        far, rest = _added(columns.max(axis=0), -columns)
    return far, np.where(np.isfinite(far), rest, 0.0)


def _depths(far: Float64Array, rest: Float64Array, radii: Float64Array) -> tuple[Pair, Mask]:
    """How far below each column's largest element its threshold is, and which elements are above that.

    What those have above it adds up to the radius. From a little more elements on than float64 finds above
    it, those that are not above their own threshold are left out until none is (Michelot 1986).
    """
    inside = far < _depths_in_float64(far, radii) * _MARGIN
    depths = np.zeros_like(radii), np.zeros_like(radii)
    live = np.arange(radii.size)
    far_of, rest_of, inside_of = far, rest, inside
    while live.size:
        go_on()
        depth, more = _depth(far_of, rest_of, inside_of, radii[live])
        depths[0][live], depths[1][live] = depth, more
        with np.errstate(invalid="ignore"):
            above = inside_of & ((far_of - depth) + (rest_of - more) < 0)
        fewer = (inside_of & ~above).any(axis=0)
        live = live[fewer]
        far_of, rest_of, inside_of = far_of[:, fewer], rest_of[:, fewer], above[:, fewer]
        inside[:, live] = inside_of
    return depths, inside


def _depths_in_float64(far: Float64Array, radii: Float64Array) -> Float64Array:
    """The same up to rounding, by Newton's steps from the radius down."""
    depths, live = radii.copy(), np.arange(radii.size)
    while live.size:
        go_on()
        inside = far < depths[live]
        counts = np.add.reduce(inside, axis=0, dtype=np.float64)
        lower = (radii[live] + np.add.reduce(np.where(inside, far, 0.0), axis=0)) / np.maximum(counts, 1.0)
        moves = (counts > 0) & (lower < depths[live])
        live, far = live[moves], far[:, moves]
        depths[live] = lower[moves]
    return depths


def _depth(far: Float64Array, rest: Float64Array, inside: Mask, radii: Float64Array) -> Pair:
    """The depth of columns in which these elements are above the threshold."""
    sums, errors = _sums(np.where(inside, far, 0.0), np.where(inside, rest, 0.0))
    sums, more = _added(sums, radii)
    # A radius of 0, and hardly more, leaves nothing above: then the depth does not matter.
    counts = np.maximum(np.add.reduce(inside, axis=0, dtype=np.float64), 1.0)
    return _divided(sums, more + errors, counts)


def _sums(numbers: Float64Array, errors: Float64Array) -> Pair:
    """The sums of columns of pairs: half of a column is added to the other half, and so on."""
    if not len(numbers):
        return np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
    while len(numbers) > 1:
        half = len(numbers) // 2
        added, rest = _added(numbers[:half], numbers[half : 2 * half])
        rest += errors[:half] + errors[half : 2 * half]
        if len(numbers) % 2:
            added, rest = np.concatenate((added, numbers[-1:])), np.concatenate((rest, errors[-1:]))
        numbers, errors = added, rest
    return _added(numbers[0], errors[0])


def _added(one: Float64Array, other: Float64Array) -> Pair:
    """A sum, rounded, and its error."""
    added = one + other
    moved = added - one
    return added, (one - (added - moved)) + (other - moved)


def _divided(numbers: Float64Array, rest: Float64Array, counts: Float64Array) -> Pair:
    """Pairs divided by whole numbers."""
    quotients = (numbers + rest) / counts
    products = quotients * counts
    high, high_count = _high_bits(quotients), _high_bits(counts)
    low, low_count = quotients - high, counts - high_count
    # What the product was rounded by (Dekker).
    missed = ((high * high_count - products) + high * low_count + low * high_count) + low * low_count
    return quotients, (((numbers - products) - missed) + rest) / counts


def _high_bits(numbers: Float64Array) -> Float64Array:
    split = numbers * _SPLITTING
    return split - (split - numbers)
