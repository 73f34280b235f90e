"""Groups: functions of norms, and a set for each group."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace

from mpmath import mpf

from ..numbers import Real
from ..sums import Terms
from .counts import COUNTS
from .elements import mcp_step, scad_slope, scad_step
from .partitions import Part, interleave, parts
from .row import Message, Row, Shape, Vector, of_set, sign, soft, uniform_size
from .vectors import (
    LAST_BITS,
    OVERLOOKED,
    largest,
    norm,
    onto_l1_ball,
    onto_simplex,
    pairwise_error,
    peaks,
    rounded_norm,
    scaled_to,
    share,
)


def _norms_error(m: Message, shape: Shape, x: list[float]) -> float:
    if interleave(m.groups, shape):
        return 0.0
    errors = (pairwise_error([x[p] for p in part.places]) for part in parts(m.groups, shape))
    return max(errors, default=0.0)


def _each(m: Message, shape: Shape, x: Vector, of_group: Callable[[Part, Vector], Vector]) -> Vector:
    result = [mpf(0)] * len(x)
    for part in parts(m.groups, shape):
        for place, value in zip(part.places, of_group(part, [x[p] for p in part.places]), strict=True):
            result[place] = value
    return result


def _placed(
    m: Message, shape: Shape, x: list[float], term: Callable[[Part, list[float]], float]
) -> list[float]:
    result = [0.0] * len(x)
    for part in parts(m.groups, shape):
        result[part.places[0]] = term(part, [x[p] for p in part.places])
    return result


def _of_norm(
    term: Callable[[Message, float], float],
    slope: Callable[[Message, Real], Real],
    step: Callable[[Message, Real, Real], Real],
    *,
    scale: Callable[[Message], float] = lambda m: 1.0,
    convex: bool = True,
) -> Row:
    """A function of each group's norm, times its weight: term, slope and step of a norm."""

    def stretched(x: Vector, to: Real) -> Vector:
        return [each * to / norm(x) if norm(x) else mpf(0) for each in x]

    def step_of(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
        return _each(
            m,
            shape,
            x,
            lambda part, v: stretched(v, step(m, norm(v), sizes[part.places[0]] * mpf(part.weight))),
        )

    return Row(
        lambda m, shape, x: [
            Terms(
                scale(m),
                _placed(m, shape, x, lambda part, v: part.weight * term(m, rounded_norm(v))),
                error=_norms_error(m, shape, x),
            )
        ],
        lambda m, shape, x: _each(
            m, shape, x, lambda part, v: stretched(v, mpf(part.weight) * slope(m, norm(v)))
        ),
        step_of,
        convex=convex,
    )


def _sparse_terms(m: Message, shape: Shape, x: list[float]) -> list[Terms]:
    grouped = _placed(m, shape, x, lambda part, v: m.group_strength * (part.weight * rounded_norm(v)))
    single = [m.l1_strength * abs(each) for each in x]
    if interleave(m.groups, shape):
        return [Terms(1.0, single), Terms(1.0, grouped)]
    both = [each + group for each, group in zip(single, grouped, strict=True)]
    return [Terms(1.0, both, error=_norms_error(m, shape, x))]


def _sparse_step(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
    size = uniform_size(sizes)
    inner = [soft(each, size * mpf(m.l1_strength)) for each in x]
    outer = SimpleNamespace(strength=m.group_strength, groups=m.groups)
    return GROUP_LASSO.step(outer, shape, inner, sizes)


def _sparse_slope(m: Message, shape: Shape, x: Vector) -> Vector:
    outer = SimpleNamespace(strength=m.group_strength, groups=m.groups)
    slopes = GROUP_LASSO.gradient(outer, shape, x) if GROUP_LASSO.gradient else []
    return [mpf(m.l1_strength) * sign(each) + slope for each, slope in zip(x, slopes, strict=True)]


def _exclusive_terms(m: Message, shape: Shape, x: list[float]) -> list[Terms]:
    def term(part: Part, v: list[float]) -> float:
        total = math.fsum(map(abs, v))
        return part.weight * (0.5 * (total * total))

    sums = [sum((abs(Fraction(x[p])) for p in part.places), Fraction(0)) for part in parts(m.groups, shape)]
    error = 0.0 if all(Fraction(float(each)) == each for each in sums) else LAST_BITS
    return [Terms(m.strength, _placed(m, shape, x, term), error=error)]


def _exclusive_slope(m: Message, shape: Shape, x: Vector) -> Vector:
    def slope(part: Part, v: Vector) -> Vector:
        total = mpf(m.strength) * mpf(part.weight) * sum(map(abs, v), mpf(0))
        return [total * sign(each) for each in v]

    return _each(m, shape, x, slope)


def _exclusive_step(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
    def of_group(part: Part, v: Vector) -> Vector:
        u = uniform_size(sizes) * mpf(m.strength) * mpf(part.weight)
        ordered = sorted((abs(each) for each in v), reverse=True)
        taus = [u * sum(ordered[:k], mpf(0)) / (1 + k * u) for k in range(1, len(v) + 1)]
        tau = [each for each, kth in zip(taus, ordered, strict=True) if kth > each][-1:] or [mpf(0)]
        return [soft(each, tau[0]) for each in v]

    return _each(m, shape, x, of_group)


def _linf_step(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
    def of_group(part: Part, v: Vector) -> Vector:
        nearest = onto_l1_ball(v, uniform_size(sizes) * mpf(m.strength) * mpf(part.weight))
        return [each - near for each, near in zip(v, nearest, strict=True)]

    return _each(m, shape, x, of_group)


def of_sets(
    inside: Callable[[Message, float, list[float]], bool],
    project: Callable[[Message, Real, Vector], Vector],
    *,
    convex: bool = True,
) -> Row:
    """A set for each group, by the group's weight; a group inside stays."""

    def of_group(m: Message, part: Part, v: Vector) -> Vector:
        kept = inside(m, part.weight, [float(each) for each in v])
        return v if kept else project(m, mpf(part.weight), v)

    return of_set(
        lambda m, shape, x: all(
            inside(m, p.weight, [x[q] for q in p.places]) for p in parts(m.groups, shape)
        ),
        lambda m, shape, x: _each(m, shape, x, lambda part, v: of_group(m, part, v)),
        convex=convex,
    )


def _first_at(value: Real, count: int) -> Vector:
    return [value, *[mpf(0)] * (count - 1)]


def _onto_norms(lower: Real, upper: Real, v: Vector) -> Vector:
    length = norm(v)
    if length == 0:
        return _first_at(lower, len(v))
    return scaled_to(v, min(max(length, lower), upper))


def _norm_within(lower: float, upper: float, v: list[float]) -> bool:
    return lower * (1 - OVERLOOKED) <= math.hypot(*v) <= upper * (1 + OVERLOOKED)


def _level(m: Message, groups: Message) -> Message:
    return SimpleNamespace(strength=m.strength, groups=groups)


def _tree_terms(m: Message, shape: Shape, x: list[float]) -> list[Terms]:
    terms, error = [0.0] * len(x), 0.0
    for groups in m.nested_groups:
        error = max(error, _norms_error(_level(m, groups), shape, x))
        at = _placed(_level(m, groups), shape, x, lambda part, v: part.weight * rounded_norm(v))
        terms = [term + more for term, more in zip(terms, at, strict=True)]
    return [Terms(m.strength, terms, error=error)]


def _tree_slope(m: Message, shape: Shape, x: Vector) -> Vector:
    slopes = [GROUP_LASSO.gradient(_level(m, g), shape, x) for g in m.nested_groups if GROUP_LASSO.gradient]
    return [sum(each, mpf(0)) for each in zip(*slopes, strict=True)]


def _tree_step(m: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
    for groups in m.nested_groups:
        x = GROUP_LASSO.step(_level(m, groups), shape, x, sizes)
    return x


GROUP_LASSO = _of_norm(
    lambda m, r: r,
    lambda m, r: mpf(m.strength) if r else mpf(0),
    lambda m, r, size: max(r - size * mpf(m.strength), mpf(0)),
    scale=lambda m: float(m.strength),
)


def _mcp_of_norm(m: Message, r: float) -> float:
    near = min(r, m.concavity * m.strength)
    return float(near * (m.strength - near / (2 * m.concavity)))


def _scad_of_norm(m: Message, r: float) -> float:
    near = min(r, m.concavity * m.strength)
    excess = max(near - m.strength, 0.0)
    return float(m.strength * near - (excess * excess) / (2 * (m.concavity - 1)))


GROUPS = {
    **COUNTS,
    "group_lasso": GROUP_LASSO,
    "sparse_group_lasso": Row(_sparse_terms, _sparse_slope, _sparse_step),
    "exclusive_lasso": Row(_exclusive_terms, _exclusive_slope, _exclusive_step),
    "group_linf": Row(
        lambda m, shape, x: [
            Terms(m.strength, _placed(m, shape, x, lambda p, v: p.weight * max(map(abs, v))))
        ],
        lambda m, shape, x: _each(m, shape, x, lambda p, v: peaks(v, mpf(m.strength) * mpf(p.weight))),
        _linf_step,
    ),
    "max_norm": of_sets(
        lambda m, weight, v: math.hypot(*v) <= weight * m.radius * (1 + OVERLOOKED),
        lambda m, weight, v: scaled_to(v, weight * mpf(m.radius)),
    ),
    "group_mcp": _of_norm(
        _mcp_of_norm,
        lambda m, r: max(mpf(m.strength) - r / mpf(m.concavity), mpf(0)),
        mcp_step,
        convex=False,
    ),
    "group_scad": _of_norm(_scad_of_norm, scad_slope, scad_step, convex=False),
    "unit_norm": of_sets(
        lambda m, weight, v: _norm_within(weight, weight, v),
        lambda m, weight, v: _onto_norms(weight, weight, v),
        convex=False,
    ),
    "min_max_norm": of_sets(
        lambda m, weight, v: _norm_within(weight * m.lower, weight * m.upper, v),
        lambda m, weight, v: _onto_norms(weight * mpf(m.lower), weight * mpf(m.upper), v),
        convex=False,
    ),
    "tree_group_lasso": Row(_tree_terms, _tree_slope, _tree_step),
}

BALLS_OF_GROUPS = {
    "l1_ball": of_sets(
        lambda m, weight, v: sum(map(abs, v)) <= weight * m.radius * (1 + OVERLOOKED),
        lambda m, weight, v: onto_l1_ball(v, weight * mpf(m.radius)),
    ),
    "l2_ball": GROUPS["max_norm"],
    "simplex": of_sets(
        lambda m, weight, v: (
            min(v) >= 0 and abs(sum(v) - weight * m.radius) <= weight * m.radius * OVERLOOKED
        ),
        lambda m, weight, v: onto_simplex(v, weight * mpf(m.radius)),
    ),
    "top_k": of_sets(
        lambda m, _, v: sum(each != 0 for each in v) <= share(m, len(v)),
        lambda m, _, v: largest(v, share(m, len(v))),
        convex=False,
    ),
}
"""Sets that take groups where they have that field."""
