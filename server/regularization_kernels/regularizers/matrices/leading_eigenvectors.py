"""A few leading eigenvectors of a symmetric matrix, by subspace iteration, and the proof that they lead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from .blas import held_blas
from .linear_algebra import EPSILON, eigenvectors, tops_eigenvalues

Vectors = npt.NDArray[np.floating[Any]]
"""``(n, b)``, float32 while nothing is near yet, then float64."""

_DEGREE = 10
"""Products with the matrix in a filter, at most."""
_LEAST, _SHARE = 160, 2.0
"""Products with all vectors before it is given up: so many, or so many multiplications for each one in the
matrix's square."""
_COARSE = 1e-6
"""Up to where float32 comes, relative to the largest eigenvalue,"""
_STALLED = 0.5
"""or until less than this is gained by a filter."""
_PROVED = 0.75
"""Of the gap between what was found and the next, this much is to be proved."""
_SEED = 20_100


@dataclass(frozen=True, slots=True)
class LeadingEigenvectors:
    """The leading eigenvectors of a symmetric matrix ``(n, n)`` whose eigenvalues are >= 0, k of them."""

    values: Float64Array
    """``(k,)``, descending."""
    vectors: Float64Array
    """``(n, k)``, in columns, orthonormal."""
    following: float
    """About the next eigenvalue."""
    residual: float
    """The norm of what the matrix times the vectors differs from the vectors times the values by."""


def block_size(count: int) -> int:
    """How many vectors are iterated, so that so many converge soon."""
    return count + max(8, count // 2)


def leading_eigenvectors(
    symmetric: Float64Array, count: int, enough: Callable[[Float64Array, float], float]
) -> LeadingEigenvectors | None:
    """The leading eigenvectors, by subspace iteration with Chebyshev filters.

    The iteration proves nothing, it might miss a vector: ``proved_gap`` does.

    Args:
        symmetric: ``(n, n)``, finite, positive semidefinite but for rounding, not 0.
        count: k >= 1, with ``block_size(k) < n``.
        enough: From the values ``(k,)`` and the gap below them, the residual that is small enough.

    Returns:
        None where it does not converge soon.

    Source: Zhou, Saad, Tiago and Chelikowsky (2006), Self-consistent-field calculations using
    Chebyshev-filtered subspace iteration.
    """
    size, block = len(symmetric), block_size(count)
    left = max(_LEAST, int(_SHARE * size / block))
    # By a power of two, so exactly: float32 has not the range.
    unit = 2.0 ** math.frexp(float(np.trace(symmetric)))[1]
    matrix: npt.NDArray[Any] = (symmetric / unit).astype(np.float32)
    start = np.random.default_rng(_SEED).standard_normal((size, block), dtype=np.float32)
    vectors: Vectors = _orthonormal(_times(matrix, start))
    before = math.inf
    while left > 0:
        pairs = _ritz_pairs(matrix, vectors, count)
        if pairs is None:
            return None
        values, vectors, residual = pairs
        gap = float(values[count - 1] - values[count])
        goal = enough(unit * values[:count], _PROVED * unit * gap) / unit
        if vectors.dtype == np.float32:
            near = residual <= max(_COARSE * float(values[0]), goal)
            if near or residual > _STALLED * before:
                # Only float64 tells how near they are.
                matrix, unit, before = symmetric, 1.0, math.inf
                vectors = _orthonormal(_times(matrix, vectors.astype(np.float64)))
                left -= 2
                continue
        elif residual <= goal:
            exact = np.asarray(vectors[:, :count], np.float64)
            return LeadingEigenvectors(values[:count], exact, float(values[count]), residual)
        top = float(values[0])
        cut = max(float(values[-1]), float(np.finfo(vectors.dtype).eps) * top)
        degree = _degree(top / cut, vectors)
        vectors = _orthonormal(_filtered(matrix, vectors, cut, top, degree))
        before = residual
        left -= degree + 1
    return None


def _ritz_pairs(
    matrix: npt.NDArray[Any], vectors: Vectors, count: int
) -> tuple[Float64Array, Vectors, float] | None:
    """The eigenvalues and vectors in the span of orthonormal vectors, and the residual of the first ones."""
    images = _times(matrix, vectors)
    with held_blas():
        small = np.asarray(vectors.T @ images, np.float64)
    found = eigenvectors(small)
    if found is None:
        return None
    values, turned = found[0][::-1], found[1][:, ::-1].astype(vectors.dtype)
    with held_blas():
        vectors, images = vectors @ turned, images @ turned
    misses = images[:, :count] - vectors[:, :count] * values[:count].astype(vectors.dtype)
    return values, vectors, math.sqrt(float(np.add.reduce(np.square(misses, dtype=np.float64).reshape(-1))))


def proved_gap(symmetric: Float64Array, leading: LeadingEigenvectors) -> float:
    """How far all other eigenvalues are certainly below those that were found; 0 where that is not proved.

    All but k eigenvalues are at most the largest one of the matrix without the part that was found (Weyl),
    and a Cholesky factorization shows that this one is below a number.
    """
    last, vectors = float(leading.values[-1]), leading.vectors
    bound = leading.following + (1.0 - _PROVED) * (last - leading.following)
    with held_blas(vectors.size * len(vectors)):
        rest = (vectors * leading.values) @ vectors.T
    np.subtract(symmetric, rest, out=rest)
    errors = len(rest) * (len(rest) + 1) * EPSILON * bound  # of the factorization
    return max(last - bound - errors, 0.0) if tops_eigenvalues(bound, rest) else 0.0


def _degree(ratio: float, vectors: Vectors) -> int:
    # What rounding leaves of the first vector in the others grows as much as it does, and must not hide them.
    growth = math.acosh(max(2.0 * ratio - 1.0, 1.0))
    most = -0.5 * math.log(float(np.finfo(vectors.dtype).eps))
    return _DEGREE if growth * _DEGREE <= most else max(int(most / growth), 1)


def _filtered(matrix: npt.NDArray[Any], vectors: Vectors, cut: float, top: float, degree: int) -> Vectors:
    """A polynomial of the matrix times the vectors, small up to the cut and growing fast from there."""
    half = vectors.dtype.type(0.5 * cut)
    first = scale = half / vectors.dtype.type(top - half)
    before: Vectors = vectors
    now: Vectors = (_times(matrix, vectors) - half * vectors) * (first / half)
    for _ in range(degree - 1):
        following = 1 / (2 / first - scale)
        image = _times(matrix, now)
        image -= half * now
        image *= 2 * following / half
        image -= (scale * following) * before
        before, now, scale = now, image, following
    return now


def _orthonormal(vectors: Vectors) -> Vectors:
    with held_blas():
        return np.linalg.qr(vectors)[0]


def _times(matrix: npt.NDArray[Any], vectors: Vectors) -> Vectors:
    with held_blas(matrix.size * vectors.shape[1]):
        product: Vectors = matrix @ vectors
    return product
