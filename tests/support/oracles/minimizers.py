"""Ways to find a proximal point from the documented penalty alone, without the kernels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.floating[Any]]
Formula = Callable[[Any, Array], Sequence[float] | Array]
Oracle = Callable[[Formula, Any, Array, float], Array]


def total(terms: Sequence[float] | Array) -> float:
    """Sum of a penalty's terms, rounded once; infinite where a term is."""
    return math.fsum(np.asarray(terms, dtype=np.float64).ravel().tolist())


def objective(formula: Formula, regularizer: Any, y: Array, v: Array, step_size: float) -> float:
    """What the proximal step minimizes: the penalty plus the squared distance over twice the step size."""
    distance = math.fsum(float(d) ** 2 for d in (y - v).ravel())
    return total(formula(regularizer, y)) + distance / (2 * step_size)


def by_element(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Minimizer where the penalty is a sum over elements: a dense grid for each, refined around its best.

    Equal elements have the same minimizer, which is searched for once.
    """
    numbers, places = np.unique(v, return_inverse=True)
    found = [_scalar_minimum(formula, regularizer, float(number), step_size) for number in numbers]
    return np.array(found, dtype=np.float64)[places].reshape(v.shape)


def _scalar_minimum(formula: Formula, regularizer: Any, v: float, step_size: float) -> float:
    kinks = [s * float(p) for p in _numbers(regularizer) for s in (1, -1)]
    spread = np.linspace(-2, 2, 801)
    grid = np.unique(np.concatenate([[0.0, v], kinks, v * spread, 3 * spread]))
    best = v
    for _ in range(16):
        terms = np.asarray(formula(regularizer, grid), dtype=np.float64)
        best = float(grid[np.argmin(terms + (grid - v) ** 2 / (2 * step_size))])
        grid = _closer(grid, best, 61)
    return best


def _closer(grid: Array, best: float, points: int) -> Array:
    # Neighbours a rounding error away are skipped: they would end the search too early.
    least = 1e-4 * float(grid[-1] - grid[0]) / grid.size
    below, above = grid[grid < best - least], grid[grid > best + least]
    low, high = below[-1] if below.size else best, above[0] if above.size else best
    return np.unique(np.append(np.linspace(low, high, points), [best, max(low, min(high, 0.0))]))


def _numbers(regularizer: Any) -> list[float]:
    values = (getattr(regularizer, field.name) for field in dataclasses.fields(regularizer))
    return [float(value) for value in values if isinstance(value, int | float)]


def by_group(
    partition: Callable[[Any, tuple[int, ...]], list[NDArray[np.int64]]],
    points: int = 21,
) -> Oracle:
    """Oracle for sums of growing functions of group norms, one search per group.

    A part of the answer at right angles to the group's elements raises both the norm and the distance, so the
    answer is a multiple of the group; the best multiple is found on a dense grid, which has more points where
    there may be several minima.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        y = np.array(v, dtype=np.float64)
        for group in partition(regularizer, v.shape):
            y.ravel()[group] = _best_multiple(formula, regularizer, y, group, v, step_size, points)
        return y

    return find


def _best_multiple(
    formula: Formula,
    regularizer: Any,
    y: Array,
    group: NDArray[np.int64],
    v: Array,
    step_size: float,
    points: int,
) -> Array:
    part = v.ravel()[group]

    def cost(multiple: float) -> float:
        trial = y.copy()
        trial.ravel()[group] = multiple * part
        return objective(formula, regularizer, trial, v, step_size)

    grid: Array = np.linspace(-0.5, 1.5, points)
    best = 1.0
    for _ in range(9):
        best = float(grid[int(np.argmin([cost(float(multiple)) for multiple in grid]))])
        grid = _closer(grid, best, 21)
    return best * part


def by_factors(strength: Callable[[Any], float]) -> Oracle:
    """Oracle for the nuclear norm, without a singular value in it.

    The nuclear norm of X is the least half of |A|² + |B|² over all factors with A Bᵀ = X, so the proximal
    point is the product of the smooth problem's factors, which SciPy's quasi-Newton method finds.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula  # the caller compares objectives by it
        rows, columns = v.shape
        rank = min(rows, columns)
        weight = strength(regularizer)

        def cost(flat: Array) -> tuple[float, Array]:
            a, b = flat[: rows * rank].reshape(rows, rank), flat[rows * rank :].reshape(columns, rank)
            miss = a @ b.T - v
            value = weight / 2 * float(np.sum(flat**2)) + float(np.sum(miss**2)) / (2 * step_size)
            slope = np.concatenate([(miss @ b).ravel(), (miss.T @ a).ravel()]) / step_size + weight * flat
            return value, slope

        start = np.random.default_rng(5).normal(size=(rows + columns) * rank)
        options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
        flat = minimize(cost, start, jac=True, method="L-BFGS-B", options=options).x
        product: Array = (
            flat[: rows * rank].reshape(rows, rank) @ flat[rows * rank :].reshape(columns, rank).T
        )
        return product

    return find
