"""Proximal points of sets and penalties that depend on order, by trying every way to be optimal.

A nearest point of a polytope is the nearest point of the plane of one of its faces; here are all faces. A
minimizer among vectors in a given order is constant on runs of neighbours; here are all ways to cut into
runs. Which of the candidates is the answer, the documented penalty says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.oracles.groupings import partition
from tests.support.oracles.groups import blocks
from tests.support.oracles.minimizers import Array, Formula, Oracle, objective

Candidates = Callable[[Any, Array, float], Iterable[Array]]
"""Points among which the proximal point of a vector is, given the regularizer and the step size."""


def best_of(candidates: Candidates) -> Oracle:
    """Oracle that takes the candidate with the least objective."""

    def find(formula: Formula, regularizer: Any, v: Array, step_size: float) -> Array:
        best, least = None, math.inf
        for y in candidates(regularizer, v, step_size):
            cost = objective(formula, regularizer, y, v, step_size)
            if cost < least:
                best, least = y, cost
        assert best is not None, "no candidate has a finite penalty"
        return best

    return find


def nearest_few(found: list[Array], v: Array) -> list[Array]:
    """The three points nearest to a vector, each with those beside it that a rounding error makes."""
    found = sorted(found, key=lambda y: float(np.sum((y - v) ** 2)))[:3]
    return [y * scale for y in found for scale in (1.0, 1.0 - 2.0**-52, 1.0 + 2.0**-52)]


def on_faces_of_the_simplex(radius: float, v: Array) -> list[Array]:
    """The points of the simplex that are nearest on the plane of one of its faces: one for each support."""
    flat = v.ravel()
    supports = (np.arange(1, 2**flat.size)[:, None] >> np.arange(flat.size)) & 1 == 1
    counts = supports.sum(axis=1)
    excess = np.where(supports, flat, 0.0).sum(axis=1) - radius
    points = np.where(supports, flat - (excess / counts)[:, None], 0.0)
    inside = points[(points >= 0).all(axis=1)]
    with np.errstate(invalid="ignore"):
        # Rounding errors of large elements are not small beside the radius.
        scaled = [point * (radius / math.fsum(point.tolist())) for point in inside if point.any()]
    return [point.reshape(v.shape) for point in scaled] or [np.zeros(v.shape)]


def simplex_candidates(regularizer: Any, v: Array, step_size: float) -> list[Array]:
    """The nearest points of faces, and the vector itself."""
    del step_size
    return [v, *nearest_few(on_faces_of_the_simplex(regularizer.radius, v), v)]


def l1_ball_candidates(regularizer: Any, v: Array, step_size: float) -> list[Array]:
    """The same in the orthant of the vector's signs, in which its nearest point is, too."""
    del step_size
    mirrored = on_faces_of_the_simplex(regularizer.radius, np.abs(v))
    return [v, *nearest_few([np.copysign(y, v) for y in mirrored], v)]


def largest_count(regularizer: Any, elements: int) -> int:
    """How many of so many elements ``top_k`` lets stay, by decimal digits, a half rounded up."""
    if regularizer.count is not None:
        return int(regularizer.count)
    with localcontext(prec=1200):
        part = Decimal(regularizer.fraction) * elements
        return int(part.to_integral_value(ROUND_HALF_UP))


def top_k_candidates(regularizer: Any, v: Array, step_size: float) -> Iterator[Array]:
    """The vector with all but so many elements set to 0, for every choice of these."""
    del step_size
    for kept in combinations(range(v.size), largest_count(regularizer, v.size)):
        y = np.zeros(v.size)
        y[list(kept)] = v.ravel()[list(kept)]
        yield y.reshape(v.shape)


def top_k_groups_candidates(regularizer: Any, v: Array, step_size: float) -> Iterator[Array]:
    """The same with all but so many groups."""
    del step_size
    return few_parts(regularizer, partition(regularizer.groups, v.shape), v)


def block_sparsity_candidates(regularizer: Any, v: Array, step_size: float) -> Iterator[Array]:
    """The same with all but so many blocks."""
    del step_size
    return few_parts(regularizer, blocks(regularizer, v.shape), v)


def few_parts(regularizer: Any, parts: list[NDArray[np.int64]], v: Array) -> Iterator[Array]:
    """The vector with all but so many parts set to 0, for every choice of these."""
    for kept in combinations(parts, largest_count(regularizer, len(parts))):
        y = np.zeros(v.size)
        for part in kept:
            y[part] = v.ravel()[part]
        yield y.reshape(v.shape)


def runs(length: int) -> Iterator[list[NDArray[np.int64]]]:
    """All ways to cut a row of places into runs of neighbours."""
    places = np.arange(length)
    for cuts in range(2 ** max(length - 1, 0)):
        yield np.split(places, [at + 1 for at in range(length - 1) if cuts >> at & 1])


def run_means(row: Array) -> Array:
    """The row with runs of neighbours set to their means, in every way to cut it; one way to a row."""
    found = np.empty((2 ** max(row.size - 1, 0), row.size))
    for at, cut in enumerate(runs(row.size)):
        for run in cut:
            found[at, run] = math.fsum(row[run].tolist()) / run.size
    return found


def isotonic_candidates(regularizer: Any, v: Array, step_size: float) -> list[Array]:
    """In each row the nearest of the nondecreasing ones that have the means of runs."""
    del regularizer, step_size
    y = np.array(v, dtype=np.float64)
    for at in np.ndindex(v.shape[:-1]):
        means = run_means(v[at])
        rising = means[(np.diff(means, axis=1) >= 0).all(axis=1)]
        y[at] = rising[np.argmin(((rising - v[at]) ** 2).sum(axis=1))]
    return [y]


def slope_candidates(regularizer: Any, v: Array, step_size: float) -> Iterator[Array]:
    """In the order of the magnitudes, the means of runs of what is left of them, or 0 where that is less."""
    flat = v.ravel()
    order = np.argsort(-np.abs(flat))
    left = np.abs(flat)[order] - step_size * strengths_of(regularizer, flat.size)
    for means in run_means(left):
        y = np.zeros(flat.size)
        y[order] = np.maximum(means, 0.0)
        yield np.copysign(y, flat).reshape(v.shape)


def strengths_of(regularizer: Any, elements: int) -> Array:
    """SLOPE's strengths from the largest on, as documented."""
    if regularizer.strengths is not None:
        return np.array(regularizer.strengths)
    oscar = regularizer.oscar
    return np.array(
        [oscar.l1_strength + oscar.pairwise_strength * (elements - i - 1) for i in range(elements)]
    )
