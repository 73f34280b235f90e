"""The nearest matrix of low rank, from the leading eigenvectors of the Gram matrix."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...arrays import DataType, Float64Array
from .blas import held_blas
from .gram_factors import gram_error, norm_in_range, rounding_room
from .leading_eigenvectors import leading_eigenvectors
from .linear_algebra import EPSILON, gram


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
    found = leading_eigenvectors(gram(x), lambda _: rank)
    if found is None:
        return None
    last, following = (max(float(found.values[place]), 0.0) for place in (rank - 1, rank))
    near = _projected(x, found.vectors)
    largest = math.sqrt(float(found.values[0]))
    distance, errors = _norm(x - near), EPSILON * few * math.sqrt(rank) * norm
    if distance + errors <= slack(largest):
        return x
    off = found.residual + gram_error(x.shape, norm, largest) * float(found.values[0])
    gap = last - following - 2.0 * off  # between eigenvalues of the exact Gram matrix
    if gap <= 0.0:
        return None
    errors += math.sqrt(2.0 * last) * off / gap
    good = errors <= rounding_room(_norm(near), data_type) and distance - errors > slack(largest)
    return near if good else None


def _projected(x: Float64Array, vectors: Float64Array) -> Float64Array:
    with held_blas(2 * x.size * vectors.shape[1]):
        if len(x) < x.shape[1]:
            return vectors @ (vectors.T @ x)
        return (x @ vectors) @ vectors.T


def _norm(x: Float64Array) -> float:
    return math.sqrt(float(np.add.reduce(np.square(x).reshape(-1))))
