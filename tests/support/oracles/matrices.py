"""Ways to find a matrix's proximal point without its singular values: factors, duals, Newton's method."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from tests.support.oracles.minimizers import Array, Formula, Oracle, by_factors

Slope = tuple[float, Array]

_OPTIONS = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}


def as_matrix(regularizer: Any, x: Array) -> Array:
    """The documented matrix: a row of each slice along an axis, the others in their order its columns."""
    axis = getattr(regularizer, "axis", None) or 0
    rows = [np.take(x, at, axis).ravel() for at in range(x.shape[axis])]
    columns = math.prod(x.shape[:axis] + x.shape[axis + 1 :])
    return np.array(rows, dtype=x.dtype).reshape(len(rows), columns)


def by_matrix(oracle: Oracle) -> Oracle:
    """Oracle for a segment of more axes, given one for matrices."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        places = as_matrix(regularizer, np.arange(v.size).reshape(v.shape)).astype(np.int64)
        found = np.empty(v.size)
        found[places] = oracle(formula, regularizer, as_matrix(regularizer, v), step_size)
        return found.reshape(v.shape)

    return find


def least(cost: Callable[[Array], Slope], start: Array) -> tuple[float, Array]:
    """A local minimum of a smooth function, by SciPy's quasi-Newton method, and where it is."""
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options=_OPTIONS)
    return float(found.fun), found.x


def by_dual_factors(strength: Callable[[Any], float]) -> Oracle:
    """Oracle for the spectral norm: what is left of a matrix without the nearest one in the dual's ball.

    The dual of the spectral norm is the nuclear norm (Moreau), and a matrix has a nuclear norm of at most t
    just if it is a product A Bᵀ with ½(|A|² + |B|²) <= t. The points of a sphere, less one coordinate, are
    all such pairs, so the nearest matrix is a minimum without constraints.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula
        radius = strength(regularizer) * step_size
        if radius == 0.0:
            return v
        return v - _nearest_in_nuclear_ball(v, radius)

    return find


def _nearest_in_nuclear_ball(v: Array, radius: float) -> Array:
    rows, columns = v.shape
    rank = min(rows, columns)
    scale = float(np.linalg.norm(v)) or 1.0
    target, radius = v / scale, radius / scale

    def product(flat: Array) -> tuple[Array, Array]:
        return flat[: rows * rank].reshape(rows, rank), flat[rows * rank :].reshape(columns, rank)

    def cost(point: Array) -> Slope:
        length = float(np.linalg.norm(point))
        on_sphere = point * (np.sqrt(2 * radius) / length)
        a, b = product(on_sphere[:-1])
        miss = a @ b.T - target
        slope = np.concatenate([(miss @ b).ravel(), (miss.T @ a).ravel(), [0.0]])
        along = on_sphere * (slope @ on_sphere / (on_sphere @ on_sphere))
        return float(np.sum(miss**2)) / 2, (slope - along) * (np.sqrt(2 * radius) / length)

    start = np.random.default_rng(5).normal(size=(rows + columns) * rank + 1)
    best = least(cost, start)[1]
    a, b = product((best * (np.sqrt(2 * radius) / np.linalg.norm(best)))[:-1])
    return np.asarray(a @ b.T * scale)


def by_nuclear_ball(radius: Callable[[Any], float]) -> Oracle:
    """Oracle for the ball of the nuclear norm: the nearest product of factors on a sphere, if not itself."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula, step_size
        bound, size = radius(regularizer), float(np.linalg.norm(v, "nuc"))
        if size <= bound:
            return v
        if bound == 0.0:
            return np.zeros_like(v)
        found = _nearest_in_nuclear_ball(v, bound)
        # What the search left outside comes in along the ray to 0.
        return np.asarray(found * min(1.0, bound / float(np.linalg.norm(found, "nuc"))))

    return find


def by_dual_ball(radius: Callable[[Any], float]) -> Oracle:
    """Oracle for the ball of the spectral norm: what is left without the proximal point of the dual norm."""
    dual = by_factors(radius)

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del step_size
        bound = radius(regularizer)
        if bound == 0.0:
            return np.zeros_like(v)
        found = v - dual(formula, regularizer, v, 1.0)
        # What the search left outside, which counts as infinitely bad, comes in along the ray to 0.
        return np.asarray(found * min(1.0, bound / float(np.linalg.norm(found, 2))))

    return find


def by_low_factors(rank: Callable[[Any], int]) -> Oracle:
    """Oracle for a bound on the rank: the best product of so few columns with so few rows."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula, step_size
        (rows, columns), few = v.shape, rank(regularizer)

        def product(flat: Array) -> tuple[Array, Array]:
            return flat[: rows * few].reshape(rows, few), flat[rows * few :].reshape(columns, few)

        def cost(flat: Array) -> Slope:
            a, b = product(flat)
            miss = a @ b.T - v
            slope = np.concatenate([(miss @ b).ravel(), (miss.T @ a).ravel()])
            return float(np.sum(miss**2)) / 2, slope

        if few == 0:
            return np.zeros_like(v)
        random = np.random.default_rng(6)
        starts = (random.normal(size=(rows + columns) * few) for _ in range(3))
        a, b = product(min((least(cost, start) for start in starts), key=lambda found: found[0])[1])
        return np.asarray(a @ b.T)

    return find


def by_polar_iteration(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Oracle for orthonormal columns: Newton's iteration for the polar factor, of a slightly moved matrix."""
    del formula, regularizer, step_size
    basis, x = np.linalg.qr(v)
    x = x + 1e-10 * max(1.0, float(np.abs(v).max(initial=0.0))) * np.eye(len(x))
    for _ in range(100):
        x = (x + np.linalg.inv(x).T) / 2
    return np.asarray(basis @ x)


def by_sign_iteration(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Oracle for semidefinite matrices: half of S + |S|, with S the symmetric part.

    |S| is S times its sign, which Newton's iteration finds. S is moved a little, off matrices that have none.
    """
    del formula, regularizer, step_size
    s = (v + v.T) / 2
    x = s + 1e-10 * max(1.0, float(np.abs(v).max(initial=0.0))) * np.diag(1.0 + 0.1 * np.arange(len(s)))
    for _ in range(100):
        x = (x + np.linalg.inv(x)) / 2
    found = (s + s @ x) / 2
    return np.asarray((found + found.T) / 2)


def by_whole_matrices(strength: Callable[[Any], float]) -> Oracle:
    """Oracle for nearly orthonormal columns: the least objective over all matrices, from several starts."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula
        weight, identity = strength(regularizer), np.eye(v.shape[1])

        def cost(flat: Array) -> Slope:
            w = flat.reshape(v.shape)
            miss, moved = w.T @ w - identity, w - v
            value = weight / 4 * float(np.sum(miss**2)) + float(np.sum(moved**2)) / (2 * step_size)
            return value, (weight * w @ miss + moved / step_size).ravel()

        random = np.random.default_rng(7)
        size = max(1.0, float(np.abs(v).max(initial=0.0)))
        nearly = v / (1.0 + float(np.linalg.norm(v)))
        starts = (v, nearly, -nearly, *(random.normal(size=v.shape) * s for s in (0.3, 1.0, size)))
        found = min((least(cost, start.ravel()) for start in starts), key=lambda pair: pair[0])
        return np.asarray(found[1].reshape(v.shape))

    return find
