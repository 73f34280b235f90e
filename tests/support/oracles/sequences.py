"""Proximal points of penalties of differences, from their dual problems and without the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from tests.support.oracles.minimizers import Array, Formula, Oracle

Analysis = Callable[[Any, int], NDArray[np.float64]]
"""The matrix A, strengths in it, of a row's penalty Σ|A x|."""


def rows_of(x: Array) -> Array:
    """The elements as a matrix, whose rows are those along the last axis."""
    return x.reshape(-1, x.shape[-1]) if x.size else np.empty((0, 1))


def differences(order: int, length: int) -> NDArray[np.float64]:
    """The matrix of the differences of that order; no rows where there are none."""
    return np.diff(np.eye(length), order, axis=0) if order < length else np.empty((0, length))


def by_dual(analysis: Analysis) -> Oracle:
    """Oracle for Σ|A x|: what is left over of the row when the nearest γAᵀu with all |u| ≤ 1 is taken off.

    SciPy's solver for bounded least squares, an active-set method, finds u.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula  # the caller compares objectives by it
        found = np.array(v, dtype=np.float64)
        for row in rows_of(found):
            matrix = step_size * analysis(regularizer, row.size)
            matrix = matrix[np.any(matrix != 0, axis=1)]
            if matrix.size:
                u = lsq_linear(matrix.T, row, (-1.0, 1.0), method="bvls", tol=1e-15, max_iter=1000).x
                row -= matrix.T @ u
        return found

    return find


def image_differences(height: int, width: int) -> NDArray[np.float64]:
    """The matrix of the differences of neighbours in the rows of an image, and of those in its columns."""
    along_rows = np.kron(np.eye(height), differences(1, width))
    along_columns = np.kron(differences(1, height), np.eye(width))
    return np.vstack((along_rows, along_columns))


def by_image_dual(strength: Callable[[Any], float]) -> Oracle:
    """Oracle for the total variation of images: what is left over of each, by SciPy's active-set method."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula  # the caller compares objectives by it
        found = np.array(v, dtype=np.float64)
        for image in found.reshape(-1, *v.shape[-2:]):
            matrix = step_size * strength(regularizer) * image_differences(*image.shape)
            if matrix.size and matrix.any():
                pull = lsq_linear(
                    matrix.T, image.ravel(), (-1.0, 1.0), method="bvls", tol=1e-15, max_iter=2000
                )
                image -= (matrix.T @ pull.x).reshape(image.shape)
        return found

    return find


def off_images(point: Array, slope: Array, bound: float) -> float:
    """What a slope misses of being Aᵀu with |u| ≤ bound, and bound·sign(Ap) where Ap is not 0."""
    worst = 0.0
    for p, s in zip(point.reshape(-1, *point.shape[-2:]), slope.reshape(-1, *point.shape[-2:]), strict=True):
        matrix = image_differences(*p.shape)
        jumps = np.sign(matrix @ p.ravel())
        free = jumps == 0
        rest = s.ravel() - bound * matrix[~free].T @ jumps[~free]
        if free.any() and bound > 0:
            found = lsq_linear(matrix[free].T, rest, (-bound, bound), method="bvls", tol=1e-15, max_iter=2000)
            rest = rest - matrix[free].T @ found.x
        worst = max(worst, float(np.max(np.abs(rest))))
    return worst


def off_dual(matrix: NDArray[np.float64], point: Array, slope: Array, bound: float) -> float:
    """What a slope misses of being Aᵀu with |u| ≤ bound, and bound·sign(Ap) where Ap is clearly not 0.

    Args:
        matrix: A, of full row rank.
        point: p.
        slope: What should be a subgradient of bound·Σ|Ap|.
        bound: The strength.
    """
    if not matrix.size:
        return float(np.max(np.abs(slope), initial=0.0))
    u = np.linalg.lstsq(matrix.T, slope, rcond=None)[0]
    miss = float(np.max(np.abs(matrix.T @ u - slope)))
    jumps = matrix @ point
    noise = 1e-11 * np.max(np.abs(matrix) @ np.abs(point), initial=0.0)
    tight = np.where(np.abs(jumps) > noise, np.abs(u - bound * np.sign(jumps)), 0.0)
    return float(max(miss, np.max(np.abs(u)) - bound, np.max(tight)))
