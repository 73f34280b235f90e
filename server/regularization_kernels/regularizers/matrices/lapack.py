"""Routines of SciPy's LAPACK, called without the interpreter's lock.

SciPy's own wrappers hold it for the whole of a call, which stops every other thread meanwhile. The routines
themselves are there for all to call (``scipy.linalg.cython_lapack``); ``ctypes`` lets the lock go.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array

INDEXABLE = 1 << 31
"""These routines count in 32 bits."""

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
