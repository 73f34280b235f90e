"""Which points are in a set, in exact rationals wherever the set's border is a sum or an order.

A point is on the border where it misses it by no more than two units in the last place: of float32 in
float32, and in every other data type of float64, in which the sums are computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.oracles.groupings import partition, sets_of, weighted_groups
from tests.support.oracles.groups import blocks, runs, tiles
from tests.support.oracles.levels import nearest_level
from tests.support.oracles.number_formats import FIXED, FLOATING, FixedPoint, FloatingPoint
from tests.support.oracles.sorted import largest_count

Wide = NDArray[np.float64]
Format = FixedPoint | FloatingPoint | None
"""None is float64."""
Inside = Callable[[Any, Wide, Format], bool]

COARSE: tuple[Format, ...] = (*FIXED, *(form for form in FLOATING if form.mantissa_bits < 23))
EVERY: tuple[Format, ...] = (*FIXED, *FLOATING, None)


def data_type_of(form: Format) -> np.dtype[Any]:
    """Which elements a format has."""
    return np.dtype(np.float64) if form is None else form.data_type


def units(form: Format) -> Fraction:
    """Two units in the last place of what is compared in, relative to the bound."""
    return Fraction(2, 1 << (23 if form is not None and form not in COARSE else 52))


def steps(form: Format, x: Wide) -> Wide:
    """The distance of neighbours in a format at each number; 0 in float64."""
    if form is None:
        return np.zeros(x.shape)
    if isinstance(form, FixedPoint):
        return np.full(x.shape, 2.0**-form.bits)
    least = form.lowest_exponent
    exponents = [max(math.frexp(e)[1] - 1, least) if e else least for e in x.ravel().tolist()]
    return np.ldexp(1.0, np.array(exponents, int) - form.mantissa_bits).reshape(x.shape)


def reachable(radius: float, form: Format) -> Fraction:
    """What sums of a coarse format's numbers can be: the radius, with as many bits as they have."""
    if form not in COARSE or not radius:
        return Fraction(radius)
    step = Fraction(float(steps(form, np.array([radius]))[0]))
    return round(Fraction(radius) / step) * step


def exact(x: Wide) -> list[Fraction]:
    """The elements as rationals."""
    return [Fraction(e) for e in x.ravel().tolist()]


def in_l1_ball(r: Any, x: Wide, form: Format) -> bool:
    """A sum of magnitudes of at most the radius, in each group."""
    return all(
        sum(map(abs, exact(x.ravel()[part]))) <= Fraction(one.radius) * (1 + units(form))
        for one, part in sets_of(r, x.shape)
    )


def norm_at_most(x: Wide, bound: Fraction, form: Format) -> bool:
    """A Euclidean norm of at most a bound."""
    return sum(e * e for e in exact(x)) <= (bound * (1 + units(form))) ** 2


def in_l2_ball(r: Any, x: Wide, form: Format) -> bool:
    """A norm of at most the radius, in each group."""
    return all(norm_at_most(x.ravel()[part], Fraction(one.radius), form) for one, part in sets_of(r, x.shape))


def in_max_norm(r: Any, x: Wide, form: Format) -> bool:
    """Groups of norms of at most their bounds."""
    flat = x.ravel()
    return all(
        norm_at_most(flat[part], Fraction(r.radius * weight), form)
        for weight, part in weighted_groups(r, x.shape)
    )


def norm_between(x: Wide, low: float, high: float, form: Format) -> bool:
    """A Euclidean norm between two bounds; of a coarse format, up to what a step in every element may do."""
    size = math.hypot(*x.ravel().tolist())
    room = math.hypot(*steps(form, x).ravel().tolist()) if form in COARSE else 0.0
    relative = float(units(form))
    return low * (1 - relative) - room <= size <= high * (1 + relative) + room


def in_min_max_norm(r: Any, x: Wide, form: Format) -> bool:
    """Groups of norms between their bounds."""
    groups = weighted_groups(r, x.shape)
    return all(norm_between(x.ravel()[part], r.lower * w, r.upper * w, form) for w, part in groups)


def in_unit_norm(r: Any, x: Wide, form: Format) -> bool:
    """Groups of norms of their weights."""
    return all(norm_between(x.ravel()[part], w, w, form) for w, part in weighted_groups(r, x.shape))


def in_simplex(r: Any, x: Wide, form: Format) -> bool:
    """Nonnegative elements that add up to the radius, in each group."""
    sums = [(sum(exact(x.ravel()[part])), reachable(one.radius, form)) for one, part in sets_of(r, x.shape)]
    return bool(np.all(x >= 0)) and all(abs(size - radius) <= radius * units(form) for size, radius in sums)


def in_box(r: Any, x: Wide, form: Format) -> bool:
    """Elements between the bounds, as the format has them."""
    ends = np.array([-math.inf if r.lower is None else r.lower, math.inf if r.upper is None else r.upper])
    if isinstance(form, FixedPoint):
        ends = form.numbers(np.array(form.nearest(ends), form.data_type))
    elif form is not None:
        with np.errstate(over="ignore"):
            ends = ends.astype(form.data_type).astype(np.float64)
    return bool(np.all((x >= ends[0]) & (x <= ends[1])))


