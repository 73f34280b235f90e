"""Ways to find the proximal points of group penalties from the documented penalty alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, lsq_linear, minimize_scalar

from tests.support.oracles.groupings import group_weights, partition, sets_of
from tests.support.oracles.minimizers import Array, Formula, Oracle, by_group, objective

Parts = Callable[[Any, tuple[int, ...]], list[NDArray[np.int64]]]


def whole(_: Any, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """One group of all elements."""
    return [np.arange(math.prod(shape), dtype=np.int64)]


def runs(regularizer: Any, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Runs of m elements along the axis, in the order of their first ones."""
    positions = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    axis = len(shape) - 1 if regularizer.axis is None else regularizer.axis
    if not positions.size:
        return []
    lines = np.moveaxis(positions, axis, -1).reshape(-1, shape[axis])
    found = [line[at : at + regularizer.m] for line in lines for at in range(0, shape[axis], regularizer.m)]
    return sorted(found, key=lambda run: int(run[0]))


def tiles(_: Any, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Tiles of 4 by 4 along the first two axes, in the order of their first elements."""
    positions = np.arange(math.prod(shape), dtype=np.int64).reshape(*shape[:2], math.prod(shape[2:]))
    return [
        positions[row : row + 4, column : column + 4, place].ravel()
        for row in range(0, positions.shape[0], 4)
        for column in range(0, positions.shape[1], 4)
        for place in range(positions.shape[2])
    ]


def blocks(regularizer: Any, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Blocks of the matrix of the first axis by all others, row by row of blocks."""
    positions = np.arange(math.prod(shape), dtype=np.int64).reshape(shape[0], math.prod(shape[1:]))
    height, width = regularizer.rows, regularizer.columns
    return [
        positions[row : row + height, column : column + width].ravel()
        for row in range(0, positions.shape[0], height)
        for column in range(0, positions.shape[1], width)
    ]


def of_groups(regularizer: Any, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """The groups that the parameters name."""
    return partition(regularizer.groups, shape)


def by_ceiling(parts: Parts) -> Oracle:
    """Oracle for sums of groups' largest magnitudes: the best of all ceilings, one search per group.

    Of all vectors with a given largest magnitude, the nearest is the group cut off there.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        y = np.array(v, dtype=np.float64)
        for part in parts(regularizer, v.shape):
            group = v.ravel()[part]

            def cut(ceiling: float, group: Array = group) -> Array:
                return np.clip(group, -ceiling, ceiling)

            top = float(np.max(np.abs(group), initial=0.0))
            _settle(formula, regularizer, y, part, v, step_size, cut, (0.0, top))
        return y

    return find


def by_group_alone(parts: Parts) -> Oracle:
    """Oracle for bounded group norms: that for sums of norms, one group at a time with zeros around it.

    Zeros are inside every bound, so that no other group makes each objective infinite.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        y = np.zeros(v.shape)
        for part in parts(regularizer, v.shape):
            alone = np.zeros(v.shape)
            alone.ravel()[part] = v.ravel()[part]
            found = by_group(lambda r, shape, part=part: [part])(formula, regularizer, alone, step_size)
            y.ravel()[part] = found.ravel()[part]
        return y

    return find


def by_set_alone(oracle: Oracle) -> Oracle:
    """Oracle for sets of groups: that of one set, on each group as if there were no other."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        y = np.zeros(v.shape)
        for one, part in sets_of(regularizer, v.shape):
            if part.size:
                y.ravel()[part] = oracle(formula, one, v.ravel()[part], step_size)
        return y

    return find


def on_shells(bounds: Callable[[Any], tuple[float, float]]) -> Oracle:
    """Oracle for bounds on norms from both sides: no point of that norm is nearer than the multiple of v.

    By the triangle inequality the distance of v from any y is at least that of their norms. Of 0 all points
    of one norm are equally far.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula, step_size
        y = np.array(v, dtype=np.float64)
        parts, (low, high) = of_groups(regularizer, v.shape), bounds(regularizer)
        for part, weight in zip(parts, group_weights(regularizer.groups, parts), strict=True):
            group = v.ravel()[part]
            size = math.hypot(*group.tolist())
            wanted = min(max(size, low * weight), high * weight)
            y.ravel()[part] = group * (wanted / size) if size else wanted / math.sqrt(part.size)
        return y

    return find


def by_support_and_multiple(shrinkage: Callable[[Any], float]) -> Oracle:
    """Oracle for absolute values and norms together: every support of every group, and the best multiple.

    On a support the slope of the absolute values is a constant, and the rest pulls to a multiple of what it
    leaves.
    """

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        y = np.zeros(v.shape)
        for part in of_groups(regularizer, v.shape):
            group = v.ravel()[part]
            best, lowest = np.zeros(part.size), math.inf
            for support in _subsets(part.size):
                left = np.where(support, group - step_size * shrinkage(regularizer) * np.sign(group), 0.0)

                def multiple(factor: float, left: Array = left) -> Array:
                    return factor * left

                cost = _settle(formula, regularizer, y, part, v, step_size, multiple, (0.0, 1.0))
                if cost < lowest:
                    best, lowest = y.ravel()[part].copy(), cost
            y.ravel()[part] = best
        return y

    return find


def by_dual_of_nested(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Minimizer for norms of groups that overlap: what they push with, each within its ball, until all rest.

    The point is v less all pushes, and each push is the projection of what the others leave (block coordinate
    descent on the dual, which has no need of the groups to be nested). The coarsest begin.
    """
    del formula  # the caller compares objectives by it
    pushes = [
        (part, step_size * regularizer.strength * weight, np.zeros(part.size))
        for groups in reversed(regularizer.nested_groups)
        for part, weight in zip(
            partition(groups, v.shape), group_weights(groups, partition(groups, v.shape)), strict=True
        )
    ]
    y = np.array(v, dtype=np.float64)
    flat = y.reshape(-1)
    for _ in range(20_000):
        moved = 0.0
        for part, radius, push in pushes:
            left = flat[part] + push
            size = math.hypot(*left.tolist())
            new = left if size <= radius else left * (radius / size)
            moved = max(moved, float(np.max(np.abs(new - push), initial=0.0)))
            flat[part] = left - new
            push[...] = new
        if moved <= 1e-15 * float(np.max(np.abs(v), initial=0.0)):
            break
    return y


def by_nonnegative_squares(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Minimizer for half squared sums of magnitudes: least squares with nonnegative magnitudes (SciPy)."""
    del formula  # the caller compares objectives by it
    y = np.zeros(v.shape)
    parts = of_groups(regularizer, v.shape)
    for part, weight in zip(parts, group_weights(regularizer.groups, parts), strict=True):
        group = v.ravel()[part]
        root = math.sqrt(step_size * regularizer.strength * weight)
        rows = np.vstack([np.eye(part.size), np.full(part.size, root)])
        found = lsq_linear(rows, np.append(np.abs(group), 0.0), (0.0, np.inf), method="bvls", tol=1e-14)
        y.ravel()[part] = np.sign(group) * found.x
    return y


def by_choice(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Minimizer where elements stay or go: every choice in every run is tried."""
    y = np.zeros(v.shape)
    for run in runs(regularizer, v.shape):
        group = v.ravel()[run]
        best, lowest = np.zeros(run.size), math.inf
        for kept in _subsets(run.size):
            y.ravel()[run] = np.where(kept, group, 0.0)
            cost = objective(formula, regularizer, y, v, step_size)
            if cost < lowest:
                best, lowest = y.ravel()[run].copy(), cost
        y.ravel()[run] = best
    return y


def by_linear_programs(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
    """Minimizer for tiles with few elements in each row and column: what stays is a linear program's answer.

    Its matrix says the row and the column of each element, and is totally unimodular: a corner is a choice.
    """
    del formula, step_size
    y = np.zeros(v.shape)
    lines = np.vstack([np.kron(np.eye(4), np.ones(4)), np.kron(np.ones(4), np.eye(4))])
    for tile in tiles(regularizer, v.shape):
        group = v.ravel()[tile]
        gains = (group / max(float(np.max(np.abs(group))), 1e-300)) ** 2
        found = linprog(-gains, A_ub=lines, b_ub=np.full(8, regularizer.n), bounds=(0, 1), method="highs-ds")
        y.ravel()[tile] = np.where(np.round(found.x) == 1, group, 0.0)
    return y


def _subsets(size: int) -> Iterator[NDArray[np.bool_]]:
    yield from (np.array(choice, dtype=bool) for choice in itertools.product((False, True), repeat=size))


def _settle(
    formula: Formula,
    regularizer: Any,
    y: Array,
    part: NDArray[np.int64],
    v: Array,
    step_size: float,
    candidate: Callable[[float], Array],
    ends: tuple[float, float],
) -> float:
    """Put the best of a family of candidates into a group of y; give the objective there."""

    def cost(number: float) -> float:
        y.ravel()[part] = candidate(number)
        return objective(formula, regularizer, y, v, step_size)

    low, high = ends
    numbers = [low, high]
    if high > low:
        found = minimize_scalar(cost, bounds=ends, method="bounded", options={"xatol": 1e-9 * (high - low)})
        numbers.append(float(found.x))
    best = min(numbers, key=cost)
    return cost(best)
