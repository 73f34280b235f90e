"""The nearest matrix of low rank, from the leading eigenvectors of the Gram matrix."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...arrays import DataType, Float64Array
from .blas import held_blas
from .gram_factors import gram_error, norm_in_range, rounding_room
from .leading_eigenvectors import LeadingEigenvectors, block_size, leading_eigenvectors, proved_gap
from .linear_algebra import EPSILON, eigenvectors, gram

_FEW = 16
"""The iteration pays where its vectors are one in so many; else all are found."""


def nearest_of_low_rank(
    x: Float64Array, rank: int, data_type: DataType, slack: Callable[[float], float]
) -> Float64Array | None:
    """The nearest matrix of a rank, where it is found soon, and told well enough for the data type.

    It is the product X·P with the projection on the leading singular vectors. With P̂ in its place, whose
    vectors have the residual r, in a Gram matrix that is e off, with a gap g below their eigenvalues,
    X·(P̂ − P) is at most √2·σ_k·(r + e)/g: its parts in the span of the leading left vectors, and across it,
    are those of e times σ_i/(λ_i − λ_j), i <= k < j (Davis and Kahan), and that falls with λ_i. This may be
    as much as half of what rounding to the data type takes, in the norm of all elements.

    Args:
        x: ``(m, n)``, not empty.
        rank: >= 0, at most the shorter side.
        data_type: To which the result is rounded.
        slack: From the largest singular value, up to which distance a matrix counts as of that rank.

    Returns:
        x itself where it counts. None where x is not finite, the rank is 0 or no bound, or it is not certain
        that the result is good enough.
    """
    norm, few = norm_in_range(x), min(x.shape)
    if not (norm and 0 < rank < few):
        return None
    # No gap is more than λ_k <= λ₁, and no σ₁ less than its share.
    least = math.sqrt(2.0 / few) * norm * gram_error(x.shape, norm, norm)
    if least > rounding_room(norm, data_type):
        return None
    products = gram(x)

    def enough(values: Float64Array, gap: float) -> float:
        largest, kept = math.sqrt(float(values[0])), float(np.add.reduce(values))
        unclear = 2.0 * gram_error(x.shape, norm, largest) * float(values[0])
        if norm * norm - kept <= slack(largest) ** 2 + unclear:
            return math.inf  # there may be nothing else
        last = math.sqrt(max(float(values[-1]), 0.0))
        return (
            0.5 * rounding_room(math.sqrt(kept), data_type) * gap / (math.sqrt(2.0) * last) if last else 0.0
        )

    some = _FEW * block_size(rank) <= few
    found = leading_eigenvectors(products, rank, enough) if some else _first_of_all(products, rank)
    if found is None:
        return None
    near = _projected(x, found.vectors)
    largest = math.sqrt(float(found.values[0]))
    distance, errors = _norm(x - near), EPSILON * few * math.sqrt(rank) * norm
    if distance + errors <= slack(largest):
        return x
    off = found.residual + gram_error(x.shape, norm, largest) * float(found.values[0])
    gap = proved_gap(products, found) if some else float(found.values[-1]) - found.following
    gap -= 2.0 * off  # between eigenvalues of the exact Gram matrix
    if gap <= 0.0:
        return None
    errors += math.sqrt(2.0 * float(found.values[-1])) * off / gap
    good = errors <= rounding_room(_norm(near), data_type) and distance - errors > slack(largest)
    return near if good else None


def _first_of_all(products: Float64Array, count: int) -> LeadingEigenvectors | None:
    found = eigenvectors(products)
    if found is None:
        return None
    values, vectors = found[0][::-1], found[1][:, ::-1]
    return LeadingEigenvectors(values[:count], vectors[:, :count], float(values[count]), 0.0)


def _projected(x: Float64Array, vectors: Float64Array) -> Float64Array:
    with held_blas(2 * x.size * vectors.shape[1]):
        if len(x) < x.shape[1]:
            return vectors @ (vectors.T @ x)
        return (x @ vectors) @ vectors.T


def _norm(x: Float64Array) -> float:
    return math.sqrt(float(np.add.reduce(np.square(x).reshape(-1))))
