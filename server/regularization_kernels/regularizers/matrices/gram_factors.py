"""Singular values and vectors by way of the Gram matrix, for half the time of a decomposition, or less.

The eigenvalues of XᵀX are the squares of X's singular values. So what rounding does to them is told by the
square of the largest, and the small ones drown in it: where that would show, ``singular_value_decomposition``
is the way. A step that cuts singular values at a threshold is a function of the Gram matrix that is Lipschitz
there, which bounds what rounding does to the step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...arrays import DataType, Float64Array
from ...formats import limits
from .blas import held_blas
from .leading_eigenvectors import leading_eigenvectors
from .linear_algebra import EPSILON, additions, gram, lapack_error

_SHARE = 0.5
"""Of what rounding to the data type does, this much may be added."""
_CHANGE = math.sqrt(2.0)
"""Of vectors whose residual is across them, this times its norm changes the matrix to one that has them."""
_LEAST, _LARGEST = 2.0**-256, 2.0**256
"""Of norms whose fourth powers are in range."""


@dataclass(frozen=True, slots=True)
class GramFactors:
    """Singular values of a matrix ``(m, n)``, k = min(m, n) of them, and its singular vectors on one side."""

    values: Float64Array
    """``(k,)``, descending."""
    vectors: Float64Array
    """Those of the values above the threshold, ``(k, count)``, in columns: of the right, or of the left where
    the matrix has fewer rows than columns."""
    error: float
    """How far the Gram matrix may be from the one that has these for eigenvalues and vectors, in the norm of
    all elements and in units of the largest eigenvalue."""

    def all_below(self, threshold: float) -> bool:
        """Whether all singular values certainly are."""
        return float(self.values[0]) * (1.0 + self.error) <= threshold

    def surplus(self, x: Float64Array, threshold: float) -> Float64Array:
        """``U·max(σ − threshold, 0)·Vᵀ``: what of the matrix exceeds a threshold in its singular values."""
        shares = 1.0 - threshold / self.values[: self.vectors.shape[1]]
        return self._weighted(x, self.vectors, shares)

    def _weighted(self, x: Float64Array, vectors: Float64Array, shares: Float64Array) -> Float64Array:
        # The matrix times V·diag(shares)·Vᵀ, in the order that takes less work.
        wide, (size, count) = len(x) < x.shape[1], vectors.shape
        if 2 * count <= size:
            with held_blas(2 * x.size * count):
                if wide:
                    return (vectors * shares) @ (vectors.T @ x)
                return (x @ vectors) @ (vectors * shares).T
        halves = vectors * np.sqrt(shares)
        with held_blas((x.size + size * count) * size):
            shrinking = halves @ halves.T
            return shrinking @ x if wide else x @ shrinking


def gram_factors(
    x: Float64Array, threshold: float, data_type: DataType, most: float = math.inf
) -> GramFactors | None:
    """The factors, if they serve to cut singular values at a threshold.

    They do where neither the part of the matrix above the threshold nor the part below it may be off by more
    than half of what rounding it to the data type takes, in the norm of all elements.

    The surplus is X·h(G), with G the Gram matrix and h(λ) = max(1 − t/√λ, 0), whose slope is at most
    1/(2·t²). So with a Gram matrix that is e·σ₁² off it is ½·(σ₁/t)²·e·σ₁ off: h is as Lipschitz of symmetric
    matrices, in the norm of all elements. Products are off by EPSILON/2 for each addition, times the norms of
    their factors, and the eigenvectors by LAPACK's errors.

    Args:
        x: ``(m, n)``, not empty.
        threshold: >= 0.
        data_type: To which the step is rounded.
        most: What else the errors must not exceed.

    Returns:
        None where they do not serve, or x is not finite: where that is certain before, little is computed.
    """
    norm = norm_in_range(x)
    if not (norm and threshold > EPSILON * norm):
        return None
    # At first the largest singular value, with which errors grow, is known from below alone, and the parts,
    # with which the room grows, from above.
    root = math.sqrt(min(x.shape))
    room = min(rounding_room(min(norm, threshold * root), data_type), most)
    if _error(x.shape, norm, norm / root, threshold) > room:
        return None
    products = gram(x)
    # The sum of the squared eigenvalues is at most the largest times their sum.
    largest = math.sqrt(float(np.add.reduce(np.square(products).reshape(-1)))) / norm
    if _error(x.shape, norm, largest, threshold) > room:
        return None

    def above(squares: Float64Array) -> int:
        return int(np.count_nonzero(_roots(squares) > threshold))

    found = leading_eigenvectors(products, above)
    if found is None:
        return None
    values = _roots(found.values)
    vectors = found.vectors[:, : above(found.values)]
    missed = _CHANGE * found.residual / float(found.values[0])
    factors = GramFactors(values, vectors, gram_error(x.shape, norm, float(values[0])) + missed)
    if factors.all_below(threshold):
        return factors
    parts = (np.maximum(values - threshold, 0.0), np.minimum(values, threshold))
    part = math.sqrt(min(float(np.add.reduce(np.square(of))) for of in parts))
    room = min(rounding_room(part, data_type), most)
    return factors if _error(x.shape, norm, float(values[0]), threshold, missed) <= room else None


def _roots(squares: Float64Array) -> Float64Array:
    return np.sqrt(np.maximum(squares, 0.0))


def _error(
    shape: tuple[int, ...], norm: float, largest: float, threshold: float, missed: float = 0.0
) -> float:
    few = min(shape)
    over = min(few, (norm / threshold) ** 2)
    cut = 0.5 * (largest / threshold) ** 2 * (gram_error(shape, norm, largest) + missed)
    products = 0.5 * few * EPSILON * math.sqrt(over) * (2.0 * norm + largest * math.sqrt(over))
    return (cut + 2.0 * lapack_error(shape)) * largest + products


def norm_in_range(x: Float64Array) -> float:
    """The norm of all elements, if its fourth power is in range; 0 otherwise, and where x is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.sqrt(float(np.add.reduce(np.square(x).reshape(-1))))
    return norm if _LEAST < norm < _LARGEST else 0.0


def gram_error(shape: tuple[int, ...], norm: float, largest: float) -> float:
    """How far off Gram matrix and LAPACK's eigenvectors may be together, in units of the largest eigenvalue.

    Args:
        shape: Of the matrix.
        norm: Of all its elements.
        largest: Its largest singular value.
    """
    return 0.5 * additions(max(shape)) * EPSILON * (norm / largest) ** 2 + lapack_error(shape)


def rounding_room(norm: float, data_type: DataType) -> float:
    """How much of errors a result with this norm may have: half of what rounding takes, in that norm.

    An element is rounded by at most half a step, which is at least a quarter of eps of it. Fixed point is
    rounded by more, as its elements are at most 1.
    """
    of = limits(data_type)
    return _SHARE * 0.25 * max(of.eps, of.spacing) * norm
