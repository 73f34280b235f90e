"""Rows of levels: sets of them, and distances to the nearest."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from regularization_kernels import Grid, Levels, Quantization
from regularization_kernels.errors import FieldMissing, FieldOutOfRange

from tests.support.cases.parameters import bad_numbers
from tests.support.cases.row import Rejected, Row
from tests.support.oracles.levels import levels_near, nearest_level
from tests.support.oracles.minimizers import Array, Formula
from tests.support.oracles.summation import Rule, summands

BINARY = Levels(explicit=(-1.0, 1.0))
TERNARY = Levels(explicit=(-0.75, 0.0, 0.5))
QUARTERS = Levels(step=0.25)
ASIDE = Levels(step=0.5, offset=-1.375)
DECIMALS = Levels(step=0.1, offset=0.03)


def distances(r: Any, x: Array) -> Array:
    """The distance of each element to the nearest of all levels."""
    found = [min(abs(e - level) for level in levels_near(r.levels, e)) for e in x.ravel().tolist()]
    return np.array(found).reshape(x.shape)


def in_order_of_choice(candidates: Array) -> Array:
    """Points so that of equally good ones the documented one is found first."""
    return np.array(sorted(set(candidates.tolist()), key=lambda y: (round(abs(y), 12), -y)))


def nearest_by_search(formula: Formula, r: Grid, v: Array, step_size: float) -> Array:
    """Of the levels around each element, the one whose objective is least."""
    del step_size
    found = v.copy()
    for at, e in enumerate(v.ravel().tolist()):
        levels = in_order_of_choice(np.array(levels_near(r.levels, e)))
        costs = np.asarray(formula(r, levels)) + (levels - e) ** 2
        found.ravel()[at] = levels[np.argmin(costs)]
    return found


def between_levels(formula: Formula, r: Quantization, v: Array, step_size: float) -> Array:
    """By a dense grid over the levels around each element, which is drawn together around its best point."""
    numbers, places = np.unique(v, return_inverse=True)
    found = np.empty(numbers.size)
    for at, e in enumerate(numbers.tolist()):
        levels = np.array(levels_near(r.levels, e))
        best = e
        reach = float(np.max(np.abs(np.append(levels, 0.0) - e)))
        for _ in range(12):
            points = [levels, [e, best], np.linspace(best - reach, best + reach, 301)]
            candidates = in_order_of_choice(np.concatenate(points))
            costs = np.asarray(formula(r, candidates)) + (candidates - e) ** 2 / (2 * step_size)
            # Of points that are equally good but for rounding, the first.
            best = float(candidates[np.flatnonzero(costs <= np.min(costs) * (1 + 1e-13))[0]])
            reach /= 30
        found[at] = best
    return found[places].reshape(v.shape)


def one_aside(r: Grid, x: Array) -> Array:
    """The point with one element between levels."""
    moved = x.copy()
    moved.ravel()[1] = float(np.float32(levels_near(r.levels, float(x.ravel()[1]))[0])) + 0.0625
    return moved


def off_levels(r: Quantization, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential: anything on a level, both slopes midway between two."""
    worst = 0.0
    for p, s in zip(point.ravel().tolist(), slope.ravel().tolist(), strict=True):
        levels = levels_near(r.levels, p)
        least = min(abs(p - level) for level in levels)
        room = 1e-13 * max(1.0, abs(p))
        signs = {math.copysign(1.0, p - level) for level in levels if abs(p - level) <= least + room}
        off = max(abs(s) - r.strength, 0.0) if least <= room else min(abs(s - r.strength * f) for f in signs)
        worst = max(worst, off)
    return worst


def is_on_level(levels: Levels, dtype: type[np.floating[Any]], e: float) -> bool:
    """Explicit levels are numbers of the data type; from even ones its rounding may lead away."""
    near = levels_near(levels, e)
    if levels.explicit is not None:
        return e in np.array(near).astype(dtype).astype(np.float64).tolist()
    of = np.finfo(dtype)
    room = (Fraction(float(of.eps)) * abs(Fraction(e)) + Fraction(float(of.smallest_subnormal))) / 2
    return any(abs(Fraction(e) - Fraction(level)) <= room for level in near)


def bad_levels(build: Callable[[Levels], Any]) -> tuple[Rejected, ...]:
    """Levels that there cannot be."""
    wrong: list[tuple[Any, str | None, dict[str, Any]]] = [
        (FieldMissing, None, {}),
        (FieldMissing, None, {"offset": 1.0}),
        *((FieldOutOfRange, "step", {"step": step}) for step in (0.0, -1.0, math.inf, math.nan)),
        *((FieldOutOfRange, "offset", {"step": 1.0, "offset": o}) for o in (math.inf, -math.inf, math.nan)),
        (FieldOutOfRange, "step", {"explicit": (1.0,), "step": 1.0}),
        (FieldOutOfRange, "offset", {"explicit": (1.0,), "offset": 1.0}),
        (FieldOutOfRange, "explicit", {"explicit": ()}),
        (FieldOutOfRange, "explicit", {"explicit": tuple(map(float, range(257)))}),
        (FieldOutOfRange, "explicit[1]", {"explicit": (1.0, 1.0)}),
        (FieldOutOfRange, "explicit[2]", {"explicit": (0.0, 1.0, 0.5)}),
        (FieldOutOfRange, "explicit[0]", {"explicit": (math.nan,)}),
        (FieldOutOfRange, "explicit[1]", {"explicit": (0.0, math.inf)}),
    ]
    return tuple(Rejected(error, at, partial(_built, build, fields)) for error, at, fields in wrong)


def _built(build: Callable[[Levels], Any], fields: dict[str, Any]) -> Any:
    return build(Levels(**fields))


ROWS: tuple[Row, ...] = (
    Row(
        name="grid",
        terms=lambda r, x: np.where(distances(r, x) == 0, 0.0, math.inf),
        oracle=nearest_by_search,
        certificate=lambda r, p, s: float(np.max(distances(r, p), initial=0.0)),
        rule=Rule(
            summands(lambda meant, e: 0.0 if is_on_level(*meant, e) else math.inf),
            rounded=lambda r, dtype: (r.levels, dtype),
        ),
        instances={
            "": (Grid(levels=QUARTERS), (12,)),
            "-binary": (Grid(levels=BINARY), (12,)),
            "-ternary": (Grid(levels=TERNARY), (3, 4)),
            "-aside": (Grid(levels=ASIDE), (6,)),
            "-point": (Grid(levels=Levels(explicit=(0.25,))), (6,)),
        },
        rejected=bad_levels(lambda levels: Grid(levels=levels)),
        outside=one_aside,
    ),
    Row(
        name="quantization",
        terms=lambda r, x: r.strength * distances(r, np.asarray(x)),
        oracle=between_levels,
        certificate=off_levels,
        rule=Rule(
            summands(lambda r, e: abs(e - nearest_level(r.levels, e))), scale=lambda r: float(r.strength)
        ),
        instances={
            "": (Quantization(strength=0.3, levels=DECIMALS), (12,)),
            "-binary": (Quantization(strength=0.3, levels=BINARY), (12,)),
            "-ternary": (Quantization(strength=0.05, levels=TERNARY), (3, 4)),
            "-aside": (Quantization(strength=0.1, levels=ASIDE), (6,)),
            "-heavy": (Quantization(strength=50.0, levels=QUARTERS), (6,)),
            "-free": (Quantization(strength=0.0, levels=TERNARY), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: Quantization(strength=v, levels=BINARY), "strength"),
            *bad_levels(lambda levels: Quantization(strength=1.0, levels=levels)),
        ),
    ),
)
