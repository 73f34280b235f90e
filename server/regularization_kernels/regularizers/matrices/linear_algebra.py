"""What matrix regularizers share: LAPACK, on a number of threads that does not change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Float64Array
from .blas import find_blas_of_scipy, held_blas
from .lapack import INDEXABLE, slow_svd

EPSILON = float(np.finfo(np.float64).eps)
"""Of what is computed with."""

_CAREFUL = 1e-6
"""Of a bound, this much is left for the errors of Gram matrix and factorization."""
_PRODUCTS_OF_SVD = 16
"""In a decomposition, about, for each one in the product of the matrix with its transpose."""
_PRODUCTS_OF_EIGENVECTORS = 6
"""Likewise in those of a symmetric matrix."""
_PRODUCTS_OF_EIGENVALUES = 2
"""Likewise where these are wanted alone."""
_STRETCH = 512
"""Rows whose products BLAS adds at once."""


def singular_value_decomposition(x: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """U, σ (descending) and Vᵀ of a matrix; all NaN where x is not finite.

    Args:
        x: ``(m, n)``; either may be 0.

    Returns:
        ``(m, k)``, ``(k,)`` and ``(k, n)`` with k = min(m, n).
    """
    rows, columns = x.shape
    k = min(rows, columns)
    if not np.isfinite(x).all():
        return np.full((rows, k), np.nan), np.full(k, np.nan), np.full((k, columns), np.nan)
    # LAPACK reads columns first, which is how the transpose lies.
    v, values, ut = _lapack_svd(x.T, vectors=True)
    return ut.T, values, v.T


def singular_values(x: Float64Array) -> Float64Array:
    """σ of a matrix, descending; all NaN where x is not finite. It takes less than half the time."""
    if not np.isfinite(x).all():
        return np.full(min(x.shape), np.nan)
    values: Float64Array = _lapack_svd(x.T, vectors=False)
    return values


def lapack_error(shape: tuple[int, ...]) -> float:
    """What a matrix that is put together, and decomposed again, may be off by, relative to its norm.

    The worst of 60,000 small random matrices had a fifth of it; large ones have a hundredth.
    """
    return 4.0 * (max(shape) + 4) * EPSILON


def put_together(u: Float64Array, values: Float64Array, vt: Float64Array, out: Float64Array) -> None:
    """Write U·diag(values)·Vᵀ, using up U; the values do not increase, and zeros cost nothing."""
    kept = int(np.count_nonzero(values))
    u[:, :kept] *= values[:kept]
    with held_blas(out.size * kept):
        np.matmul(u[:, :kept], vt[:kept], out=out)
        out += 0.0  # no negative zeros


def largest_at_most(x: Float64Array, bound: float) -> bool:
    """Whether the largest singular value is certainly at most a bound, without decomposing x.

    It is at most the norm of all elements; and its square is the Gram matrix's largest eigenvalue.
    """
    largest = float(np.max(np.abs(x), initial=0.0))
    if not largest or not bound:
        return largest <= bound
    scaled, bound = x / largest, bound / largest
    if np.sqrt(np.add.reduce(np.square(scaled).reshape(-1))) <= bound:
        return True
    return tops_eigenvalues((bound * (1.0 - _CAREFUL)) ** 2, gram(scaled))


def gram(x: Float64Array) -> Float64Array:
    """XᵀX, or XXᵀ where that is the smaller one; the same eigenvalues but for zeros.

    It is added up in stretches, which keeps rounding errors small (``additions``); between them a call that
    was given up stops.
    """
    rows, columns = x.shape
    x = x.T if rows < columns else x
    total = _gram(x[:_STRETCH])
    for start in range(_STRETCH, len(x), _STRETCH):
        total += _gram(x[start : start + _STRETCH])
    return total


def additions(count: int) -> int:
    """How many additions one after the other an element of a Gram matrix takes at most, of so many terms."""
    return min(count, _STRETCH) + -(-count // _STRETCH)


def _gram(x: Float64Array) -> Float64Array:
    with held_blas(x.size * x.shape[1]):
        product: Float64Array = x.T @ x
    return product


def eigenvectors(symmetric: Float64Array) -> tuple[Float64Array, Float64Array] | None:
    """Eigenvalues ``(n,)`` of a finite matrix ``(n, n)``, ascending, and vectors in columns ``(n, n)``.

    Returns:
        None where LAPACK does not converge.
    """
    try:
        with held_blas(_PRODUCTS_OF_EIGENVECTORS * _products(symmetric.shape)):
            values, vectors = np.linalg.eigh(symmetric)
    except np.linalg.LinAlgError:
        return None
    return values, vectors


def eigenvalues(symmetric: Float64Array) -> Float64Array:
    """Eigenvalues ``(n,)`` of a symmetric matrix, ascending; all NaN where it is not finite."""
    if np.isfinite(symmetric).all():
        try:
            with held_blas(_PRODUCTS_OF_EIGENVALUES * _products(symmetric.shape)):
                return np.asarray(np.linalg.eigvalsh(symmetric), np.float64)
        except np.linalg.LinAlgError:  # then the way with vectors has an answer
            pass
    return eigenvalue_decomposition(symmetric)[0]


def eigenvalue_decomposition(symmetric: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The same, and the vectors in columns ``(n, n)``; all NaN where it is not finite."""
    if not np.isfinite(symmetric).all():
        return np.full(len(symmetric), np.nan), np.full(symmetric.shape, np.nan)
    found = eigenvectors(symmetric)
    if found is None:
        find_blas_of_scipy()
        import scipy.linalg  # only what the quick algorithm does not converge on needs it

        with held_blas(_PRODUCTS_OF_SVD * _products(symmetric.shape)):
            found = scipy.linalg.eigh(symmetric, driver="ev")
    values, vectors = found
    return values, vectors


def tops_eigenvalues(bound: float, symmetric: Float64Array) -> bool:
    """Whether no eigenvalue of a symmetric matrix is above a number, by a Cholesky factorization."""
    rest = np.negative(symmetric)
    rest.reshape(-1)[:: len(rest) + 1] += bound
    try:
        with held_blas(rest.size * len(rest) // 3):
            np.linalg.cholesky(rest)
    except np.linalg.LinAlgError:
        return False
    return True


def _lapack_svd(x: Float64Array, *, vectors: bool) -> Any:
    # NumPy's and not SciPy's, which would hold the interpreter's lock meanwhile.
    try:
        with held_blas(_PRODUCTS_OF_SVD * _products(x.shape)):
            return np.linalg.svd(x, full_matrices=False) if vectors else np.linalg.svdvals(x)
    except np.linalg.LinAlgError:  # the quick algorithm does not converge on a few matrices
        if x.size >= INDEXABLE:
            raise
    find_blas_of_scipy()
    with held_blas(_PRODUCTS_OF_SVD * _products(x.shape)):
        factors = slow_svd(x)
    return factors if vectors else factors[1]


def _products(shape: tuple[int, ...]) -> int:
    """What a matrix takes to be multiplied by its transpose."""
    return math.prod(shape) * min(shape)