def in_grid(r: Any, x: Wide, form: Format) -> bool:
    """Explicit levels as the format has them; even ones but for what it rounds by, within its range."""
    if r.levels.explicit is not None:
        return set(x.ravel().tolist()) <= set(rounded_levels(r.levels.explicit, form))
    fixed = isinstance(form, FixedPoint)
    range_of = (-1.0, 1.0 - 2.0**-form.bits) if isinstance(form, FixedPoint) else (-math.inf, math.inf)
    for e in x.ravel().tolist():
        level = min(max(nearest_level(r.levels, e), range_of[0]), range_of[1])
        half = half_of_smallest = Fraction(float(steps(form, np.zeros(1))[0])) / 2
        if form is not None and not fixed and e:
            half = half_of_smallest + abs(Fraction(e)) / (2 << form.mantissa_bits)
        if abs(Fraction(e) - Fraction(level)) > half:
            return False
    return True


def rounded_levels(levels: Any, form: Format) -> list[float]:
    """Levels as numbers of a format."""
    numbers = np.array(levels)
    if isinstance(form, FixedPoint):
        return list(form.numbers(np.array(form.nearest(numbers), form.data_type)).tolist())
    return list(numbers.astype(data_type_of(form)).astype(np.float64).tolist())


def in_top_k(r: Any, x: Wide, form: Format) -> bool:
    """Few enough elements that are not 0, in each group."""
    del form
    return all(
        np.count_nonzero(x.ravel()[part]) <= largest_count(one, part.size)
        for one, part in sets_of(r, x.shape)
    )


def in_top_k_groups(r: Any, x: Wide, form: Format) -> bool:
    """Few enough groups that are not zero."""
    del form
    parts = partition(r.groups, x.shape)
    return sum(bool(np.any(x.ravel()[part])) for part in parts) <= largest_count(r, len(parts))


def in_block_sparsity(r: Any, x: Wide, form: Format) -> bool:
    """Few enough blocks that are not zero."""
    del form
    parts = blocks(r, x.shape)
    return sum(bool(np.any(x.ravel()[part])) for part in parts) <= largest_count(r, len(parts))


def in_n_of_m(r: Any, x: Wide, form: Format) -> bool:
    """Few enough of them in each run."""
    del form
    return all(np.count_nonzero(x.ravel()[run]) <= r.n for run in runs(r, x.shape))


def in_transposable_sparsity(r: Any, x: Wide, form: Format) -> bool:
    """Few enough elements in each row and each column of each tile."""
    del form
    squares = [x.ravel()[tile].reshape(4, 4) != 0 for tile in tiles(r, x.shape)]
    return all(np.all(square.sum(axis=axis) <= r.n) for square in squares for axis in (0, 1))


def in_isotonic(r: Any, x: Wide, form: Format) -> bool:
    """No element below one before it, or above."""
    del form
    along = np.moveaxis(-x if r.decreasing else x, -1 if r.axis is None else r.axis, -1)
    return bool(np.all(along[..., 1:] >= along[..., :-1]))


def in_spectral_ball(r: Any, x: Wide, form: Format) -> bool:
    """A largest singular value of at most the radius."""
    largest = float(np.linalg.svd(x, compute_uv=False)[0])
    return largest <= r.radius * (1 + float(units(form)) + 4e-15 * max(x.shape))


def in_nuclear_ball(r: Any, x: Wide, form: Format) -> bool:
    """Singular values that add up to at most the radius."""
    total = math.fsum(np.linalg.svd(x, compute_uv=False).tolist())
    return total <= r.radius * (1 + float(units(form)) + 4e-15 * max(x.shape) * math.sqrt(min(x.shape)))


def in_rank_ball(r: Any, x: Wide, form: Format) -> bool:
    """No farther from a matrix of that rank than a step in every element."""
    values = np.linalg.svd(x, compute_uv=False)
    errors = 4e-15 * max(x.shape) * float(values[0])
    return float(np.linalg.norm(values[r.rank :])) <= float(np.linalg.norm(steps(form, x))) + errors


def in_positive_semidefinite(r: Any, x: Wide, form: Format) -> bool:
    """No farther from a symmetric matrix without negative eigenvalues than a step in every element."""
    del r
    values = np.linalg.eigvalsh((x + x.T) / 2)
    errors = 4e-15 * len(x) * float(np.abs(values).max())
    distance = math.hypot(float(np.linalg.norm(x - x.T)) / 2, float(np.linalg.norm(np.minimum(values, 0.0))))
    return distance <= float(np.linalg.norm(steps(form, x))) + errors


def in_stiefel(r: Any, x: Wide, form: Format) -> bool:
    """Products of columns as near to those of orthonormal ones as a step in every element leaves them."""
    del r
    far = float(np.linalg.norm(steps(form, x)))
    miss = float(np.linalg.norm(x.T @ x - np.eye(x.shape[1])))
    return miss <= (1 + far) ** 2 - 1 + 4e-15 * max(x.shape) * x.shape[1]


INSIDE: dict[str, Inside] = {
    "block_sparsity": in_block_sparsity,
    "box": in_box,
    "grid": in_grid,
    "isotonic": in_isotonic,
    "l1_ball": in_l1_ball,
    "l2_ball": in_l2_ball,
    "max_norm": in_max_norm,
    "min_max_norm": in_min_max_norm,
    "n_of_m": in_n_of_m,
    "nuclear_ball": in_nuclear_ball,
    "positive_semidefinite": in_positive_semidefinite,
    "rank_ball": in_rank_ball,
    "simplex": in_simplex,
    "spectral_ball": in_spectral_ball,
    "stiefel": in_stiefel,
    "top_k": in_top_k,
    "top_k_groups": in_top_k_groups,
    "transposable_sparsity": in_transposable_sparsity,
    "unit_norm": in_unit_norm,
}
