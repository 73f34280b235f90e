"""Sets of a whole segment that are asked of each of its groups: exact sums, thresholds, and who is alone."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import Groups, L1Ball, L2Ball, Locality, Simplex, TopK, gradient, penalty
from regularization_kernels.arrays import FLOAT64
from regularization_kernels.engine import Layout, Segment
from regularization_kernels.errors import ElementRangeInvalid, GradientUndefined
from regularization_kernels.regularizers.groups.simplices import nearest_in_simplices, sums_less

from tests.support.oracles.groupings import partition

Vector = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)
TINY = Fraction(2 * float(np.finfo(np.float64).smallest_subnormal))
SETS = (
    L1Ball(radius=0.5, groups=Groups(axis=0)),
    L2Ball(radius=0.5, groups=Groups(axis=0)),
    Simplex(radius=0.5, groups=Groups(axis=0)),
    TopK(count=2, groups=Groups(axis=0)),
)
every_set = pytest.mark.parametrize("regularizer", SETS, ids=lambda r: r.name)


def step(regularizer: Any, x: Vector) -> Vector:
    """The kernel's own step."""
    out = np.empty_like(x)
    with np.errstate(all="ignore"):
        regularizer.on(x.shape).prox(x, 1.0, out)
    return out


def exact_threshold(numbers: list[Fraction], radius: Fraction) -> Fraction:
    """What is taken off numbers for the rest to add up to the radius, by sorting them."""
    mass, threshold = Fraction(0), Fraction(0)
    for count, number in enumerate(sorted(numbers, reverse=True), 1):
        mass += number
        if number > (mass - radius) / count:
            threshold = (mass - radius) / count
    return threshold


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40), min_size=1, max_size=6),
    st.sampled_from([1e-300, 1e-9, 1.0, 1e9, 1e200]),
    st.sampled_from([1e-12, 1e-3, 1.0, 7.7, 1e6]),
    st.sampled_from([0.0, 1.0, 1e7]),
)
def test_thresholds_of_groups_are_those_of_rational_arithmetic(
    numbers: list[list[int]], scale: float, radius: float, offset: float
) -> None:
    """An element is a rounding error off, however much larger than the radius, and the sum is the radius."""
    radius *= scale
    x = np.concatenate([(np.array(group) / 7 + offset) * scale for group in numbers])
    groups = Groups(sizes=tuple(map(len, numbers)))
    for kind, term in ((Simplex, float), (L1Ball, abs)):
        new = step(kind(radius=radius, groups=groups), x)
        for part in partition(groups, x.shape):
            terms = [Fraction(term(e)) for e in x[part].tolist()]
            if kind is L1Ball and sum(terms) <= Fraction(radius) * (1 + Fraction(2 * EPSILON)):
                assert new[part].tobytes() == x[part].tobytes()
                continue
            threshold = exact_threshold(terms, Fraction(radius))
            left = [Fraction(term(e)) for e in new[part].tolist()]
            for got, of in zip(left, terms, strict=True):
                wanted = max(of - threshold, Fraction(0))
                error = Fraction(2 * EPSILON) * wanted + Fraction(1e-28) * Fraction(radius)
                assert abs(got - wanted) <= error + TINY
            assert abs(sum(left) - Fraction(radius)) <= Fraction(EPSILON * radius) + len(left) * TINY


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 1000, 100_003])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_long_groups_meet_their_sum(size: int, offset: float) -> None:
    """To within a unit in the last place of the radius, in exact arithmetic, whatever the group's length."""
    random = np.random.default_rng(size)
    rows = np.abs(random.normal(size=(3, size))) + offset
    rows[1] = np.round(rows[1], 1)
    radii = np.array([0.1, 0.3, 7.0])
    new = nearest_in_simplices(rows, radii)
    for row, start, radius in zip(new, rows, radii.tolist(), strict=True):
        assert abs(sum(map(Fraction, row.tolist())) - Fraction(radius)) <= Fraction(EPSILON * radius)
        assert (row >= 0).all()
        # The threshold is one for all that are left, and no other element is above it.
        kept = row > 0
        taken = start[kept] - row[kept]
        assert float(np.ptp(taken)) <= 4 * np.spacing(start.max())
        assert (start[~kept] <= taken.max() + np.spacing(start.max())).all()


