"""Penalties and sets of neighbours in a row."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels import FusedLasso, Isotonic, TotalVariation, TotalVariation2d, TrendFilter
from regularization_kernels.errors import FieldOutOfRange, LayoutInvalid

from tests.support.cases.folded import of_lines
from tests.support.cases.parameters import bad_numbers
from tests.support.cases.row import Rejected, Row
from tests.support.oracles.minimizers import Array
from tests.support.oracles.sequences import by_dual, by_image_dual, differences, off_dual, off_images, rows_of
from tests.support.oracles.sorted import best_of, isotonic_candidates
from tests.support.oracles.summation import Rule, Terms


def jump_terms(x: Array) -> list[float]:
    """|x_{i+1} − x_i| for neighbours in a row."""
    return [abs(b - a) for row in rows_of(x).tolist() for a, b in pairwise(row)]


def jump_summands(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """Each jump, times its weight, at the place of the first of its two elements."""
    del r
    rows = rows_of(x).tolist()
    jumps = {
        number * len(row) + at: abs(row[at + 1] - row[at])
        for number, row in enumerate(rows)
        for at in range(len(row) - 1)
    }
    return [(at, jump if weights is None else jump * float(weights[at])) for at, jump in jumps.items()]


def image_summands(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """The jump to the right and the jump down, added, at the place of the element that both start from."""
    del r
    assert weights is None
    terms: Terms = []
    height, width = x.shape[-2:]
    for number, image in enumerate(x.reshape(-1, height, width).tolist()):
        for i, j in itertools.product(range(height), range(width)):
            right = abs(image[i][j + 1] - image[i][j]) if j + 1 < width else 0.0
            down = abs(image[i + 1][j] - image[i][j]) if i + 1 < height else 0.0
            terms.append(((number * height + i) * width + j, right + down))
    return terms


def image_terms(r: Any, x: Array) -> list[float]:
    """Strength times every jump between neighbours in a row or a column."""
    jumps = (np.abs(np.diff(x, axis=axis)).ravel().tolist() for axis in (-1, -2))
    return [r.strength * jump for of_axis in jumps for jump in of_axis]


def fused_summands(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """An element's magnitude and the weighted jump after it, each times its strength, at its place."""
    jumps = dict(jump_summands(r, x, weights))
    return [
        (at, r.l1_strength * abs(e) + (r.tv_strength * jumps[at] if at in jumps else 0.0))
        for at, e in enumerate(x.ravel().tolist())
    ]


def kink_terms(r: TrendFilter, x: Array) -> list[float]:
    """Strength times the magnitudes of the differences, by their binomial formula, rounded once."""
    order = r.order + 1
    stencil = [(-1) ** (order - j) * math.comb(order, j) for j in range(order + 1)]
    return [
        r.strength * abs(float(sum(c * Fraction(e) for c, e in zip(stencil, row[at:], strict=False))))
        for row in rows_of(x).tolist()
        for at in range(len(row) - order)
    ]


