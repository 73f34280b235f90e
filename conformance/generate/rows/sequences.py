"""Lines and images: differences of neighbours, and order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from mpmath import mpf

from ..numbers import exact
from ..sums import Terms
from .row import Message, Row, Shape, Vector, of_set_in_metric, sign, uniform_size

Combination = dict[int, int]
"""A combination of elements: the factor of each place."""
SWEEPS = 200_000


def lines(shape: Shape, axis: int) -> list[list[int]]:
    """The places along an axis, line by line."""
    inner = math.prod(shape[axis + 1 :])
    by_line: dict[tuple[int, int], list[int]] = {}
    for place in range(math.prod(shape)):
        by_line.setdefault((place // (inner * shape[axis]), place % inner), []).append(place)
    return list(by_line.values())


def _axis(m: Message, shape: Shape) -> int:
    return int(m.axis) if m.HasField("axis") else len(shape) - 1


def differences(line: list[int], order: int = 1) -> list[Combination]:
    """The differences of an order along a line."""
    signed = [(-1) ** (order - k) * math.comb(order, k) for k in range(order + 1)]
    return [{line[at + k]: factor for k, factor in enumerate(signed)} for at in range(len(line) - order)]


def _times(row: Combination, x: list[Fraction]) -> Fraction:
    return sum((factor * x[place] for place, factor in row.items()), Fraction(0))


def _without(x: list[Fraction], rows: list[Combination]) -> list[Fraction]:
    """The part of a vector that is orthogonal to all rows."""
    basis: list[list[Fraction]] = []
    for row in [[Fraction(row.get(place, 0)) for place in range(len(x))] for row in rows]:
        rest = row
        for other in basis:
            share = _dot(rest, other) / _dot(other, other)
            rest = [a - share * b for a, b in zip(rest, other, strict=True)]
        if any(rest):
            basis.append(rest)
    for other in basis:
        share = _dot(x, other) / _dot(other, other)
        x = [a - share * b for a, b in zip(x, other, strict=True)]
    return x


def _dot(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def shrunk(v: list[Fraction], rows: list[Combination], limits: list[Fraction]) -> list[Fraction]:
    """The exact minimizer y of the sum of limit * |row y| plus |y - v|^2 / 2.

    Its dual is minimized by coordinates in binary64, which tells what differences are 0; with these the
    minimizer is a projection, in fractions.

    Raises:
        ValueError: If the signs of the exact answer are others, or the dual did not converge.
    """
    y = [float(each) for each in v]
    dual = [0.0] * len(rows)
    for _ in range(SWEEPS):
        change = 0.0
        for index, (row, limit) in enumerate(zip(rows, limits, strict=True)):
            ascent = sum(factor * y[p] for p, factor in row.items()) / sum(f * f for f in row.values())
            moved = min(max(dual[index] + ascent, -float(limit)), float(limit))
            for p, factor in row.items():
                y[p] -= factor * (moved - dual[index])
            change = max(change, abs(moved - dual[index]))
            dual[index] = moved
        if change < 1e-15:
            break
    else:
        raise ValueError("the dual did not converge")
    signs = [sign(d) if abs(d) > 1e-9 else 0 for d in (sum(f * y[p] for p, f in row.items()) for row in rows)]
    moved_off = list(v)
    for row, limit, direction in zip(rows, limits, signs, strict=True):
        for p, factor in row.items():
            moved_off[p] -= limit * direction * factor
    answer = _without(moved_off, [row for row, direction in zip(rows, signs, strict=True) if not direction])
    if [sign(_times(row, answer)) for row in rows] != signs:
        raise ValueError("the exact answer has other signs")
    return answer


Penalized = Callable[[Message, Shape], list[tuple[float | Fraction, Combination]]]
"""The combinations whose magnitudes are penalized, each with its strength."""


def _penalizing(penalized: Penalized, sums: Callable[[Message, Shape, list[float]], list[Terms]]) -> Row:
    def step(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
        size = exact(uniform_size(sizes))
        strengths = [size * Fraction(strength) for strength, _ in penalized(m, shape)]
        rows = [row for _, row in penalized(m, shape)]
        return [_real(each) for each in shrunk([exact(each) for each in x], rows, strengths)]

    def gradient(m: Message, shape: Shape, x: Vector) -> Vector:
        v = [Fraction(0)] * len(x)
        free: list[tuple[float | Fraction, Combination]] = []
        for strength, row in penalized(m, shape):
            direction = sign(_times(row, [exact(each) for each in x]))
            for place, factor in row.items():
                v[place] += Fraction(strength) * direction * factor
            if not direction:
                free.append((strength, row))
        # The shortest v - D'u with |u| <= strength is the step from v of the free combinations' penalty.
        shortest = shrunk(v, [row for _, row in free], [Fraction(strength) for strength, _ in free])
        return [_real(each) for each in shortest]

    return Row(sums, gradient, step)


def _real(number: Fraction) -> mpf:
    return mpf(number.numerator) / mpf(number.denominator)


def _along(
    m: Message, shape: Shape, strength: float, weights: list[float] | None
) -> list[tuple[float | Fraction, Combination]]:
    """Differences along the axis, each with its strength times the weight of the first of its elements."""
    rows = [row for line in lines(shape, _axis(m, shape)) for row in differences(line)]
    return [(Fraction(strength) * Fraction(1 if weights is None else weights[min(row)]), row) for row in rows]


def _jumps(m: Message, shape: Shape, x: list[float], weights: list[float] | None) -> list[float]:
    jumps = [0.0] * len(x)
    for line in lines(shape, _axis(m, shape)):
        for here, there in pairwise(line):
            jumps[here] = abs(x[there] - x[here]) * (1.0 if weights is None else weights[here])
    return jumps


def _total_variation(weights: list[float] | None = None) -> Row:
    return _penalizing(
        lambda m, shape: _along(m, shape, m.strength, weights),
        lambda m, shape, x: [Terms(m.strength, _jumps(m, shape, x, weights))],
    )


def _fused_lasso(weights: list[float] | None = None) -> Row:
    def terms(m: Message, shape: Shape, x: list[float]) -> list[Terms]:
        jumps = _jumps(m, shape, x, weights)
        return [
            Terms(
                1.0,
                [m.l1_strength * abs(e) + m.tv_strength * jump for e, jump in zip(x, jumps, strict=True)],
            )
        ]

    return _penalizing(
        lambda m, shape: [
            *_along(m, shape, m.tv_strength, weights),
            *((m.l1_strength, {place: 1}) for place in range(math.prod(shape))),
        ],
        terms,
    )


def _trend_terms(m: Message, shape: Shape, x: list[float]) -> list[Terms]:
    terms = [0.0] * len(x)
    for line in lines(shape, len(shape) - 1):
        values = [x[place] for place in line]
        for _ in range(m.order + 1):
            values = [b - a for a, b in pairwise(values)]
        for place, value in zip(line, values, strict=False):
            terms[place] = abs(value)
    return [Terms(m.strength, terms)]


def _trend(m: Message, shape: Shape) -> list[tuple[float | Fraction, Combination]]:
    return [
        (m.strength, row) for line in lines(shape, len(shape) - 1) for row in differences(line, m.order + 1)
    ]


def _image_terms(m: Message, shape: Shape, x: list[float]) -> list[Terms]:
    terms = [0.0] * len(x)
    for axis in (len(shape) - 1, len(shape) - 2):
        for line in lines(shape, axis):
            for here, there in pairwise(line):
                terms[here] += abs(x[there] - x[here])
    return [Terms(m.strength, terms)]


def _ordered(m: Message, shape: Shape, x: list[float]) -> bool:
    way = -1 if m.decreasing else 1
    return all(way * x[a] <= way * x[b] for line in lines(shape, _axis(m, shape)) for a, b in pairwise(line))


def _pooled(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
    way = -1 if m.decreasing else 1
    result = list(x)
    for line in lines(shape, _axis(m, shape)):
        pools: list[list[tuple[mpf, mpf]]] = []
        for place in line:
            pools.append([(way * x[place], sizes[place])])
            while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
                last = pools.pop()
                pools[-1] += last
        level = [_mean(pool) for pool in pools for _ in pool]
        for place, value in zip(line, level, strict=True):
            result[place] = way * value
    return result


def _mean(pool: list[tuple[mpf, mpf]]) -> mpf:
    """A pool's mean, weighted by one over the step sizes; where the least is 0, of those that have it."""
    least = min(size for _, size in pool)
    weights = [mpf(1) if size == least else least / size for _, size in pool]
    weighted = (weight * value for weight, (value, _) in zip(weights, pool, strict=True))
    return sum(weighted, mpf(0)) / sum(weights, mpf(0))


SEQUENCES = {
    "total_variation": replace(_total_variation(), weighted=_total_variation),
    "fused_lasso": replace(_fused_lasso(), weighted=_fused_lasso),
    "trend_filter": _penalizing(_trend, _trend_terms),
    "isotonic": of_set_in_metric(_ordered, _pooled),
    "total_variation_2d": _penalizing(
        lambda m, shape: [
            (m.strength, row)
            for axis in (len(shape) - 1, len(shape) - 2)
            for line in lines(shape, axis)
            for row in differences(line)
        ],
        _image_terms,
    ),
}
ITERATED = {"trend_filter": 1e-9, "total_variation_2d": 1e-9}
"""What iterated answers are off by, of the largest element: their duality gap is 1e-12 of the objective."""
