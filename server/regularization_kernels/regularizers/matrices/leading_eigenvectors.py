"""The leading eigenvectors of a symmetric matrix: of all that are there, only those that are needed.

The matrix is brought to tridiagonal form, from which all eigenvalues are found soon; how many vectors are
needed is then decided, and only those are turned back. A few are found one by one, and what they miss is
measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...arrays import Float64Array
from .blas import find_blas_of_scipy, held_blas
from .lapack import INDEXABLE, all_eigenvectors, eigenvalues_of, last_eigenvectors, tridiagonal
from .linear_algebra import eigenvectors, lapack_error

_FEW = 4
"""Vectors are few where they are one in so many."""


@dataclass(frozen=True, slots=True)
class LeadingEigenvectors:
    """Of a symmetric matrix ``(n, n)`` all eigenvalues, and the vectors of the first k of them."""

    values: Float64Array
    """``(n,)``, descending."""
    vectors: Float64Array
    """``(n, k)``, in columns."""
    residual: float
    """The norm of what the matrix times the vectors was measured to differ from the vectors times their
    values by; 0 where that is within LAPACK's errors and was not measured."""


def leading_eigenvectors(
    symmetric: Float64Array, wanted: Callable[[Float64Array], int]
) -> LeadingEigenvectors | None:
    """The leading eigenvectors, as many as the eigenvalues make needed.

    Args:
        symmetric: ``(n, n)``, finite, not empty.
        wanted: From the eigenvalues ``(n,)``, descending, how many vectors are, 0 to n.

    Returns:
        None where LAPACK does not converge.

    Source: where they are few, Dhillon, Parlett and Voemel (2006), The design and implementation of the MRRR
    algorithm; else Gu and Eisenstat (1995), A divide-and-conquer algorithm for the symmetric tridiagonal
    eigenproblem.
    """
    size = len(symmetric)
    if symmetric.size >= INDEXABLE:
        found = eigenvectors(symmetric)
        return None if found is None else _of_all(*found, wanted)
    find_blas_of_scipy()
    with held_blas(size**3):
        form = tridiagonal(symmetric)
    ascending = eigenvalues_of(form)
    if ascending is None:
        return None
    values = ascending[::-1]
    count = wanted(values)
    if count == 0:
        return LeadingEigenvectors(values, np.empty((size, 0)), 0.0)
    if count * _FEW > size:
        with held_blas(2 * size**3):
            rows = all_eigenvectors(form, count)
        return None if rows is None else LeadingEigenvectors(values, rows[::-1].T, 0.0)
    with held_blas(2 * symmetric.size * count):
        rows = last_eigenvectors(form, count)
    return None if rows is None else _measured(symmetric, values, rows[::-1].T)


def _of_all(
    ascending: Float64Array, vectors: Float64Array, wanted: Callable[[Float64Array], int]
) -> LeadingEigenvectors:
    values = ascending[::-1]
    return LeadingEigenvectors(values, vectors[:, ::-1][:, : wanted(values)], 0.0)


def _measured(
    symmetric: Float64Array, values: Float64Array, vectors: Float64Array
) -> LeadingEigenvectors | None:
    """The best in the span of vectors, if they are those of the first values, with what they miss."""
    count = vectors.shape[1]
    with held_blas(2 * symmetric.size * count):
        vectors = np.linalg.qr(vectors)[0]
        images = symmetric @ vectors
        small = vectors.T @ images
    found = eigenvectors(small)
    if found is None:
        return None
    own, turned = found[0][::-1], found[1][:, ::-1]
    with held_blas(2 * vectors.size * count):
        vectors, images = vectors @ turned, images @ turned
    residual = math.sqrt(float(np.add.reduce(np.square(images - vectors * own).reshape(-1))))
    # All eigenvalues are right to within LAPACK's errors: so a vector that was missed would show.
    off = residual + 2.0 * lapack_error(symmetric.shape) * float(np.max(np.abs(values)))
    if not np.all(np.abs(own - values[:count]) <= off):
        return None
    return LeadingEigenvectors(np.concatenate((own, values[count:])), vectors, residual)
