"""Whole vectors: norms, balls, counts and sorted magnitudes."""

from __future__ import annotations

import math
from fractions import Fraction

from mpmath import mp, mpf

from ..numbers import Real
from ..sums import Terms
from .row import Message, Row, Shape, Vector, of_set, sign, soft, uniform_size

LAST_BITS = 2.0**-48
"""What sums may be off by whose order the schema leaves open."""
OVERLOOKED = 2.0**-20
"""What a projected point may be outside by; the vectors' own points are inside, or farther out than this."""


def norm(x: Vector) -> Real:
    """The Euclidean norm."""
    return mp.sqrt(sum((each * each for each in x), mpf(0)))


def rounded_norm(x: list[float]) -> float:
    """The root of the exact sum of squares, each of which is rounded, as the sum and the root are."""
    return math.sqrt(sum((Fraction(each * each) for each in x), Fraction(0)))


def pairwise_error(x: list[float]) -> float:
    """What a norm may be off by whose squares are added pairwise: nothing where no sum of them rounds."""
    squares = sum((Fraction(each) ** 2 for each in x), Fraction(0))
    return 0.0 if Fraction(float(squares)) == squares else LAST_BITS


def at_first(value: float, count: int) -> list[float]:
    """A term at the first of so many elements."""
    return [value, *[0.0] * (count - 1)][:count]


def threshold(magnitudes: Vector, radius: Real) -> Real:
    """The tau for which the sum of max(magnitude - tau, 0) is the radius; 0 if the sum is no larger."""
    if sum(magnitudes, mpf(0)) <= radius:
        return mpf(0)
    return simplex_threshold(magnitudes, radius)


def simplex_threshold(x: Vector, radius: Real) -> Real:
    """The tau for which the sum of max(x - tau, 0) is the radius."""
    ordered = sorted(x, reverse=True)
    total = mpf(0)
    tau = ordered[0] - radius
    for count, each in enumerate(ordered, 1):
        total += each
        if each > (total - radius) / count:
            tau = (total - radius) / count
    return tau


def onto_l1_ball(x: Vector, radius: Real) -> Vector:
    """The nearest point whose magnitudes add up to the radius at most."""
    tau = threshold([abs(each) for each in x], radius)
    return [soft(each, tau) for each in x]


def onto_simplex(x: Vector, radius: Real) -> Vector:
    """The nearest point without negative elements that add up to the radius."""
    tau = simplex_threshold(x, radius)
    return [max(each - tau, mpf(0)) for each in x]


def scaled_to(x: Vector, radius: Real) -> Vector:
    """The nearest point of a norm."""
    length = norm(x)
    return [each * radius / length for each in x]


def largest(x: Vector, count: int) -> Vector:
    """The largest in magnitude, of equal ones the first; 0 elsewhere."""
    ranked = sorted(range(len(x)), key=lambda index: (-abs(x[index]), index))[:count]
    return [each if index in ranked else mpf(0) for index, each in enumerate(x)]


def share(m: Message, count: int) -> int:
    """How many of so many may stay: a count, or floor(fraction * n + 1/2) of the double as it is."""
    return int(m.count) if m.HasField("count") else math.floor(Fraction(m.fraction) * count + Fraction(1, 2))


def peaks(x: Vector, strength: Real) -> Vector:
    """The slope of strength * max |x|: shared by the largest magnitudes."""
    peak = max(abs(each) for each in x)
    count = sum(abs(each) == peak for each in x)
    return [strength * sign(each) / count if peak and abs(each) == peak else mpf(0) for each in x]


def _norm_step(m: Message, _: Shape, x: Vector, sizes: Vector) -> Vector:
    t, length = uniform_size(sizes) * mpf(m.strength), norm(x)
    return [each * max(length - t, mpf(0)) / length if length else mpf(0) for each in x]


def _peak_step(m: Message, _: Shape, x: Vector, sizes: Vector) -> Vector:
    nearest = onto_l1_ball(x, uniform_size(sizes) * mpf(m.strength))
    return [each - near for each, near in zip(x, nearest, strict=True)]


def _strengths(m: Message, count: int) -> list[float]:
    if m.WhichOneof("weighting") == "strengths":
        return list(m.strengths.values)
    return [m.oscar.l1_strength + m.oscar.pairwise_strength * (count - rank) for rank in range(1, count + 1)]


def _sorted_terms(m: Message, _: Shape, x: list[float]) -> list[Terms]:
    ordered = sorted((abs(each) for each in x), reverse=True)
    return [Terms(1.0, [s * each for s, each in zip(_strengths(m, len(x)), ordered, strict=True)])]


def _sorted_slope(m: Message, _: Shape, x: Vector) -> Vector:
    ranked = sorted(range(len(x)), key=lambda index: -abs(x[index]))
    strengths = _strengths(m, len(x))
    result = [mpf(0)] * len(x)
    for magnitude in {abs(each) for each in x} - {mpf(0)}:
        ranks = [rank for rank, index in enumerate(ranked) if abs(x[index]) == magnitude]
        mean = sum((mpf(strengths[rank]) for rank in ranks), mpf(0)) / len(ranks)
        for rank in ranks:
            result[ranked[rank]] = sign(x[ranked[rank]]) * mean
    return result


def _sorted_step(m: Message, _: Shape, x: Vector, sizes: Vector) -> Vector:
    size = uniform_size(sizes)
    ranked = sorted(range(len(x)), key=lambda index: -abs(x[index]))
    pools: list[tuple[Real, int]] = []
    for index, strength in zip(ranked, _strengths(m, len(x)), strict=True):
        pools.append((abs(x[index]) - size * mpf(strength), 1))
        while len(pools) > 1 and pools[-2][0] <= pools[-1][0]:
            (right, more), (left, count) = pools.pop(), pools.pop()
            pools.append(((left * count + right * more) / (count + more), count + more))
    levels = [max(value, mpf(0)) for value, count in pools for _ in range(count)]
    result = [mpf(0)] * len(x)
    for index, each in zip(ranked, levels, strict=True):
        result[index] = sign(x[index]) * each
    return result


VECTORS = {
    "l2_norm": Row(
        lambda m, _, x: [Terms(m.strength, at_first(rounded_norm(x), len(x)))],
        lambda m, _, x: [mpf(m.strength) * each / norm(x) if norm(x) else mpf(0) for each in x],
        _norm_step,
    ),
    "linf_norm": Row(
        lambda m, _, x: [Terms(m.strength, at_first(max(map(abs, x), default=0.0), len(x)))],
        lambda m, _, x: peaks(x, mpf(m.strength)),
        _peak_step,
    ),
    "l1_ball": of_set(
        lambda m, _, x: sum(map(abs, x)) <= m.radius * (1 + OVERLOOKED),
        lambda m, _, x: onto_l1_ball(x, mpf(m.radius)),
    ),
    "l2_ball": of_set(
        lambda m, _, x: math.hypot(*x) <= m.radius * (1 + OVERLOOKED),
        lambda m, _, x: scaled_to(x, mpf(m.radius)),
    ),
    "simplex": of_set(
        lambda m, _, x: min(x) >= 0 and abs(sum(x) - m.radius) <= m.radius * OVERLOOKED,
        lambda m, _, x: onto_simplex(x, mpf(m.radius)),
    ),
    "top_k": of_set(
        lambda m, _, x: sum(each != 0 for each in x) <= share(m, len(x)),
        lambda m, _, x: largest(x, share(m, len(x))),
        convex=False,
    ),
    "slope": Row(_sorted_terms, _sorted_slope, _sorted_step),
}
