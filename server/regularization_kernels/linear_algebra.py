"""LAPACK, held to one thread so that its bits and its share of the cores do not vary."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController

    from .regularizer import FloatArray

Float64Array = npt.NDArray[np.float64]

_limiting = Lock()


def singular_value_decomposition(x: FloatArray) -> tuple[Float64Array, Float64Array, Float64Array]:
    """U, σ (descending) and Vᵀ of a matrix, in float64; all NaN where x is not finite.

    Args:
        x: ``(m, n)``; either may be 0.

    Returns:
        ``(m, k)``, ``(k,)`` and ``(k, n)`` with k = min(m, n).
    """
    rows, columns = x.shape
    k = min(rows, columns)
    if not np.isfinite(x).all():
        return np.full((rows, k), np.nan), np.full(k, np.nan), np.full((k, columns), np.nan)
    with single_threaded_blas():
        u, singular_values, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    return u, singular_values, vt


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread meanwhile; one caller at a time where that has to be arranged."""
    controller = _blas()
    if all(library["num_threads"] == 1 for library in controller.info()):
        yield
        return
    with _limiting, controller.limit(limits=1):
        yield


@cache
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController  # only these rows need it

    return ThreadpoolController().select(user_api="blas")
