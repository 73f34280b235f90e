"""Norms of whole segments, and sets that these must lie in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels import Groups, L1Ball, L2Ball, L2Norm, LinfNorm, Oscar, Simplex, Slope, TopK
from regularization_kernels.errors import FieldMissing, FieldOutOfRange, GroupsInvalid, LayoutInvalid

from tests.support.cases.groups import RAGGED, norm, off_norm, off_peak, peak
from tests.support.cases.parameters import bad_groups, bad_numbers
from tests.support.cases.row import Rejected, Row
from tests.support.oracles.groupings import sets_of
from tests.support.oracles.groups import by_ceiling, by_set_alone, whole
from tests.support.oracles.minimizers import Array, by_group
from tests.support.oracles.sorted import (
    best_of,
    l1_ball_candidates,
    largest_count,
    simplex_candidates,
    slope_candidates,
    strengths_of,
    top_k_candidates,
)
from tests.support.oracles.summation import Rule, Terms

Inside = Callable[[Any, list[float], float, float], bool]
"""Whether a segment of these elements is in the set, where sums may be off by eps times as much and by some
smallest numbers."""


def slack(bound: float, elements: int, eps: float, tiny: float) -> float:
    """By how much a sum or a norm may miss its bound."""
    return 2.0 * (eps * bound + elements * tiny)


def in_l1_ball(r: Any, x: list[float], eps: float, tiny: float) -> bool:
    """A sum of magnitudes of at most the radius."""
    return math.fsum(map(abs, x)) <= r.radius + slack(r.radius, len(x), eps, tiny)


def in_l2_ball(r: Any, x: list[float], eps: float, tiny: float) -> bool:
    """A norm of at most the radius."""
    return math.hypot(*x) <= r.radius + slack(r.radius, len(x), eps, tiny)


def in_simplex(r: Any, x: list[float], eps: float, tiny: float) -> bool:
    """Nonnegative, and the radius as their sum."""
    return all(e >= 0 for e in x) and abs(math.fsum(x) - r.radius) <= slack(r.radius, len(x), eps, tiny)


def has_at_most_count(r: Any, x: list[float], eps: float, tiny: float) -> bool:
    """Few enough elements that are not 0."""
    del eps, tiny
    return len(x) - x.count(0.0) <= largest_count(r, len(x))


def terms_of(inside: Inside) -> Callable[[Any, Array], list[float]]:
    """The documented penalty of a set, or of one for each group, in float64."""
    limits = np.finfo(np.float64)
    eps, tiny = float(limits.eps), float(limits.smallest_subnormal)
    return lambda r, x: [
        0.0 if inside(one, x.ravel()[part].tolist(), eps, tiny) else math.inf
        for one, part in sets_of(r, x.shape)
    ]


def rule_of(inside: Inside) -> Rule:
    """The rule of summation of sets: a term at the first element of each, by the data type's tolerance."""

    def terms(meant: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
        assert weights is None
        r, dtype = meant
        limits = np.finfo(dtype)
        eps, tiny = float(limits.eps), float(limits.smallest_subnormal)
        found = [
            (part, inside(one, x.ravel()[part].tolist(), eps, tiny)) for one, part in sets_of(r, x.shape)
        ]
        return [(int(part[0]) if part.size else 0, 0.0 if within else math.inf) for part, within in found]

    return Rule(terms, rounded=lambda r, dtype: (r, dtype))


def whole_summand(number: Any) -> Any:
    """The rule of a row that adds a number for the segment, at its first element."""

    def terms(r: Any, x: Array, weights: Array | None) -> Terms:
        del r
        assert weights is None
        return [(0, number(x.ravel()))]

    return terms


def slope_summands(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """Strengths times sorted magnitudes, each at the place of its rank."""
    assert weights is None
    descending = sorted(map(abs, x.ravel().tolist()), reverse=True)
    return [(at, e * s) for at, (e, s) in enumerate(zip(descending, strengths_of(r, x.size), strict=True))]


def is_full(size: float, radius: float) -> bool:
    """Whether a sum or norm has reached its bound."""
    return size >= radius * (1 - 1e-12)


def worst_set(miss: Any) -> Any:
    """The largest of what the slopes miss on a set; ``miss`` takes its regularizer, point and slope."""

    def worst(r: Any, point: Array, slope: Array) -> float:
        flat, slopes = point.ravel(), slope.ravel()
        return max(
            (miss(one, flat[part], slopes[part]) for one, part in sets_of(r, point.shape)), default=0.0
        )

    return worst


def off_threshold(slope: Array, support: Array) -> float:
    """Distance of a slope from one that is some τ ≥ 0 on the support and at most τ elsewhere."""
    tau = float(np.max(slope, initial=0.0))
    return float(np.max(np.where(support, tau - slope, 0.0), initial=0.0))


def off_l1_ball(r: L1Ball, point: Array, slope: Array) -> float:
    """Distance of a slope from the normals of the L1 ball: the threshold is the certificate."""
    if not is_full(float(np.sum(np.abs(point))), r.radius):
        return float(np.max(np.abs(slope), initial=0.0))
    outwards = np.where(point == 0, np.abs(slope), slope * np.sign(point))
    return off_threshold(outwards, point != 0)


def off_simplex(r: Simplex, point: Array, slope: Array) -> float:
    """Distance of a slope from the normals of the simplex: τ on the support, at most τ elsewhere."""
    del r
    if not point.any():
        return 0.0
    tau = float(slope.ravel()[np.argmax(point)])
    return float(np.max(np.where(point > 0, np.abs(slope - tau), slope - tau), initial=0.0))


def off_l2_ball(r: L2Ball, point: Array, slope: Array) -> float:
    """Distance of a slope from the normals of the L2 ball: they point away from its centre."""
    if not is_full(math.hypot(*point.ravel().tolist()), r.radius):
        return float(np.max(np.abs(slope), initial=0.0))
    if not point.any():
        return 0.0
    along = max(float(np.sum(slope * point)) / float(np.sum(point * point)), 0.0)
    return float(np.max(np.abs(slope - along * point)))


def off_top_k(r: TopK, point: Array, slope: Array) -> float:
    """What was taken off elements that stay, or of any where a place is left: nothing may be."""
    moves = (
        np.abs(slope)[point != 0]
        if np.count_nonzero(point) == largest_count(r, point.size)
        else np.abs(slope)
    )
    return float(np.max(moves, initial=0.0))


def off_majorized(slopes: Array, strengths: Array, *, tight: bool) -> float:
    """By how much sums of the largest slopes exceed the strengths', or the whole sum misses theirs."""
    gaps = np.cumsum(-np.sort(-slopes)) - np.cumsum(strengths)
    return max(float(np.max(gaps, initial=0.0)), float(abs(gaps[-1])) if tight else 0.0)


def off_slope(r: Slope, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential: among equal magnitudes the strengths majorize it."""
    magnitudes, strengths = np.abs(point.ravel()), strengths_of(r, point.size)
    signs = np.sign(point.ravel())
    outwards = np.where(signs == 0, np.abs(slope.ravel()), slope.ravel() * signs)
    worst, first = 0.0, 0
    for magnitude in np.unique(magnitudes)[::-1]:
        tied = outwards[magnitudes == magnitude]
        ranks = strengths[first : first + tied.size]
        worst = max(worst, off_majorized(tied, ranks, tight=bool(magnitude > 0)))
        first += tied.size
    return worst


def slope_with(*values: float) -> Slope:
    """SLOPE with explicit strengths."""
    return Slope(strengths=values)


def oscar(l1_strength: float, pairwise_strength: float) -> Slope:
    """SLOPE with OSCAR's strengths."""
    return Slope(oscar=Oscar(l1_strength, pairwise_strength))


BAD_STRENGTHS = (
    *(
        Rejected(FieldOutOfRange, "strengths", partial(slope_with, 1.0, value))
        for value in (-0.5, 2.0, math.inf, math.nan)
    ),
    Rejected(FieldOutOfRange, "strengths[0]", lambda: slope_with(-0.5, -1.0)),
    Rejected(FieldOutOfRange, "strengths[2]", lambda: slope_with(1.0, 0.0, 0.5)),
    Rejected(LayoutInvalid, "strengths", lambda: slope_with(1.0, 0.5), (3,)),
    Rejected(LayoutInvalid, "strengths", slope_with, (1,)),
    Rejected(FieldMissing, None, Slope),
    Rejected(FieldOutOfRange, "oscar", lambda: Slope(strengths=(1.0,), oscar=Oscar(1.0, 1.0))),
    *bad_numbers(lambda v: oscar(v, 1.0), "l1_strength"),
    *bad_numbers(lambda v: oscar(1.0, v), "pairwise_strength"),
)


def exactly_rooted_sum(x: Array) -> float:
    """The root of the sum of squares, which is rounded once."""
    return math.sqrt(math.fsum((x * x).ravel().tolist()))


ROWS: tuple[Row, ...] = (
    Row(
        name="l2_norm",
        terms=lambda r, x: [r.strength * norm(x.ravel())],
        oracle=by_group(whole),
        certificate=lambda r, p, s: off_norm(r.strength, p.ravel(), s.ravel()),
        rule=Rule(whole_summand(exactly_rooted_sum), scale=lambda r: float(r.strength)),
        instances={"": (L2Norm(strength=0.3), (3, 4)), "-free": (L2Norm(strength=0.0), (6,))},
        rejected=bad_numbers(lambda v: L2Norm(strength=v), "strength"),
    ),
    Row(
        name="linf_norm",
        terms=lambda r, x: [r.strength * peak(x)],
        oracle=by_ceiling(whole),
        certificate=lambda r, p, s: off_peak(r.strength, p.ravel(), s.ravel()),
        rule=Rule(whole_summand(peak), scale=lambda r: float(r.strength)),
        instances={"": (LinfNorm(strength=0.3), (3, 4)), "-free": (LinfNorm(strength=0.0), (6,))},
        rejected=bad_numbers(lambda v: LinfNorm(strength=v), "strength"),
    ),
    Row(
        name="l1_ball",
        terms=terms_of(in_l1_ball),
        oracle=by_set_alone(best_of(l1_ball_candidates)),
        certificate=worst_set(off_l1_ball),
        rule=rule_of(in_l1_ball),
        instances={
            "": (L1Ball(radius=2.0), (12,)),
            "-point": (L1Ball(radius=0.0), (6,)),
            "-wide": (L1Ball(radius=9.7), (2, 5)),
            "-size": (L1Ball(radius=0.8, groups=Groups(size=4)), (12,)),
            "-sizes": (L1Ball(radius=0.5, groups=Groups(**RAGGED, sqrt_size=True)), (12,)),
            "-columns": (L1Ball(radius=0.5, groups=Groups(axis=1, weights=(0.0, 0.5, 3.0))), (4, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: L1Ball(radius=v), "radius"),
            *bad_groups(lambda **groups: L1Ball(radius=1.0, groups=Groups(**groups))),
        ),
    ),
    Row(
        name="l2_ball",
        terms=terms_of(in_l2_ball),
        oracle=by_set_alone(by_group(whole)),
        certificate=worst_set(off_l2_ball),
        rule=rule_of(in_l2_ball),
        instances={
            "": (L2Ball(radius=0.7), (12,)),
            "-point": (L2Ball(radius=0.0), (6,)),
            "-wide": (L2Ball(radius=3.3), (2, 5)),
            "-size": (L2Ball(radius=0.6, groups=Groups(size=4)), (12,)),
            "-sizes": (L2Ball(radius=0.4, groups=Groups(**RAGGED, sqrt_size=True)), (12,)),
            "-columns": (L2Ball(radius=0.4, groups=Groups(axis=1, weights=(0.0, 0.5, 3.0))), (4, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: L2Ball(radius=v), "radius"),
            *bad_groups(lambda **groups: L2Ball(radius=1.0, groups=Groups(**groups))),
        ),
    ),
    Row(
        name="simplex",
        terms=terms_of(in_simplex),
        oracle=by_set_alone(best_of(simplex_candidates)),
        certificate=worst_set(off_simplex),
        rule=rule_of(in_simplex),
        instances={
            "": (Simplex(radius=6.0), (12,)),
            "-point": (Simplex(radius=0.0), (6,)),
            "-unit": (Simplex(radius=1.0), (2, 5)),
            "-size": (Simplex(radius=1.0, groups=Groups(size=4)), (12,)),
            "-sizes": (Simplex(radius=0.5, groups=Groups(**RAGGED, sqrt_size=True)), (12,)),
            "-columns": (Simplex(radius=1.0, groups=Groups(axis=1, weights=(0.0, 0.5, 3.0))), (4, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: Simplex(radius=v), "radius"),
            Rejected(LayoutInvalid, "shape", lambda: Simplex(radius=1.0), (0,)),
            Rejected(LayoutInvalid, "shape", lambda: Simplex(radius=0.1), (3, 0)),
            Rejected(LayoutInvalid, "shape", lambda: Simplex(radius=0.1, groups=Groups(axis=0)), (3, 0)),
            *bad_groups(lambda **groups: Simplex(radius=1.0, groups=Groups(**groups))),
        ),
    ),
    Row(
        name="top_k",
        terms=terms_of(has_at_most_count),
        oracle=by_set_alone(best_of(top_k_candidates)),
        certificate=worst_set(off_top_k),
        rule=rule_of(has_at_most_count),
        outside=lambda _, x: np.where(x == 0, 0.5, x),
        instances={
            "": (TopK(count=3), (12,)),
            "-none": (TopK(count=0), (6,)),
            "-most": (TopK(count=8), (2, 5)),
            "-quarter": (TopK(fraction=0.25), (10,)),
            "-no-part": (TopK(fraction=0.0), (6,)),
            "-all": (TopK(fraction=1.0), (2, 3)),
            "-size": (TopK(count=2, groups=Groups(size=4)), (12,)),
            "-sizes": (TopK(fraction=0.4, groups=Groups(**RAGGED)), (12,)),
            "-columns": (TopK(count=1, groups=Groups(axis=1)), (4, 3)),
            "-column-shares": (TopK(fraction=0.5, groups=Groups(axis=1)), (3, 4)),
        },
        rejected=(
            Rejected(FieldOutOfRange, "count", lambda: TopK(count=5, groups=Groups(size=4)), (12,)),
            Rejected(FieldOutOfRange, "count", lambda: TopK(count=2, groups=Groups(**RAGGED)), (12,)),
            Rejected(FieldOutOfRange, "count", lambda: TopK(count=1, groups=Groups(axis=0)), (3, 0)),
            *(
                Rejected(
                    GroupsInvalid, f"groups.{name}", lambda g=g: TopK(count=1, groups=Groups(size=6, **g))
                )
                for name, g in (("sqrt_size", {"sqrt_size": True}), ("weights", {"weights": (1.0, 1.0)}))
            ),
            # Groups with weights are no groups of this one's, whatever the shape.
            *(
                bad
                for bad in bad_groups(lambda **groups: TopK(count=0, groups=Groups(**groups)))
                if bad.shape is None or bad.field != "weights"
            ),
            Rejected(FieldOutOfRange, "count", lambda: TopK(count=-1)),
            Rejected(FieldOutOfRange, "count", lambda: TopK(count=13), (3, 4)),
            Rejected(FieldOutOfRange, "count", lambda: TopK(count=1), (0,)),
            Rejected(FieldMissing, None, TopK),
            Rejected(FieldOutOfRange, "fraction", lambda: TopK(count=1, fraction=0.5)),
            *(
                Rejected(FieldOutOfRange, "fraction", lambda v=v: TopK(fraction=v))
                for v in (-0.1, 1.1, math.nan, math.inf, -math.inf, math.nextafter(1, 2))
            ),
        ),
    ),
    Row(
        name="slope",
        terms=lambda r, x: strengths_of(r, x.size) * -np.sort(-np.abs(x.ravel())),
        oracle=best_of(slope_candidates),
        certificate=off_slope,
        rule=Rule(slope_summands),
        instances={
            "": (slope_with(0.9, 0.7, 0.7, 0.5, 0.25, 0.25, 0.1, 0.0), (8,)),
            "-oscar": (oscar(0.1, 0.05), (2, 4)),
            "-heavy": (oscar(3.0, 2.0), (6,)),
            "-free": (slope_with(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (6,)),
        },
        rejected=BAD_STRENGTHS,
    ),
)