def kink_summands(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """Differences of differences, each at the place of the first of its elements."""
    assert weights is None
    terms: Terms = []
    for number, row in enumerate(rows_of(x).tolist()):
        length = len(row)
        for _ in range(r.order + 1):
            row = [b - a for a, b in pairwise(row)]
        terms += [(number * length + at, abs(difference)) for at, difference in enumerate(row)]
    return terms


def off_trend_filter(r: TrendFilter, point: Array, slope: Array) -> float:
    """What a slope misses of a subgradient, the worst row's."""
    pairs = zip(rows_of(point), rows_of(slope), strict=True)
    return max(off_dual(differences(r.order + 1, p.size), p, s, r.strength) for p, s in pairs)


def off_total_variation(strength: float, point: Array, slope: Array) -> float:
    """What a slope misses of a subgradient, whose running sum is −u with |u| ≤ strength.

    At a jump u is strength times its sign, and at the end of a row 0.
    """
    worst = 0.0
    for p, s in zip(rows_of(point), rows_of(slope), strict=True):
        u = -np.cumsum(s)
        tight = np.where(np.diff(p) != 0, np.abs(u[:-1] - strength * np.sign(np.diff(p))), 0.0)
        excess = np.abs(u[:-1]) - strength
        worst = max(worst, abs(float(u[-1])), *tight.tolist(), *excess.tolist())
    return worst


def off_fused_lasso(r: FusedLasso, point: Array, slope: Array) -> float:
    """What a slope misses of a subgradient, with the best signs for the elements that are 0."""
    worst = 0.0
    for p, s in zip(rows_of(point), rows_of(slope), strict=True):
        # Which running sums u are possible: an interval that each element shifts, a zero element widens, and
        # the strength bounds.
        low = high = 0.0
        jumps = [*np.sign(np.diff(p)).tolist(), None]
        for element, part, jump in zip(p.tolist(), s.tolist(), jumps, strict=True):
            own = [math.copysign(r.l1_strength, element)] * 2 if element else [-r.l1_strength, r.l1_strength]
            low, high = low - part + own[0], high - part + own[1]
            least, most = (0.0, 0.0) if jump is None else (-r.tv_strength, r.tv_strength)
            if jump:
                least = most = r.tv_strength * jump
            worst = max(worst, least - high, low - most)
            low, high = min(max(low, least), most), min(max(high, least), most)
    return worst


def never_falls(_: Any, x: Array) -> list[float]:
    """The documented penalty of rows that decrease nowhere."""
    return [0.0 if bool((x[..., 1:] >= x[..., :-1]).all()) else math.inf]


def isotonic_terms(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """The same at the first element."""
    assert weights is None
    return [(0, never_falls(r, x)[0])]


def off_isotonic(r: Isotonic, point: Array, slope: Array) -> float:
    """Distance of a slope from the normals at nondecreasing rows: in a pool it sums to 0, never below."""
    del r
    worst = 0.0
    for at in np.ndindex(point.shape[:-1]):
        edges = np.flatnonzero(np.diff(point[at])) + 1
        for pool in np.split(slope[at], edges):
            sums = np.cumsum(pool)
            worst = max(worst, float(np.max(-sums, initial=0.0)), float(abs(sums[-1])))
    return worst


def no_axes(build: Any) -> tuple[Rejected, ...]:
    """Axes that there are not."""
    return (
        Rejected(FieldOutOfRange, "axis", partial(build, axis=-1)),
        Rejected(FieldOutOfRange, "axis", partial(build, axis=1), (4,)),
        Rejected(FieldOutOfRange, "axis", partial(build, axis=2**31 - 1), (3, 4)),
    )


SEQUENCES: tuple[Row, ...] = (
    Row(
        name="total_variation",
        terms=lambda r, x: [r.strength * jump for jump in jump_terms(x)],
        oracle=by_dual(lambda r, n: r.strength * differences(1, n)),
        certificate=lambda r, p, s: off_total_variation(r.strength, p, s),
        rule=Rule(jump_summands, scale=lambda r: float(r.strength)),
        instances={
            "": (TotalVariation(strength=0.3), (12,)),
            "-rows": (TotalVariation(strength=0.8), (3, 4)),
            "-heavy": (TotalVariation(strength=50.0), (2, 2, 3)),
            "-free": (TotalVariation(strength=0.0), (6,)),
            "-columns": (TotalVariation(strength=0.4, axis=0), (5, 2)),
            "-middle": (TotalVariation(strength=0.4, axis=1), (2, 3, 2)),
        },
        rejected=(
            *bad_numbers(lambda v: TotalVariation(strength=v), "strength"),
            *no_axes(partial(TotalVariation, strength=1.0)),
        ),
    ),
    Row(
        name="total_variation_2d",
        terms=image_terms,
        oracle=by_image_dual(lambda r: float(r.strength)),
        certificate=lambda r, p, s: off_images(p, s, float(r.strength)),
        rule=Rule(image_summands, scale=lambda r: float(r.strength)),
        instances={
            "": (TotalVariation2d(strength=0.3), (4, 4)),
            "-images": (TotalVariation2d(strength=0.5), (2, 3, 3)),
            "-heavy": (TotalVariation2d(strength=50.0), (3, 4)),
            "-row": (TotalVariation2d(strength=0.4), (1, 6)),
            "-free": (TotalVariation2d(strength=0.0), (2, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: TotalVariation2d(strength=v), "strength"),
            *(
                Rejected(LayoutInvalid, "shape", lambda: TotalVariation2d(strength=1.0), shape)
                for shape in ((), (4,))
            ),
        ),
        accuracy=10.0,
    ),
    Row(
        name="fused_lasso",
        terms=lambda r, x: [
            *(r.l1_strength * np.abs(x)).ravel().tolist(),
            *(r.tv_strength * jump for jump in jump_terms(x)),
        ],
        oracle=by_dual(
            lambda r, n: np.vstack((r.l1_strength * np.eye(n), r.tv_strength * differences(1, n)))
        ),
        certificate=off_fused_lasso,
        rule=Rule(fused_summands),
        instances={
            "": (FusedLasso(l1_strength=0.1, tv_strength=0.3), (12,)),
            "-rows": (FusedLasso(l1_strength=0.5, tv_strength=0.2), (3, 4)),
            "-l1-only": (FusedLasso(l1_strength=0.3, tv_strength=0.0), (6,)),
            "-tv-only": (FusedLasso(l1_strength=0.0, tv_strength=0.3), (6,)),
            "-columns": (FusedLasso(l1_strength=0.1, tv_strength=0.3, axis=0), (4, 3)),
        },
        rejected=(
            *bad_numbers(lambda v: FusedLasso(l1_strength=v, tv_strength=1.0), "l1_strength"),
            *bad_numbers(lambda v: FusedLasso(l1_strength=1.0, tv_strength=v), "tv_strength"),
            *no_axes(partial(FusedLasso, l1_strength=1.0, tv_strength=1.0)),
        ),
    ),
    Row(
        name="trend_filter",
        terms=kink_terms,
        oracle=by_dual(lambda r, n: r.strength * differences(r.order + 1, n)),
        certificate=off_trend_filter,
        rule=Rule(kink_summands, scale=lambda r: float(r.strength)),
        instances={
            "": (TrendFilter(strength=0.3, order=1), (12,)),
            "-steps": (TrendFilter(strength=0.3, order=0), (9,)),
            "-rows": (TrendFilter(strength=0.2, order=2), (2, 6)),
            "-highest": (TrendFilter(strength=0.1, order=5), (14,)),
        },
        rejected=(
            *bad_numbers(lambda v: TrendFilter(strength=v, order=1), "strength"),
            *(
                Rejected(FieldOutOfRange, "order", partial(TrendFilter, strength=1.0, order=order))
                for order in (-1, 6)
            ),
        ),
    ),
    Row(
        name="isotonic",
        terms=never_falls,
        oracle=best_of(isotonic_candidates),
        certificate=off_isotonic,
        rule=Rule(isotonic_terms),
        instances={
            "": (Isotonic(), (10,)),
            "-rows": (Isotonic(), (3, 4)),
            "-cube": (Isotonic(), (2, 2, 3)),
            "-columns": (Isotonic(axis=0), (4, 3)),
            "-decreasing": (Isotonic(decreasing=True), (2, 5)),
            "-decreasing-middle": (Isotonic(decreasing=True, axis=1), (2, 4, 2)),
        },
        rejected=(Rejected(LayoutInvalid, "shape", Isotonic, ()), *no_axes(Isotonic)),
    ),
)

ROWS: tuple[Row, ...] = tuple(
    row if row.name in ("trend_filter", "total_variation_2d") else of_lines(row) for row in SEQUENCES
)