@pytest.mark.parametrize("size", [1, 7, 256, 4097])
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_sums_are_compared_exactly(size: int, scale: float) -> None:
    """A sum is above, at or below a limit as its rational number is, though the next float64 is near."""
    random = np.random.default_rng(size)
    terms = np.abs(random.normal(size=(8, size))) * scale * 10.0 ** random.integers(-5, 6, (8, size))
    sums = [sum(map(Fraction, row)) for row in terms.tolist()]
    nearest = np.array([float(min(exact, Fraction(1.7e308))) for exact in sums])
    for limits in (nearest, np.nextafter(nearest, 0.0), np.nextafter(nearest, np.inf)):
        limits = np.minimum(limits, 1.7e308)
        wanted = [
            (exact > limit) - (exact < limit) for exact, limit in zip(sums, limits.tolist(), strict=True)
        ]
        assert np.sign(sums_less(terms, limits)).tolist() == wanted


def test_sums_of_what_is_not_finite() -> None:
    """A NaN makes NaN, and an infinity without one is above every limit."""
    terms = np.array([[1.0, math.inf], [math.nan, 1.0], [math.inf, math.nan], [0.0, 0.0]])
    np.testing.assert_array_equal(sums_less(terms, np.ones(4)), [math.inf, math.nan, math.nan, -1.0])


@every_set
def test_groups_do_not_know_of_each_other(regularizer: Any) -> None:
    """A NaN, or an infinity, makes NaN of its group, and changes no bit of another's."""
    x = np.random.default_rng(1).normal(size=(4, 5))
    clean = step(regularizer, x)
    for bad in (math.nan, math.inf, -math.inf):
        given_x = x.copy()
        given_x[2, 1] = bad
        new = step(regularizer, given_x)
        assert np.isnan(new[2]).all()
        assert np.delete(new, 2, 0).tobytes() == np.delete(clean, 2, 0).tobytes()


@every_set
def test_the_gradient_names_the_first_group_outside(regularizer: Any) -> None:
    """By its first element; where a number must not be negative, by that one."""
    x = step(regularizer, np.random.default_rng(2).normal(size=(4, 5)))
    assert not gradient(x, regularizer)[0].any()
    x[2], x[3] = 9.0, 9.0
    with pytest.raises(GradientUndefined, match=r"got") as caught:
        gradient(x, regularizer)
    assert caught.value.element == 10
    if regularizer.name == "simplex":
        x[2, 3] = -0.5
        with pytest.raises(GradientUndefined, match=r"must be >= 0 to have a gradient, got -0\.5") as caught:
            gradient(x, regularizer)
        assert caught.value.element == 13


@every_set
def test_a_term_stands_at_each_group_s_first_element(regularizer: Any) -> None:
    """One group outside is enough for an infinite penalty, and only that range has it."""
    x = step(regularizer, np.random.default_rng(3).normal(size=(4, 5)))
    x[2] = 9.0
    for begin, value in ((0, 0.0), (5, 0.0), (10, math.inf), (15, 0.0)):
        figures = penalty(x.reshape(-1)[begin : begin + 5], _of_vector(regularizer)).total
        assert figures.penalty is not None
        assert figures.penalty.value == value


def _of_vector(regularizer: Any) -> Any:
    fields = {"count": regularizer.count} if regularizer.name == "top_k" else {"radius": regularizer.radius}
    return type(regularizer)(**fields)


@every_set
def test_a_segment_may_be_cut_where_groups_end(regularizer: Any) -> None:
    """Contiguous groups have locality GROUP and no reduction, however long the segment is."""
    assert regularizer.traits.locality is Locality.REDUCTION
    layout = Layout(FLOAT64, (Segment("w", (1 << 18, 8), regularizer),))
    (segment,) = layout.segments
    assert segment.locality is Locality.GROUP
    assert segment.prepared is not None
    assert segment.prepared.reduction() is None
    layout.check_range(80, 8000)
    with pytest.raises(ElementRangeInvalid, match="cuts are where groups end"):
        layout.check_range(81, 8000)


@every_set
def test_columns_need_the_whole_segment(regularizer: Any) -> None:
    """Slices along a later axis interleave; of balls their norms are enough."""
    fields = {"count": 2} if regularizer.name == "top_k" else {"radius": 0.5}
    columns = type(regularizer)(**fields, groups=Groups(axis=1))
    (segment,) = Layout(FLOAT64, (Segment("w", (6, 4), columns),)).segments
    by_norms = regularizer.name == "l2_ball"
    assert segment.locality is (Locality.REDUCTION if by_norms else Locality.SEGMENT)
    x = np.random.default_rng(4).normal(size=(6, 4))
    rows = type(regularizer)(**fields, groups=Groups(axis=0))
    # Norms of slices that interleave are rounded once, those of runs are added pairwise.
    np.testing.assert_array_max_ulp(
        step(columns, x), step(rows, np.ascontiguousarray(x.T)).T, 2 if by_norms else 0
    )
