"""What matrix regularizers share: LAPACK, on one thread, so that neither bits nor its share of cores vary."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Self

import numpy as np

from .errors import LayoutInvalid
from .formats import limits
from .regularizer import FLOAT64, DataType, Float64Array, Regularizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController

_limiting = Lock()


class MatrixRegularizer(Regularizer):
    """A penalty on a matrix's singular values."""

    __slots__ = ("_precision",)

    _precision: float

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer made ready for a matrix of this shape and data type."""
        if len(shape) != 2:
            raise LayoutInvalid(f"must have 2 axes for {self.name}, got {list(shape)}", field="shape")
        ready = copy(self)
        object.__setattr__(ready, "_precision", float(limits(data_type).eps))
        return ready

    def workspace(self, elements: int) -> int:
        """The factors, a copy of the matrix and LAPACK's own, which is about as much again."""
        return 5 * elements

    def rank(self, x: Float64Array, singular_values: Float64Array) -> int:
        """How many singular values are not 0, as far as the elements' data type can tell; NaN counts."""
        precision = getattr(self, "_precision", float(np.finfo(np.float64).eps))
        tolerance = max(x.shape) * precision * np.max(singular_values, initial=0.0)
        return int(np.count_nonzero(~(singular_values <= tolerance)))


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
    with single_threaded_blas():
        u, singular_values, vt = np.linalg.svd(x, full_matrices=False)
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
