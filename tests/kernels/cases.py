"""The table of cases: every regularizer, its documented penalty, and what must be true of it.

A row says everything that the tests know of one regularizer: the penalty's terms, written from the
documentation and not from the kernels; a way to find the proximal point from those terms alone; how far a
slope is from the subdifferential; what the contract's rule of summation adds, to the bit; instances with the
shapes they are tried on; and constructions that must fail. The laws in this package run over every row. To
add a regularizer, add one row to ``ROWS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from regularization_kernels import Box, ElasticNet, GroupLasso, Groups, L1Norm, NuclearNorm, SquaredL2Norm
from regularization_kernels.errors import (
    FieldMissing,
    FieldOutOfRange,
    GroupsInvalid,
    LayoutInvalid,
    RegularizationError,
)

from tests.kernels.groupings import group_weights, partition
from tests.kernels.oracles import Array, Formula, Oracle, by_element, by_factors, by_group, total
from tests.kernels.reference import Rule, group_summands, singular_summands, summands

Certificate = Callable[[Any, Array, Array], float]
"""How far a slope is from the subdifferential at a point: 0 where it belongs to it."""


@dataclass(frozen=True)
class Rejected:
    """A construction, or a regularizer on a shape, that must fail."""

    error: type[RegularizationError]
    field: str | None
    build: Callable[[], Any]
    shape: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        """A name for the test's id."""
        return f"{self.error.__name__}-{self.field}"


