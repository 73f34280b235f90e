"""Thresholds in float64, up to rounding, without a full sort, and sums that are nearly exact.

What is left of numbers above a threshold adds up to a given sum: a root of a convex and piecewise linear
function, which Newton's method finds in a few steps (Michelot 1986). It is guessed from a sample, and looked
for among those elements only that are above the guess: the threshold of some elements is never above that of
all (Condat 2016), so it shows whether too many were left out. All is measured from the largest element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..arrays import Float64Array
from ..interruption import go_on

Term = Callable[..., Float64Array]
"""A NumPy function that makes one number of each element."""

BLOCK = 1 << 15
"""Elements that stay in the cache from one operation to the next."""
SAMPLE = 1 << 14
"""Elements from which the threshold of more is guessed."""
_FIRST = 16
"""Of so many numbers of a sample, one is looked at first, to begin near the threshold."""
_STEPS = 32
"""After so many the numbers are sorted: hardly any vector needs more than six."""
_HUGE = 1e250
_SHRINKING = 2.0**-200
"""What makes sums of huge numbers finite."""


def blocks(x: Float64Array) -> Iterator[Float64Array]:
    """The elements of an array of one axis, one block after the other, where somebody waits."""
    go_on()
    return (x[begin : begin + BLOCK] for begin in range(0, x.size, BLOCK))


def total(x: Float64Array, term: Term = np.positive) -> float:
    """The sum of the elements' terms, within 0.501 units in the last place.

    NumPy's own sum of equal elements may be off by more than a set allows, so that no point would be inside.
    Here the high bits of each block are split off and added without rounding, as in ``summation``.
    """
    sums: list[float] = []
    for part in blocks(x):
        terms = term(part)
        top = max(float(np.max(terms)), -float(np.min(terms)))
        if not top < _HUGE:
            return math.fsum(float(np.sum(term(each))) * _SHRINKING for each in blocks(x)) / _SHRINKING
        grid = math.ldexp(1.0, math.frexp(top)[1] + BLOCK.bit_length())
        high = terms + grid
        high -= grid
        sums += (float(np.sum(high)), float(np.sum(terms - high)))
    return math.fsum(sums)


def project_onto_capped_simplex(x: Float64Array, radius: float, cap: float, out: Float64Array) -> None:
    """Write the nearest point whose elements are from 0 to ``cap`` and add up to ``radius``.

    It is min(max(x − τ, 0), cap). Where x − cap and x are in order, the sum falls from one to the next by as
    much as so many elements are between 0 and the cap, so τ lies between the two where it passes the radius.

    Args:
        x: Finite, at least one element, one axis.
        radius: Finite, > 0.
        cap: Finite, > 0; where all elements at it add up to less than the radius, that is what is written.
        out: May be x.
    """
    corners = np.concatenate([x - cap, x])
    order = np.argsort(corners, kind="stable")
    corners = corners[order]
    slopes = np.cumsum(np.where(order < x.size, 1, -1))
    falls = np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(corners))])
    surplus = cap * x.size - radius
    if surplus <= 0:
        out.fill(cap)
        return
    last = max(int(np.searchsorted(falls, surplus)) - 1, 0)
    threshold = corners[last] + (surplus - falls[last]) / max(int(slopes[last]), 1)
    np.clip(x - threshold, 0.0, cap, out=out)
    inner = np.flatnonzero((out > 0) & (out < cap))
    if inner.size:
        out[inner] = np.clip(out[inner] + (radius - total(out)) / inner.size, 0.0, cap)


def approximate_threshold(x: Float64Array, radius: float, term: Term) -> float:
    """What is to be taken off terms for what is then left above 0 to add up to ``radius``, up to rounding.

    Args:
        x: Finite, at least one element, one axis.
        radius: Finite, > 0.
        term: The elements themselves, or ``np.abs``.

    Returns:
        Anything where sums are beyond float64.
    """
    peak = max(float(np.max(term(part))) for part in blocks(x))
    guess, low = _guesses(x, peak, radius, term)
    candidates = above(x, peak + low, term)
    relative = _newton(candidates - peak, radius, guess)
    if relative < low:
        # Some that are above the threshold were left out. What the others have is below it.
        candidates = above(x, peak + relative, term)
        relative = _newton(candidates - peak, radius, relative)
    return peak + relative


def _guesses(x: Float64Array, peak: float, radius: float, term: Term) -> tuple[float, float]:
    """About τ − peak, and what is probably a little below it; not below what the largest element implies."""
    least = -radius
    if x.size < 4 * SAMPLE:
        return least, least
    sample = term(x[:: x.size // SAMPLE])
    share = radius * sample.size / x.size
    sample -= peak
    sample = sample[sample > -radius]
    if not sample.size:
        return least, least
    guess = _newton(sample, share, float(np.min(sample)))
    found = max(int(np.count_nonzero(sample > guess)), 1)
    return max(guess, least), max(_newton(sample, share * (1.0 + 4.0 / math.sqrt(found)), guess), least)


def expected_threshold(sample: Float64Array, radius: float, deviations: float) -> tuple[float, float, float]:
    """About the threshold of a vector that has been sampled, and two numbers that it probably lies between.

    What a sample has above a threshold is a sum of independent numbers, so it deviates by about the root of
    the sum of their squares.

    Args:
        sample: Finite, at least one element, one axis.
        radius: That of the vector, times the sample's share of its elements; > 0.
        deviations: By how many standard deviations the sample may be off.

    Returns:
        The expected threshold, then the lower number, then the higher one.
    """
    few = sample[::_FIRST]
    start = _newton(few, radius * few.size / sample.size, float(np.min(few)))
    threshold = _newton(sample, radius, start)
    higher = sample[sample > threshold]
    excess = higher - threshold
    margin = deviations * math.sqrt(float(np.dot(excess, excess)))
    low = _newton(sample, radius + margin, threshold)
    if not higher.size or margin >= radius:
        return threshold, low, float(np.max(sample))
    high = _newton(higher, radius - margin, threshold)  # above which nothing else is, either
    return threshold, low, high


def above(x: Float64Array, limit: float, term: Term) -> Float64Array:
    """The terms that are above a limit, or at it."""
    found = []
    for part in blocks(x):
        terms = term(part)
        places = np.flatnonzero(terms >= limit)  # a mask as the index takes five times as long
        found.append(terms.take(places))
    return np.concatenate(found)


def _newton(numbers: Float64Array, radius: float, start: float) -> float:
    """The threshold of the numbers, up to rounding."""
    threshold, before = start, 0
    for _ in range(_STEPS):
        mass, count = _mass(numbers, threshold)
        if count == 0:  # the guess is above them all
            threshold = (float(np.sum(numbers)) - radius) / numbers.size
        elif count == before:
            return threshold
        else:
            threshold += (mass - radius) / count
        before = count
    descending = np.sort(numbers)[::-1]
    thresholds = (np.cumsum(descending) - radius) / np.arange(1, descending.size + 1)
    return float(thresholds[np.flatnonzero(descending >= thresholds)[-1]])


def _mass(numbers: Float64Array, threshold: float) -> tuple[float, int]:
    """What the numbers have above the threshold, and how many are above it."""
    masses, count = [], 0
    for part in blocks(numbers):
        excess = part - threshold
        np.maximum(excess, 0.0, out=excess)
        masses.append(float(np.sum(excess)))
        count += int(np.count_nonzero(excess > 0))
    return math.fsum(masses), count
