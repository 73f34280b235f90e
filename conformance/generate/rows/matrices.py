"""Matrices, by singular values and eigenvalues of many digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from mpmath import matrix, mp, mpf

from ..numbers import Real
from ..sums import Terms
from .row import LAPACK, Message, Row, Shape, Vector, of_set, uniform_size
from .vectors import at_first, onto_l1_ball

DIGITS = 128
"""Bits of decompositions."""
OVERLOOKED = mpf(2) ** -20
"""What a projected matrix may be outside by; the vectors' own matrices are inside, or farther out."""


def places(m: Message, shape: Shape) -> list[list[int]]:
    """The places of the matrix's elements, row by row."""
    axis = m.axis if "axis" in m.DESCRIPTOR.fields_by_name and m.HasField("axis") else 0
    inner = math.prod(shape[axis + 1 :])
    rows: list[list[int]] = [[] for _ in range(shape[axis])]
    for place in range(math.prod(shape)):
        rows[place // inner % shape[axis]].append(place)
    return rows


def _matrix(m: Message, shape: Shape, x: Vector) -> matrix:
    return matrix([[mpf(x[place]) for place in row] for row in places(m, shape)])


def _flat(m: Message, shape: Shape, of: matrix) -> Vector:
    result = [mpf(0)] * math.prod(shape)
    for at, row in enumerate(places(m, shape)):
        for column, place in enumerate(row):
            result[place] = of[at, column]
    return result


def _decomposed(m: Message, shape: Shape, x: Vector) -> tuple[matrix, list[Real], matrix]:
    return _decomposition(tuple(tuple(x[place] for place in row) for row in places(m, shape)))


@lru_cache
def _decomposition(rows: tuple[tuple[Real, ...], ...]) -> tuple[matrix, list[Real], matrix]:
    with mp.workprec(DIGITS):
        left, values, right = mp.svd_r(matrix(rows))
        return left, list(values), right


def singular(m: Message, shape: Shape, x: Vector) -> list[Real]:
    """The singular values, the largest first."""
    return _decomposed(m, shape, x)[1]


def _spectral(m: Message, shape: Shape, x: Vector, of: Callable[[list[Real]], list[Real]]) -> Vector:
    left, values, right = _decomposed(m, shape, x)
    with mp.workprec(DIGITS):
        return _flat(m, shape, left * mp.diag(of(values)) * right)


def _product_less_one(m: Message, shape: Shape, x: Vector) -> matrix:
    w = _matrix(m, shape, x)
    return w.T * w - mp.eye(w.cols)


def _squares(w: matrix) -> Real:
    return sum((each * each for each in w), mpf(0))


def _orthogonal_step(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
    t = uniform_size(sizes) * mpf(m.strength)

    def largest_root(s: Real) -> Real:
        with mp.workprec(DIGITS):
            roots = mp.polyroots([t, 0, 1 - t, -s], maxsteps=200, extraprec=DIGITS)
        return max(mp.re(root) for root in roots if abs(mp.im(root)) < mpf(2) ** -60)

    return _spectral(m, shape, x, lambda values: [largest_root(s) if t else s for s in values])


def _eigen(m: Message, shape: Shape, x: Vector) -> tuple[list[Real], matrix]:
    with mp.workprec(DIGITS):
        w = _matrix(m, shape, x)
        values, vectors = mp.eigsy((w + w.T) / 2)
        return list(values), vectors


def _semidefinite(m: Message, shape: Shape, x: list[float]) -> bool:
    w = _matrix(m, shape, [mpf(each) for each in x])
    if _squares(w - w.T) > OVERLOOKED**2:
        return False
    return bool(min(_eigen(m, shape, [mpf(each) for each in x])[0]) >= -OVERLOOKED)


def _onto_semidefinite(m: Message, shape: Shape, x: Vector) -> Vector:
    values, vectors = _eigen(m, shape, x)
    with mp.workprec(DIGITS):
        kept = mp.diag([max(value, mpf(0)) for value in values])
        return _flat(m, shape, vectors * kept * vectors.T)


def _normalized(m: Message, shape: Shape, x: Vector, _: Vector) -> Vector:
    largest, target = singular(m, shape, x)[0], mpf(m.target)
    divisor = largest if m.scale_up else max(largest, target)
    return [each * target / divisor for each in x]


def _values_of(x: list[float]) -> Vector:
    return [mpf(each) for each in x]


def _peak_slope(m: Message, values: list[Real]) -> list[Real]:
    return [mpf(m.strength) if value == values[0] else mpf(0) for value in values]


def _less(values: list[Real], others: list[Real]) -> list[Real]:
    return [a - b for a, b in zip(values, others, strict=True)]


MATRICES = {
    "nuclear_norm": Row(
        lambda m, shape, x: [
            Terms(m.strength, at_first(float(sum(singular(m, shape, _values_of(x)))), len(x)))
        ],
        lambda m, shape, x: _spectral(m, shape, x, lambda values: [mpf(m.strength) for _ in values]),
        lambda m, shape, x, sizes: _spectral(
            m,
            shape,
            x,
            lambda values: [max(s - uniform_size(sizes) * mpf(m.strength), mpf(0)) for s in values],
        ),
        value_error=LAPACK,
        sum_error=LAPACK,
    ),
    "spectral_norm": Row(
        lambda m, shape, x: [
            Terms(m.strength, at_first(float(singular(m, shape, _values_of(x))[0]), len(x)))
        ],
        lambda m, shape, x: _spectral(m, shape, x, lambda values: _peak_slope(m, values)),
        lambda m, shape, x, sizes: _spectral(
            m,
            shape,
            x,
            lambda values: _less(values, onto_l1_ball(values, uniform_size(sizes) * mpf(m.strength))),
        ),
        value_error=LAPACK,
        sum_error=LAPACK,
    ),
    "spectral_ball": of_set(
        lambda m, shape, x: singular(m, shape, _values_of(x))[0] <= mpf(m.radius) * (1 + OVERLOOKED),
        lambda m, shape, x: _spectral(m, shape, x, lambda values: [min(s, mpf(m.radius)) for s in values]),
        value_error=LAPACK,
    ),
    "nuclear_ball": of_set(
        lambda m, shape, x: sum(singular(m, shape, _values_of(x))) <= mpf(m.radius) * (1 + OVERLOOKED),
        lambda m, shape, x: _spectral(m, shape, x, lambda values: onto_l1_ball(values, mpf(m.radius))),
        value_error=LAPACK,
    ),
    "rank_ball": of_set(
        lambda m, shape, x: sum(s > OVERLOOKED for s in singular(m, shape, _values_of(x))) <= m.rank,
        lambda m, shape, x: _spectral(
            m,
            shape,
            x,
            lambda values: [s if rank < m.rank else mpf(0) for rank, s in enumerate(values)],
        ),
        convex=False,
        value_error=LAPACK,
    ),
    "stiefel": of_set(
        lambda m, shape, x: _squares(_product_less_one(m, shape, _values_of(x))) <= OVERLOOKED**2,
        lambda m, shape, x: _spectral(m, shape, x, lambda values: [mpf(1) for _ in values]),
        convex=False,
        value_error=LAPACK,
    ),
    "positive_semidefinite": of_set(_semidefinite, _onto_semidefinite, value_error=LAPACK),
    "orthogonality": Row(
        lambda m, shape, x: [
            Terms(
                m.strength, at_first(float(_squares(_product_less_one(m, shape, _values_of(x))) / 4), len(x))
            )
        ],
        lambda m, shape, x: _flat(
            m,
            shape,
            mpf(m.strength) * _matrix(m, shape, x) * _product_less_one(m, shape, x),
        ),
        _orthogonal_step,
        convex=False,
        value_error=LAPACK,
        sum_error=LAPACK,
    ),
    "spectral_normalization": Row(
        lambda m, _, x: [Terms(1.0, [0.0] * len(x))], None, _normalized, convex=None, value_error=1e-11
    ),
}
