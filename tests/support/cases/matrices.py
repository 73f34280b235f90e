"""Penalties of matrices, and the map that is none."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from regularization_kernels import (
    NuclearBall,
    NuclearNorm,
    Orthogonality,
    PositiveSemidefinite,
    RankBall,
    SpectralBall,
    SpectralNorm,
    SpectralNormalization,
    Stiefel,
)
from regularization_kernels.errors import FieldOutOfRange, LayoutInvalid

from tests.support.cases.folded import of_matrices
from tests.support.cases.parameters import bad_numbers
from tests.support.cases.row import Map, Rejected, Row
from tests.support.oracles.matrices import (
    by_dual_ball,
    by_dual_factors,
    by_low_factors,
    by_nuclear_ball,
    by_polar_iteration,
    by_sign_iteration,
    by_whole_matrices,
)
from tests.support.oracles.minimizers import Array, by_factors
from tests.support.oracles.summation import Rule, Terms, pairwise

TIGHT = 1e-11
"""How far off a set the documented formula sees a matrix as inside."""


def nuclear(x: Array) -> float:
    """The sum of the singular values."""
    return float(np.linalg.norm(x, "nuc"))


def off_nuclear_norm(regularizer: NuclearNorm, point: Array, slope: Array) -> float:
    """What a slope misses of a subgradient: spectral norm at most the strength, tight along the point."""
    if not point.size:
        return 0.0
    excess = float(np.linalg.norm(slope, 2)) - regularizer.strength
    slack = regularizer.strength * nuclear(point) - float(np.sum(slope * point))
    return float(max(excess, abs(slack), 0.0))


def off_spectral_norm(regularizer: SpectralNorm, point: Array, slope: Array) -> float:
    """Likewise with the norms exchanged, since each is the other's dual."""
    excess = nuclear(slope) - regularizer.strength
    slack = regularizer.strength * float(np.linalg.norm(point, 2)) - float(np.sum(slope * point))
    return float(max(excess, abs(slack), 0.0))


def off_spectral_cone(regularizer: SpectralBall, point: Array, slope: Array) -> float:
    """What a slope misses of the normal cone: no matrix in the ball is further along it than the point."""
    return abs(regularizer.radius * nuclear(slope) - float(np.sum(slope * point)))


def off_nuclear_cone(regularizer: NuclearBall, point: Array, slope: Array) -> float:
    """Likewise: the largest singular value is the dual norm."""
    return abs(regularizer.radius * float(np.linalg.norm(slope, 2)) - float(np.sum(slope * point)))


def off_low_rank(regularizer: RankBall, point: Array, slope: Array) -> float:
    """What a slope misses of the normal space: no part of it along the point's columns or rows."""
    if regularizer.rank == 0:
        return 0.0
    along_columns, along_rows = point.T @ slope, slope @ point.T
    return float(max(np.abs(along_columns).max(), np.abs(along_rows).max()))


def off_semidefinite(regularizer: PositiveSemidefinite, point: Array, slope: Array) -> float:
    """What a slope misses of the normal cone: eigenvalues at most 0, and nothing along the point."""
    del regularizer
    if not point.size:
        return 0.0
    above = float(np.max(np.linalg.eigvalsh((slope + slope.T) / 2)))
    return max(above, abs(float(np.sum(slope * point))))


def off_orthonormal(regularizer: Stiefel, point: Array, slope: Array) -> float:
    """What a slope misses of the normal space: the point times a symmetric matrix."""
    del regularizer
    inner = point.T @ slope
    outside = slope - point @ inner
    return float(max(np.abs(outside).max(), np.abs(inner - inner.T).max()))


def off_gradient(regularizer: Orthogonality, point: Array, slope: Array) -> float:
    """Distance of a slope from the gradient."""
    return float(np.abs(slope - regularizer.strength * point @ _misses(point)).max(initial=0.0))


def _misses(w: Array) -> Array:
    return np.asarray(w.T @ w - np.eye(w.shape[1]))


def within(inside: bool, x: Array) -> list[float]:
    """The terms of a set: 0 or infinity, NaN where the matrix has one."""
    if np.isnan(x).any():
        return [math.nan]
    return [0.0 if inside else math.inf]


def spectral_norm(x: Array) -> float:
    """The largest singular value, 0 of nothing; NaN is NaN."""
    return float(np.linalg.norm(x, 2)) if x.size and np.isfinite(x).all() else float(np.sum(x))