@dataclass(frozen=True)
class Row:
    """What is true of one regularizer."""

    name: str
    terms: Formula
    oracle: Oracle
    certificate: Certificate
    rule: Rule
    instances: dict[str, tuple[Any, tuple[int, ...]]]
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Case:
    """One regularizer with its parameters, on a segment of one shape."""

    label: str
    regularizer: Any
    shape: tuple[int, ...]
    row: Row = field(repr=False)

    @property
    def ready(self) -> Any:
        """The regularizer made ready for the shape."""
        return self.regularizer.on(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def penalty(self, x: Array) -> float:
        """The documented penalty."""
        return total(self.row.terms(self.regularizer, np.asarray(x, dtype=np.float64).reshape(self.shape)))


def group_norm_terms(strength: float, groups: Groups, x: Array) -> list[float]:
    """Strength times weight times Euclidean norm, one for each group."""
    parts = partition(groups, x.shape)
    weights = group_weights(groups, parts)
    flat = x.ravel()
    return [strength * w * math.hypot(*flat[part].tolist()) for w, part in zip(weights, parts, strict=True)]


def off_scaled_sign(scale: float, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential of ``scale * sum |x|``."""
    off_zero = np.abs(slope - scale * np.sign(point))
    at_zero = np.maximum(np.abs(slope) - scale, 0.0)
    return float(np.max(np.where(point == 0, at_zero, off_zero), initial=0.0))


def within(box: Box, number: float) -> bool:
    """Whether a number is between the bounds."""
    return (box.lower is None or number >= box.lower) and (box.upper is None or number <= box.upper)


def rounded_bounds(box: Box, dtype: type[np.floating[Any]]) -> Box:
    """The box with its bounds rounded to a data type."""
    lower, upper = (None if bound is None else float(dtype(bound)) for bound in (box.lower, box.upper))
    return Box(lower=lower, upper=upper)


def off_normal_cone(box: Box, point: Array, slope: Array) -> float:
    """Distance of a slope from the cone of directions that point out of the box."""
    outward = (point == box.upper) & (slope > 0) | (point == box.lower) & (slope < 0)
    return float(np.max(np.where(outward, 0.0, np.abs(slope)), initial=0.0))


def off_group_lasso(regularizer: GroupLasso, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential of weighted group norms, the worst group's."""
    parts = partition(regularizer.groups, point.shape)
    worst = 0.0
    for weight, part in zip(group_weights(regularizer.groups, parts), parts, strict=True):
        x, s, radius = point.ravel()[part], slope.ravel()[part], regularizer.strength * weight
        norm = math.hypot(*x.tolist())
        miss = math.hypot(*(s - radius * x / norm).tolist()) if norm else math.hypot(*s.tolist()) - radius
        worst = max(worst, miss)
    return worst


def off_nuclear_norm(regularizer: NuclearNorm, point: Array, slope: Array) -> float:
    """What a slope misses of a subgradient: spectral norm at most the strength, tight along the point."""
    if not point.size:
        return 0.0
    excess = float(np.linalg.norm(slope, 2)) - regularizer.strength
    slack = regularizer.strength * float(np.linalg.norm(point, "nuc")) - float(np.sum(slope * point))
    return float(max(excess, abs(slack), 0.0))


def bad_numbers(build: Callable[[float], Any], name: str) -> tuple[Rejected, ...]:
    """The numbers that no strength may be."""
    values = (-0.5, -math.inf, math.inf, math.nan)
    return tuple(Rejected(FieldOutOfRange, name, partial(build, value)) for value in values)


def lasso(strength: float = 0.3, **groups: Any) -> GroupLasso:
    """A group lasso over groups made of keyword arguments."""
    return GroupLasso(strength=strength, groups=Groups(**groups))


def bad_groups(build: Callable[..., Any]) -> tuple[Rejected, ...]:
    """Groups that no regularizer takes, given a way to build one from the groups' fields."""
    wrong: list[tuple[type[RegularizationError], str | None, dict[str, Any], tuple[int, ...] | None]] = [
        (FieldMissing, None, {}, None),
        (FieldMissing, None, {"sqrt_size": True}, None),
        (GroupsInvalid, None, {"size": 2, "axis": 0}, None),
        (GroupsInvalid, None, {"size": 2, "sizes": (2,)}, None),
        (GroupsInvalid, None, {"size": 2, "sqrt_size": False, "weights": (1.0,)}, None),
        (GroupsInvalid, "size", {"size": 0}, None),
        (GroupsInvalid, "size", {"size": -3}, None),
        (GroupsInvalid, "sizes", {"sizes": (2, 0)}, None),
        (GroupsInvalid, "sizes", {"sizes": (-1, 3)}, None),
        (FieldOutOfRange, "axis", {"axis": -1}, None),
        (FieldOutOfRange, "weights", {"size": 1, "weights": (1.0, -0.5)}, None),
        (FieldOutOfRange, "weights", {"size": 1, "weights": (math.nan,)}, None),
        (FieldOutOfRange, "weights", {"size": 1, "weights": (math.inf,)}, None),
        (GroupsInvalid, "size", {"size": 5}, (12,)),
        (GroupsInvalid, "sizes", {"sizes": (5, 5)}, (12,)),
        (GroupsInvalid, "sizes", {"sizes": (5, 8)}, (12,)),
        (GroupsInvalid, "sizes", {"sizes": ()}, (12,)),
        (GroupsInvalid, "weights", {"size": 6, "weights": (1.0,)}, (12,)),
        (GroupsInvalid, "weights", {"axis": 0, "weights": (1.0, 1.0)}, (3, 4)),
        (GroupsInvalid, "axis", {"axis": 2}, (3, 4)),
        (GroupsInvalid, "axis", {"axis": 0}, ()),
    ]
    return tuple(Rejected(e, at, partial(build, **g), shape) for e, at, g, shape in wrong)


ROWS: tuple[Row, ...] = (
    Row(
        name="l1_norm",
        terms=lambda r, x: r.strength * np.abs(x),
        oracle=by_element,
        certificate=lambda r, p, s: off_scaled_sign(r.strength, p, s),
        rule=Rule(summands(lambda _, e: abs(e)), scale=lambda r: float(r.strength)),
        instances={
            "": (L1Norm(strength=0.3), (12,)),
            "-free": (L1Norm(strength=0.0), (6,)),
            "-heavy": (L1Norm(strength=50.0), (3, 4)),
        },
        rejected=bad_numbers(lambda v: L1Norm(strength=v), "strength"),
    ),
    Row(
        name="squared_l2_norm",
        terms=lambda r, x: r.strength * 0.5 * x * x,
        oracle=by_element,
        certificate=lambda r, p, s: float(np.max(np.abs(s - r.strength * p), initial=0.0)),
        rule=Rule(summands(lambda _, e: 0.5 * (e * e)), scale=lambda r: float(r.strength)),
        instances={
            "": (SquaredL2Norm(strength=0.7), (12,)),
            "-free": (SquaredL2Norm(strength=0.0), (6,)),
            "-heavy": (SquaredL2Norm(strength=50.0), (2, 3)),
        },
        rejected=bad_numbers(lambda v: SquaredL2Norm(strength=v), "strength"),
    ),
    Row(
        name="elastic_net",
        terms=lambda r, x: r.l1_strength * np.abs(x) + r.l2_strength * 0.5 * x * x,
        oracle=by_element,
        certificate=lambda r, p, s: off_scaled_sign(r.l1_strength, p, s - r.l2_strength * p),
        rule=Rule(summands(lambda r, e: abs(e) * (r.l1_strength + abs(e) * (0.5 * r.l2_strength)))),
        instances={
            "": (ElasticNet(l1_strength=0.3, l2_strength=0.7), (12,)),
            "-l1-only": (ElasticNet(l1_strength=0.3, l2_strength=0.0), (6,)),
            "-l2-only": (ElasticNet(l1_strength=0.0, l2_strength=0.7), (6,)),
            "-free": (ElasticNet(l1_strength=0.0, l2_strength=0.0), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: ElasticNet(l1_strength=v, l2_strength=1.0), "l1_strength"),
            *bad_numbers(lambda v: ElasticNet(l1_strength=1.0, l2_strength=v), "l2_strength"),
        ),
    ),
    Row(
        name="box",
        terms=lambda r, x: [0.0 if within(r, e) else math.inf for e in x.ravel().tolist()],
        oracle=by_element,
        certificate=off_normal_cone,
        rule=Rule(summands(lambda r, e: 0.0 if within(r, e) else math.inf), rounded=rounded_bounds),
        instances={
            "": (Box(lower=-0.3, upper=0.6), (12,)),
            "-nonnegative": (Box(lower=0.0), (6,)),
            "-capped": (Box(upper=0.1), (6,)),
            "-point": (Box(lower=0.25, upper=0.25), (6,)),
            "-off-zero": (Box(lower=0.5, upper=2.0), (2, 3)),
        },
        rejected=(
            Rejected(FieldMissing, None, Box),
            Rejected(FieldOutOfRange, "lower", lambda: Box(lower=2.0, upper=1.0)),
            Rejected(FieldOutOfRange, "lower", lambda: Box(lower=math.nan)),
            Rejected(FieldOutOfRange, "lower", lambda: Box(lower=-math.inf, upper=1.0)),
            Rejected(FieldOutOfRange, "upper", lambda: Box(upper=math.inf)),
            Rejected(FieldOutOfRange, "upper", lambda: Box(lower=0.0, upper=math.nan)),
        ),
    ),
    Row(
        name="group_lasso",
        terms=lambda r, x: group_norm_terms(r.strength, r.groups, x),
        oracle=by_group(lambda r, shape: partition(r.groups, shape)),
        certificate=off_group_lasso,
        rule=Rule(group_summands, scale=lambda r: float(r.strength)),
        instances={
            "-size": (lasso(size=3), (12,)),
            "-whole": (lasso(size=12), (12,)),
            "-sizes": (lasso(sizes=(1, 4, 2, 5)), (12,)),
            "-rows": (lasso(axis=0), (4, 3)),
            "-columns": (lasso(axis=1), (4, 3)),
            "-middle": (lasso(axis=1, sqrt_size=True), (2, 3, 2)),
            "-sqrt": (lasso(sizes=(1, 4, 2, 5), sqrt_size=True), (12,)),
            "-weights": (lasso(size=4, weights=(0.0, 0.5, 3.0)), (12,)),
            "-column-weights": (lasso(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-free": (lasso(strength=0.0, size=2), (6,)),
        },
        rejected=(*bad_numbers(lambda v: lasso(v, size=1), "strength"), *bad_groups(lasso)),
    ),
    Row(
        name="nuclear_norm",
        terms=lambda r, x: (
            [r.strength * sigma for sigma in np.linalg.svd(x, compute_uv=False)] if x.size else []
        ),
        oracle=by_factors(lambda r: float(r.strength)),
        certificate=off_nuclear_norm,
        rule=Rule(singular_summands, scale=lambda r: float(r.strength)),
        instances={
            "": (NuclearNorm(strength=0.3), (3, 4)),
            "-tall": (NuclearNorm(strength=0.8), (5, 2)),
            "-row": (NuclearNorm(strength=0.3), (1, 6)),
            "-column": (NuclearNorm(strength=0.3), (6, 1)),
            "-free": (NuclearNorm(strength=0.0), (3, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: NuclearNorm(strength=v), "strength"),
            Rejected(LayoutInvalid, "shape", lambda: NuclearNorm(strength=1.0), ()),
            Rejected(LayoutInvalid, "shape", lambda: NuclearNorm(strength=1.0), (12,)),
            Rejected(LayoutInvalid, "shape", lambda: NuclearNorm(strength=1.0), (2, 3, 2)),
        ),
    ),
)

CASES: tuple[Case, ...] = tuple(
    Case(f"{row.name}{suffix}", regularizer, shape, row)
    for row in ROWS
    for suffix, (regularizer, shape) in row.instances.items()
)
