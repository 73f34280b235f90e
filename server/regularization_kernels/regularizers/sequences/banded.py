"""Differences of one order of rows as a matrix D, and the banded equations of least squares with them."""

from __future__ import annotations

from math import comb

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...interruption import go_on
from ..matrices.lapack import factor_banded, solve_banded


def difference(x: Float64Array, order: int) -> Float64Array:
    """D x for each row: differences of differences, each rounded."""
    go_on()
    return np.diff(x, order, axis=1)


def spread(u: Float64Array, order: int) -> Float64Array:
    """Dᵀu for each row, which is the differences of u between zeros."""
    go_on()
    differences = np.diff(np.pad(u, ((0, 0), (order, order))), order, axis=1)
    return -differences if order % 2 else differences


class Equations:
    """x + Dᵀu = a and D x − Θu = b for each row, with a diagonal Θ.

    Unknowns alternate, so that a difference stands amid its elements and the matrix is banded. LAPACK works
    on few bands one after the other, on one thread.

    Args:
        theta: ``(rows, n - order)``, the diagonals.
        free: Of the same shape: where it is not, u is 0 and its equation left out.
        order: Of the differences, >= 1.
    """

    def __init__(self, theta: Float64Array, free: npt.NDArray[np.bool_], order: int) -> None:
        go_on()
        rows, count = theta.shape
        self._free = free
        self._length = 2 * (count + order)
        self._bands = _bands(order)
        self._u = slice(self._bands, self._bands + 2 * count, 2)
        matrix = np.zeros((rows, self._length, 3 * self._bands + 1))
        diagonal = 2 * self._bands
        matrix[:, :, diagonal] = 1.0
        matrix[:, self._u, diagonal] = np.where(free, -theta, 1.0)
        for j in range(order + 1):
            entries = np.where(free, (-1.0) ** (order - j) * comb(order, j), 0.0)
            after = self._bands - 2 * j  # how far the difference stands after its element j
            matrix[:, self._u, diagonal - after] = entries
            matrix[:, 2 * j : 2 * (j + count) : 2, diagonal + after] = entries
        self._factors = matrix.reshape(-1, matrix.shape[2])
        self._pivots = factor_banded(self._factors, self._bands)

    @staticmethod
    def numbers(order: int) -> int:
        """Float64 numbers that the equations need for each element."""
        return 2 * (3 * _bands(order) + 1)

    def solve(self, a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
        """The x and u for these right sides, where somebody waits for them."""
        go_on()
        sides = np.zeros((a.shape[0], self._length))
        sides[:, ::2] = a
        sides[:, self._u] = np.where(self._free, b, 0.0)
        solve_banded(self._factors, self._bands, self._pivots, sides.reshape(-1))
        return sides[:, ::2], sides[:, self._u]


def _bands(order: int) -> int:
    """Bands above the diagonal, and below; also the place of the first difference among the unknowns."""
    return 2 * (order // 2) + 1