def nuclear_norm(x: Array) -> float:
    """The sum of the singular values, 0 of nothing; NaN is NaN."""
    return nuclear(x) if x.size and np.isfinite(x).all() else float(np.sum(x))


def has_rank(x: Array, rank: int) -> bool:
    """Whether what is left without the largest parts is nothing but rounding."""
    if not x.size or not np.isfinite(x).all():
        return True
    values = np.linalg.svd(x, compute_uv=False)
    return bool(np.all(values[rank:] <= TIGHT * values[0]))


def is_semidefinite(x: Array) -> bool:
    """Whether a matrix is symmetric, and its quadratic form nowhere below 0, but for rounding."""
    if not x.size or not np.isfinite(x).all():
        return True
    room = TIGHT * float(np.abs(x).max())
    return bool(np.abs(x - x.T).max() <= room and np.linalg.eigvalsh((x + x.T) / 2)[0] >= -room * len(x))


def bits_of_singular_values(x: Array) -> list[float]:
    """NumPy's LAPACK's, as the kernels call it: of the transpose, which lies as LAPACK reads."""
    return [float(s) for s in np.linalg.svd(x.T, compute_uv=False)] if x.size else []


def a_step_everywhere(x: Array, dtype: Any) -> float:
    """The norm of the distances of neighbours in the data type; 0 in float64, to which nothing is rounded."""
    return 0.0 if dtype is np.float64 else float(np.linalg.norm(np.spacing(np.abs(x).astype(dtype))))


def spectral_ball_summands(meant: Any, x: Array, weights: Array | None) -> Terms:
    """0 or infinity, by the largest singular value and two units in its last place."""
    assert weights is None
    (r, dtype), sigma = meant, spectral_norm(x)
    slack = (2.0 * float(np.finfo(dtype).eps) + 1e-14) * r.radius
    return [(0, within(sigma <= r.radius + slack, x)[0])]


def nuclear_ball_summands(meant: Any, x: Array, weights: Array | None) -> Terms:
    """0 or infinity, by the sum of the singular values and two units in its last place."""
    assert weights is None
    (r, dtype), total = meant, nuclear_norm(x)
    slack = (2.0 * float(np.finfo(dtype).eps) + 1e-14) * r.radius
    return [(0, within(total <= r.radius + slack, x)[0])]


def rank_ball_summands(meant: Any, x: Array, weights: Array | None) -> Terms:
    """0 or infinity, by the distance to the nearest matrix of that rank."""
    assert weights is None
    r, dtype = meant
    values = bits_of_singular_values(x)
    errors = 4 * (max(x.shape) + 4) * 2.0**-52 * values[0] * math.sqrt(len(values)) + x.size * 1e-323
    room = a_step_everywhere(x, dtype) + errors
    return [(0, within(math.hypot(*values[r.rank :]) <= room, x)[0])]


def semidefinite_summands(meant: Any, x: Array, weights: Array | None) -> Terms:
    """0 or infinity, by the distance to the nearest matrix of the set."""
    assert weights is None
    values = np.linalg.eigvalsh(x / 2 + x.T / 2)
    errors = 4 * (len(x) + 4) * 2.0**-52 * float(np.abs(values).max()) * math.sqrt(len(x)) + x.size * 1e-323
    room = a_step_everywhere(x, meant[1]) + errors
    distance = math.hypot(*(x / 2 - x.T / 2).ravel().tolist(), *np.minimum(values, 0.0).tolist())
    return [(0, within(distance <= room, x)[0])]


def stiefel_summands(meant: Any, x: Array, weights: Array | None) -> Terms:
    """0 or infinity, by the products of columns, and how far a step in every element takes those."""
    assert weights is None
    room = (1.0 + a_step_everywhere(x, meant[1])) ** 2 - 1.0 + 1e-14
    return [(0, within(float(np.linalg.norm(_misses(x))) <= room, x)[0])]


def orthogonality_summands(r: Any, x: Array, weights: Array | None) -> Terms:
    """A quarter of the squares of the smaller product's misses, and of the columns beyond the rows."""
    del r
    assert weights is None
    rows, columns = x.shape
    product = x @ x.T - np.eye(rows) if rows < columns else _misses(x)
    return [(0, 0.25 * (pairwise([m * m for m in product.ravel().tolist()]) + max(columns - rows, 0)))]


def singular_summands(r: Any, x: Array, weights: Array | None) -> Terms:
    """The sum of the singular values, at the place of the matrix's first element."""
    del r
    assert weights is None
    return [(0, math.fsum(bits_of_singular_values(x)))] if x.size else []


