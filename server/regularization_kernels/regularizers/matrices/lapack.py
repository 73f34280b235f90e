"""Routines of SciPy's LAPACK, called without the interpreter's lock.

SciPy's own wrappers hold it for the whole of a call, which stops every other thread meanwhile. The routines
themselves are there for all to call (``scipy.linalg.cython_lapack``); ``ctypes`` lets the lock go.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array

INDEXABLE = 1 << 31
"""These routines count in 32 bits."""
_BLOCK = 64
"""Columns that they take at once, where they are given room."""

Pivots = npt.NDArray[np.int32]


def factor_banded(columns: Float64Array, bands: int) -> Pivots:
    """Factor a banded matrix in place, by ``dgbtrf``.

    Args:
        columns: ``(n, 3 * bands + 1)``, C-contiguous. For each column of the matrix: room for ``bands``
            numbers, those above the diagonal, the diagonal, those below.
        bands: Above the diagonal, and below.

    Returns:
        ``(n,)``, with which row each was exchanged.
    """
    size, height = columns.shape
    pivots, info = np.empty(size, np.int32), ctypes.c_int()
    _call("dgbtrf", size, size, bands, bands, columns, height, pivots, info)
    return pivots


def solve_banded(columns: Float64Array, bands: int, pivots: Pivots, side: Float64Array) -> None:
    """Put the solution in the place of a right side ``(n,)``, by ``dgbtrs``.

    Args:
        columns: What ``factor_banded`` made of the matrix.
        bands: Above its diagonal, and below.
        pivots: What ``factor_banded`` gave.
        side: The right side.
    """
    size, height = columns.shape
    info = ctypes.c_int()
    _call("dgbtrs", b"N", size, bands, bands, 1, columns, height, pivots, side, size, info)


def slow_svd(x: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """U, σ (descending) and Vᵀ by ``dgesvd``, which converges on matrices on which ``dgesdd`` does not.

    Args:
        x: ``(m, n)``, finite, not empty, of less than 2^31 elements.

    Returns:
        ``(m, k)``, ``(k,)`` and ``(k, n)`` with k = min(m, n).

    Raises:
        LinAlgError: If it does not converge either.
    """
    # LAPACK reads columns first, so it decomposes the transpose; read as rows, its factors are those of x.
    columns, rows = x.shape
    k = min(rows, columns)
    read, info = np.array(x, np.float64, order="C"), ctypes.c_int()
    u, values, vt = np.empty((columns, k)), np.empty(k), np.empty((k, rows))
    matrices = (b"S", b"S", rows, columns, read, rows, values, vt, rows, u, k)
    best = np.empty(1)
    _call("dgesvd", *matrices, best, -1, info)
    room = np.empty(int(best[0]))
    _call("dgesvd", *matrices, room, room.size, info)
    if info.value:
        raise np.linalg.LinAlgError(f"SVD of a matrix of shape {list(x.shape)} did not converge")
    return u, values, vt


class Tridiagonal(NamedTuple):
    """A symmetric matrix ``(n, n)`` as Q·T·Qᵀ, T with numbers on its diagonal and beside it alone."""

    diagonal: Float64Array
    """``(n,)``."""
    beside: Float64Array
    """``(n,)``, the last without a meaning."""
    reflectors: Float64Array
    """``(n, n)``: with the scales, what Q is the product of."""
    scales: Float64Array
    """``(n,)``."""


def tridiagonal(symmetric: Float64Array) -> Tridiagonal:
    """Reduce a matrix, by ``dsytrd``.

    Args:
        symmetric: ``(n, n)``, finite, of less than 2^31 elements and not empty.
    """
    size, info = len(symmetric), ctypes.c_int()
    form = Tridiagonal(np.empty(size), np.zeros(size), np.array(symmetric, order="C"), np.empty(size))
    room = np.empty(_BLOCK * size)
    places = (form.diagonal, form.beside, form.scales, room, room.size, info)
    _call("dsytrd", b"L", size, form.reflectors, size, *places)
    return form


def eigenvalues_of(form: Tridiagonal) -> Float64Array | None:
    """All of them ``(n,)``, ascending, by ``dsterf``; None where it does not converge."""
    values, info = form.diagonal.copy(), ctypes.c_int()
    _call("dsterf", values.size, values, form.beside.copy(), info)
    return None if info.value else values


def last_eigenvectors(form: Tridiagonal, count: int) -> Float64Array | None:
    """Those of the greatest eigenvalues, ascending, in rows ``(count, n)``, by ``dstemr``.

    It takes the less time the fewer they are. Their products with each other may be off by more than
    ``all_eigenvectors`` are.

    Args:
        form: Of the matrix.
        count: At least 1, at most n.

    Returns:
        None where it does not converge.
    """
    size, first = len(form.diagonal), len(form.diagonal) - count + 1
    bound, found, careful, info = ctypes.c_double(), ctypes.c_int(), ctypes.c_int(1), ctypes.c_int()
    values, vectors, supports = np.empty(size), np.empty((count, size)), np.empty(2 * count, np.int32)
    room, counts = np.empty(18 * size), np.empty(10 * size, np.int32)
    wanted = (b"V", b"I", size, form.diagonal.copy(), form.beside.copy(), bound, bound, first, size)
    places = (found, values, vectors, size, count, supports, careful, room, room.size, counts, counts.size)
    _call("dstemr", *wanted, *places, info)
    return None if info.value or found.value != count else _turned_back(form, vectors)


def all_eigenvectors(form: Tridiagonal, count: int) -> Float64Array | None:
    """The same by ``dstedc``, which finds all of the tridiagonal matrix, however few are asked for."""
    size, info = len(form.diagonal), ctypes.c_int()
    vectors, values = np.empty((size, size)), form.diagonal.copy()
    room, counts = np.empty(1 + 4 * size + size * size), np.empty(3 + 5 * size, np.int32)
    places = (vectors, size, room, room.size, counts, counts.size, info)
    _call("dstedc", b"I", size, values, form.beside.copy(), *places)
    return None if info.value else _turned_back(form, vectors[size - count :])


def _turned_back(form: Tridiagonal, vectors: Float64Array) -> Float64Array:
    # From eigenvectors of T, in rows, to those of the matrix.
    (count, size), info = vectors.shape, ctypes.c_int()
    room = np.empty(_BLOCK * count)
    factors = (form.reflectors, size, form.scales)
    _call("dormtr", b"L", b"L", b"N", size, count, *factors, vectors, size, room, room.size, info)
    return vectors


def _call(name: str, *arguments: Any) -> None:
    # Fortran takes everything by the place where it lies.
    places = [_place(argument) for argument in arguments]
    _routine(name, len(places))(*places)


def _place(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return argument.ctypes
    if isinstance(argument, bytes):
        return argument
    return ctypes.byref(ctypes.c_int(argument) if isinstance(argument, int) else argument)


@cache
def _routine(name: str, arguments: int) -> Any:
    from scipy.linalg import cython_lapack  # few calls need it

    capsule, of = cython_lapack.__pyx_capi__[name], ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", of))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    signature: bytes = name_of(capsule)
    if signature.count(b"*") != arguments or b"(int *" not in signature.replace(b"char *, ", b""):
        raise ImportError(f"SciPy's {name} takes other arguments than {arguments} places: {signature!r}")
    address = pointer_of(("PyCapsule_GetPointer", of))(capsule, signature)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)