def largest_summand(r: Any, x: Array, weights: Array | None) -> Terms:
    """The largest singular value, at the place of the matrix's first element."""
    del r
    assert weights is None
    return [(0, value) for value in bits_of_singular_values(x)[:1]]


def with_type(regularizer: Any, dtype: Any) -> Any:
    """A set and the data type, which decides how far off it rounding puts a matrix."""
    return regularizer, dtype


def not_matrices(build: Any) -> tuple[Rejected, ...]:
    """The shapes that are no matrix's, and axes that there are not; ``build`` may be given an axis."""
    return (
        *(Rejected(LayoutInvalid, "shape", build, shape) for shape in ((), (12,))),
        Rejected(FieldOutOfRange, "axis", partial(build, axis=-1)),
        Rejected(FieldOutOfRange, "axis", partial(build, axis=2), (3, 3)),
        Rejected(FieldOutOfRange, "axis", partial(build, axis=2**31 - 1), (3, 2, 1)),
    )


def strengths(build: Any) -> tuple[Rejected, ...]:
    """What is wrong of a penalty with nothing but a strength."""
    return (
        *bad_numbers(lambda v: build(strength=v), "strength"),
        *not_matrices(partial(build, strength=1.0)),
    )


MATRICES: tuple[Row, ...] = (
    Row(
        name="nuclear_norm",
        terms=lambda r, x: [r.strength * s for s in np.linalg.svd(x, compute_uv=False)] if x.size else [],
        oracle=by_factors(lambda r: float(r.strength)),
        certificate=off_nuclear_norm,
        rule=Rule(singular_summands, scale=lambda r: float(r.strength)),
        instances={
            "": (NuclearNorm(strength=0.3), (3, 4)),
            "-tall": (NuclearNorm(strength=0.8), (5, 2)),
            "-row": (NuclearNorm(strength=0.3), (1, 6)),
            "-column": (NuclearNorm(strength=0.3), (6, 1)),
            "-free": (NuclearNorm(strength=0.0), (3, 3)),
            "-kernel": (NuclearNorm(strength=0.3), (3, 2, 1, 2)),
            "-outputs-last": (NuclearNorm(strength=0.3, axis=2), (2, 2, 3)),
        },
        rejected=strengths(NuclearNorm),
    ),
    Row(
        name="spectral_norm",
        terms=lambda r, x: [r.strength * spectral_norm(x)],
        oracle=by_dual_factors(lambda r: float(r.strength)),
        certificate=off_spectral_norm,
        rule=Rule(largest_summand, scale=lambda r: float(r.strength)),
        instances={
            "": (SpectralNorm(strength=0.6), (3, 4)),
            "-tall": (SpectralNorm(strength=2.0), (4, 2)),
            "-free": (SpectralNorm(strength=0.0), (2, 3)),
            "-kernel": (SpectralNorm(strength=0.6, axis=1), (2, 3, 2)),
        },
        rejected=strengths(SpectralNorm),
    ),
    Row(
        name="spectral_ball",
        terms=lambda r, x: within(spectral_norm(x) <= r.radius * (1 + TIGHT), x),
        oracle=by_dual_ball(lambda r: float(r.radius)),
        certificate=off_spectral_cone,
        rule=Rule(spectral_ball_summands, rounded=with_type),
        instances={
            "": (SpectralBall(radius=0.9), (3, 4)),
            "-tall": (SpectralBall(radius=2.5), (5, 2)),
            "-point": (SpectralBall(radius=0.0), (2, 3)),
            "-kernel": (SpectralBall(radius=0.9), (3, 2, 2)),
            "-outputs-last": (SpectralBall(radius=0.9, axis=1), (4, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: SpectralBall(radius=v), "radius"),
            *not_matrices(partial(SpectralBall, radius=1.0)),
        ),
    ),
    Row(
        name="nuclear_ball",
        terms=lambda r, x: within(nuclear_norm(x) <= r.radius * (1 + TIGHT), x),
        oracle=by_nuclear_ball(lambda r: float(r.radius)),
        certificate=off_nuclear_cone,
        rule=Rule(nuclear_ball_summands, rounded=with_type),
        instances={
            "": (NuclearBall(radius=0.9), (3, 4)),
            "-tall": (NuclearBall(radius=2.5), (5, 2)),
            "-point": (NuclearBall(radius=0.0), (2, 3)),
            "-kernel": (NuclearBall(radius=1.5, axis=1), (2, 3, 2)),
        },
        rejected=(
            *bad_numbers(lambda v: NuclearBall(radius=v), "radius"),
            *not_matrices(partial(NuclearBall, radius=1.0)),
        ),
    ),
    Row(
        name="rank_ball",
        terms=lambda r, x: within(has_rank(x, r.rank), x),
        oracle=by_low_factors(lambda r: int(r.rank)),
        certificate=off_low_rank,
        rule=Rule(rank_ball_summands, rounded=with_type),
        instances={
            "": (RankBall(rank=1), (3, 4)),
            "-tall": (RankBall(rank=2), (4, 3)),
            "-zero": (RankBall(rank=0), (2, 3)),
            "-kernel": (RankBall(rank=2, axis=1), (2, 3, 2)),
        },
        rejected=(
            Rejected(FieldOutOfRange, "rank", lambda: RankBall(rank=-1)),
            Rejected(FieldOutOfRange, "rank", lambda: RankBall(rank=4), (3, 5)),
            Rejected(FieldOutOfRange, "rank", lambda: RankBall(rank=4), (5, 3)),
            Rejected(FieldOutOfRange, "rank", lambda: RankBall(rank=3, axis=1), (5, 2, 5)),
            *not_matrices(partial(RankBall, rank=1)),
        ),
    ),
    Row(
        name="orthogonality",
        terms=lambda r, x: (
            [r.strength / 4 * miss**2 for miss in _misses(x).ravel().tolist()] if x.size else []
        ),
        oracle=by_whole_matrices(lambda r: float(r.strength)),
        certificate=off_gradient,
        rule=Rule(orthogonality_summands, scale=lambda r: float(r.strength)),
        instances={
            "": (Orthogonality(strength=0.3), (4, 3)),
            "-wide": (Orthogonality(strength=0.2), (2, 4)),
            "-free": (Orthogonality(strength=0.0), (3, 3)),
            "-kernel": (Orthogonality(strength=0.3, axis=1), (2, 4, 1)),
        },
        rejected=strengths(Orthogonality),
    ),
    Row(
        name="positive_semidefinite",
        terms=lambda _, x: within(is_semidefinite(x), x),
        oracle=by_sign_iteration,
        certificate=off_semidefinite,
        rule=Rule(semidefinite_summands, rounded=with_type),
        instances={"": (PositiveSemidefinite(), (4, 4)), "-small": (PositiveSemidefinite(), (2, 2))},
        rejected=tuple(
            Rejected(LayoutInvalid, "shape", PositiveSemidefinite, shape)
            for shape in ((), (4,), (2, 3), (0, 1), (2, 2, 1), (2, 2, 2))
        ),
    ),
    Row(
        name="stiefel",
        terms=lambda _, x: within(not x.size or float(np.abs(_misses(x)).max()) <= TIGHT, x),
        oracle=by_polar_iteration,
        certificate=off_orthonormal,
        rule=Rule(stiefel_summands, rounded=with_type),
        instances={
            "": (Stiefel(), (4, 3)),
            "-square": (Stiefel(), (3, 3)),
            "-column": (Stiefel(), (5, 1)),
            "-kernel": (Stiefel(), (5, 1, 2)),
            "-outputs-last": (Stiefel(axis=1), (2, 4)),
        },
        rejected=(
            Rejected(LayoutInvalid, "shape", Stiefel, (3, 4)),
            Rejected(LayoutInvalid, "shape", Stiefel, (0, 1)),
            Rejected(LayoutInvalid, "shape", Stiefel, (3, 2, 2)),
            Rejected(LayoutInvalid, "shape", partial(Stiefel, axis=1), (4, 3)),
            *not_matrices(Stiefel),
        ),
    ),
)

ROWS: tuple[Row, ...] = tuple(map(of_matrices, MATRICES))

MAPS: tuple[Map, ...] = (
    Map(
        name="spectral_normalization",
        instances={
            "": (SpectralNormalization(target=1.5), (4, 3)),
            "-up": (SpectralNormalization(target=20.0, scale_up=True), (3, 4)),
            "-convolution": (SpectralNormalization(target=0.5), (4, 3, 2, 2)),
            "-transposed": (SpectralNormalization(target=0.5, axis=1), (3, 4, 2, 2)),
        },
        rejected=(
            *bad_numbers(lambda v: SpectralNormalization(target=v), "target"),
            Rejected(FieldOutOfRange, "target", partial(SpectralNormalization, target=0.0)),
            *not_matrices(partial(SpectralNormalization, target=1.0)),
        ),
    ),
)
