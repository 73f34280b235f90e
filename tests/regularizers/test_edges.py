"""Edges: zeros, ties, the ends of the number range, empty segments, results over the input."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import L1Norm, NuclearNorm, SpectralNorm, SquaredL2Norm, penalty, proximal_step
from regularization_kernels import gradient as whole_gradient
from regularization_kernels.errors import GradientUndefined
from regularization_kernels.summation import BLOCK, ExactSum

from tests.support.cases import CASES, ROWS, Case
from tests.support.inputs import (
    FLOATS,
    cases_with,
    feasible,
    fits,
    gradient,
    inputs,
    locality,
    prox,
    rng,
    shaped,
    value,
)
from tests.support.oracles.groupings import partition
from tests.support.together import for_each

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
every_penalty = pytest.mark.parametrize("case", cases_with(indicator=False), ids=lambda case: case.label)
every_float = for_each("dtype", FLOATS)


@every_case
@every_float
def test_type_and_shape_in_are_type_and_shape_out(case: Case, dtype: type[np.floating[Any]]) -> None:
    """Results have the input's type and shape, and are finite for a finite input."""
    x = feasible(case, rng(case).normal(size=case.shape)).astype(dtype)
    for result in (prox(case, x, 0.1), gradient(case, x)):
        assert (result.dtype, result.shape) == (np.dtype(dtype), case.shape)
        assert np.all(np.isfinite(result))
    assert isinstance(value(case, x), float)


@every_case
@for_each("size", [1e150, 1e200, 1e308, float(np.finfo(np.float64).max)])
def test_huge_elements_have_an_answer(case: Case, size: float) -> None:
    """Finite numbers may lead beyond the range, and to infinite penalties, but every method answers."""
    random = rng(case)
    for x in (
        np.full(case.shape, size),
        np.where(random.random(case.shape) < 0.5, -size, size),
        np.clip(random.normal(size=case.shape), -1.0, 1.0) * size,
    ):
        with contextlib.suppress(GradientUndefined):
            whole_gradient(x, case.regularizer)
        for step_size in (1.0, 1e308):
            assert proximal_step(x, case.regularizer, step_size)[0].shape == case.shape
        figures = penalty(x, case.regularizer).total
        assert figures.penalty is not None
        assert figures.nonzeros == case.size


@pytest.mark.parametrize(
    ("regularizer", "x"),
    [
        (SquaredL2Norm(strength=1.0), np.full(7, 1e200)),
        (SquaredL2Norm(strength=1.0), np.full(1000, 1e200)),
        (SquaredL2Norm(strength=2.0), np.array([1.3e154, 1.3e154, 1.3e154, 1e200])),
        (NuclearNorm(strength=1.0), np.diag([1e308, 1e308, 1e308])),
        (L1Norm(strength=1e308), np.ones(1000, np.float32)),
        (L1Norm(strength=1e308), np.full(2 * BLOCK + 7, 3.0, np.float32)),
        (L1Norm(strength=1.0), np.full(1000, 1.7e308)),
    ],
    ids=str,
)
def test_a_penalty_beyond_float64_is_infinite(regularizer: Any, x: NDArray[Any]) -> None:
    """Whether a term, a lane or only the exact sum of finite lanes is, for all methods."""
    infinite = ExactSum(math.inf, (math.inf,))
    assert penalty(x, regularizer).total.penalty == infinite
    assert whole_gradient(x, regularizer)[1].total.penalty == infinite
    assert proximal_step(x, regularizer, 0.0)[1].total.penalty == infinite


def test_the_largest_singular_values_are_cut_off_where_their_sum_is_beyond_float64() -> None:
    """Together by the radius, as they are where it is not."""
    x = np.diag([1e308, 1.5e308, 1e308, 1.0])
    new, _ = proximal_step(x, SpectralNorm(strength=1.0), 8e307)
    small, _ = proximal_step(x * 2.0**-100, SpectralNorm(strength=1.0), 8e307 * 2.0**-100)
    np.testing.assert_allclose(new, small * 2.0**100, rtol=1e-14, atol=1e290)
    np.testing.assert_allclose(new.diagonal(), [9e307, 9e307, 9e307, 1.0], rtol=1e-14)


@every_case
def test_every_element_of_out_is_written(case: Case) -> None:
    """Whatever was there before."""
    given = shaped(case, feasible(case, rng(case).normal(size=case.shape)))
    out = np.full_like(given, np.nan)
    case.ready.prox(given, 0.1, out)
    assert np.all(np.isfinite(out))
    out.fill(np.nan)
    case.ready.gradient(given, out)
    assert np.all(np.isfinite(out))


@every_case
def test_input_is_never_modified(case: Case) -> None:
    """Neither value, gradient nor step writes to its input, which may be read-only."""
    x = shaped(case, feasible(case, rng(case).normal(size=case.shape)))
    before = x.copy()
    x.flags.writeable = False
    out = np.empty_like(x)
    case.ready.value(x)
    case.ready.prox(x, 0.1, out)
    case.ready.gradient(x, out)
    np.testing.assert_array_equal(x, before)


@every_case
def test_out_may_be_the_input(case: Case) -> None:
    """Writing the answer over the input gives the same bits as writing it elsewhere."""
    for x in inputs(case):
        given = shaped(case, feasible(case, x))
        for step_size in (0.0, 0.1, 3.0):
            expected, over = np.empty_like(given), given.copy()
            case.ready.prox(given, step_size, expected)
            case.ready.prox(over, step_size, over)
            np.testing.assert_array_equal(over, expected)
        expected, over = np.empty_like(given), given.copy()
        case.ready.gradient(given, expected)
        case.ready.gradient(over, over)
        np.testing.assert_array_equal(over, expected)


@every_case
@every_float
def test_zero_vector(case: Case, dtype: type[np.floating[Any]]) -> None:
    """At zero every norm is 0 with gradient 0, and a step stays there; others answer by their formula."""
    zero = np.zeros(case.shape, dtype=dtype)
    limited = case.regularizer.traits.indicator or case.row.with_gradient is not None
    if limited or case.penalty(zero) != 0.0:
        assert value(case, zero) == pytest.approx(case.penalty(zero), rel=1e-15)
        return
    assert value(case, zero) == 0.0
    np.testing.assert_array_equal(gradient(case, zero), zero)
    np.testing.assert_array_equal(prox(case, zero, 0.6), zero)


@every_case
def test_zeros_are_positive(case: Case) -> None:
    """A zero in a step or a gradient is positive, whatever the sign of what it was made from.

    So a result that is mostly zero travels in few bytes (``ResultChunk``). Only an input that is a negative
    zero itself may stay one, and what is too small for its data type keeps its sign when it is rounded.
    """
    bounds = [
        field.name
        for field in dataclasses.fields(case.regularizer)
        if field.name in {"radius", "n", "count", "fraction", "rank"}
        and getattr(case.regularizer, field.name) is not None
    ]
    emptied = dataclasses.replace(
        case, regularizer=dataclasses.replace(case.regularizer, **dict.fromkeys(bounds, 0))
    )
    for x in inputs(case):
        for given in (x, -x, -np.abs(x), np.where(np.abs(x) < 0.5, -0.0, x)):
            steps = [prox(case, given, step_size) for step_size in (0.0, 0.6, 100.0)]
            for result in (*steps, prox(emptied, given, 0.6)):
                assert not np.any(negative_zeros(result) & ~negative_zeros(given))
        assert not np.any(negative_zeros(gradient(case, feasible(case, -x))))


def negative_zeros(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Which elements are one."""
    return (x == 0) & np.signbit(x)


@every_case
@every_float
def test_zero_strength_changes_nothing(case: Case, dtype: type[np.floating[Any]]) -> None:
    """With every strength 0 penalty and gradient are 0 and the step is the identity, huge to subnormal."""
    names = [f.name for f in dataclasses.fields(case.regularizer)]
    strengths = [name for name in names if name.endswith("strength")]
    if not strengths:
        return
    free = dataclasses.replace(
        case, regularizer=dataclasses.replace(case.regularizer, **dict.fromkeys(strengths, 0.0))
    )
    tiny = float(np.finfo(dtype).smallest_subnormal)
    for size in (1.0, 1e30, 1e-30, tiny):
        x = feasible(free, rng(case).normal(size=case.shape) * size).astype(dtype)
        assert value(free, x) == 0.0
        np.testing.assert_array_equal(gradient(free, x), np.zeros_like(x))
        np.testing.assert_array_equal(prox(free, x, 0.6), x)


@every_case
@every_float
@for_each("size", [1e30, 1e-30])
def test_ends_of_the_range(case: Case, dtype: type[np.floating[Any]], size: float) -> None:
    """At 1e30 and 1e-30 the documented formula holds, without overflow or underflow in between."""
    x = (rng(case, 9).normal(size=case.shape) * size).astype(dtype)
    wide = x.astype(np.float64)
    expected = case.penalty(wide)
    assert value(case, x) == pytest.approx(expected, rel=1e-6 if dtype is np.float32 else 1e-13, abs=0)
    p = prox(case, x, 0.6)
    assert p.dtype == dtype
    epsilon = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(
        p,
        prox(case, wide, 0.6),
        rtol=4 * epsilon,
        atol=16 * epsilon * size if case.row.matrix else 0,
    )
    if size > 1 and case.regularizer.traits.convex:
        miss = case.row.certificate(
            case.regularizer, prox(case, wide, 0.6), (wide - prox(case, wide, 0.6)) / 0.6
        )
        assert miss <= 1e-13 * size * max(1.0, size if case.row.matrix else 1.0)


@every_penalty
@every_float
def test_subnormal_elements(case: Case, dtype: type[np.floating[Any]]) -> None:
    """The smallest numbers go to zero below a threshold, and have a gradient of the documented length."""
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.full(case.shape, tiny, dtype=dtype)
    g = gradient(case, x)
    near_one = gradient(case, np.ones(case.shape, dtype=dtype))
    assert math.isfinite(value(case, x))
    if case.regularizer.traits.positively_homogeneous:
        # A norm of such numbers is itself rounded to a whole number of them.
        np.testing.assert_allclose(g, near_one, rtol=0.5)
        moves = near_one != 0
        assert not np.any(prox(case, x, 0.6)[moves])
    np.testing.assert_array_equal(prox(case, x, 0.0), x)
    small = np.full(case.shape, np.finfo(dtype).smallest_normal / 16, dtype=dtype)
    if case.regularizer.traits.positively_homogeneous:
        np.testing.assert_allclose(gradient(case, small), near_one, rtol=1e-6)


@every_case
@every_float
def test_ties_are_treated_alike(case: Case, dtype: type[np.floating[Any]]) -> None:
    """Equal elements of a separable row, and equal elements of a group, stay equal, unless some must go."""
    x = np.full(case.shape, 0.7, dtype=dtype)
    p = prox(case, x, 0.6)
    if case.regularizer.traits.separable:
        assert np.unique(p).size <= 1
    elif getattr(case.regularizer, "groups", None) is not None and case.row.name != "top_k":
        for part in partition(case.regularizer.groups, case.shape):
            assert np.unique(p.ravel()[part]).size == 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@every_float
def test_one_element(row: Any, dtype: type[np.floating[Any]]) -> None:
    """A segment of one element obeys the documented formula as any other."""
    for regularizer, shape in row.instances.values():
        if regularizer.locality.name == "GROUP" or getattr(regularizer, "groups", None) is not None:
            continue
        one = Case(row.name, regularizer, (1,) * len(shape) if row.matrix else (1,), row)
        if not fits(one):
            continue
        for number in (0.0, -0.1, 2.5):
            x = np.full(one.shape, number, dtype=dtype)
            wide = x.astype(np.float64)
            assert value(one, x) == pytest.approx(one.penalty(wide), rel=1e-12)
            expected = row.oracle(row.terms, regularizer, wide, 0.6)
            np.testing.assert_allclose(prox(one, x, 0.6), expected, rtol=0, atol=1e-5)


@every_case
@every_float
def test_empty_segment(case: Case, dtype: type[np.floating[Any]]) -> None:
    """A segment without elements has penalty 0, and nothing to step."""
    shape = (0, *case.shape[1:]) if locality(case) == "SEGMENT" or len(case.shape) > 1 else (0,)
    groups = getattr(case.regularizer, "groups", None)
    if groups is not None and (groups.sizes is not None or groups.weights is not None or groups.size is None):
        return
    empty = dataclasses.replace(case, shape=shape)
    if not fits(empty):
        return
    x = np.empty(shape, dtype=dtype)
    assert value(empty, x) == 0.0
    assert prox(empty, x, 0.6).shape == shape
    assert gradient(empty, x).shape == shape


def computed_with(case: Case, element: int) -> NDArray[np.bool_]:
    """The elements that are computed together with one: itself alone, its group, or the segment."""
    together: NDArray[np.bool_] = np.zeros(case.size, dtype=bool)
    groups = getattr(case.regularizer, "groups", None)
    if locality(case) == "ELEMENT":
        together[element] = True
    elif groups is not None and case.row.name != "top_k_groups":  # where groups are compared
        together[next(part for part in partition(groups, case.shape) if element in part)] = True
    elif locality(case) == "GROUP":
        parts = case.row.parts(case.regularizer, case.shape)
        together[next(part for part in parts if element in part)] = True
    else:
        together[:] = True
    return together


@every_case
@every_float
def test_nan_stays_where_the_penalty_couples_it_to(case: Case, dtype: type[np.floating[Any]]) -> None:
    """NaN stays at its element for ELEMENT, fills its group or segment otherwise; sums are NaN."""
    x = feasible(case, rng(case).normal(size=case.shape)).astype(dtype)
    x.ravel()[1] = np.nan
    touched = computed_with(case, 1)
    with np.errstate(all="ignore"):
        assert math.isnan(value(case, x))
        np.testing.assert_array_equal(np.isnan(prox(case, x, 0.6)).ravel(), touched)
        np.testing.assert_array_equal(np.isnan(gradient(case, x)).ravel(), touched)


@every_case
@every_float
def test_an_infinity_makes_nan_of_what_is_computed_with_it(case: Case, dtype: type[np.floating[Any]]) -> None:
    """Its group or segment, unless that is inside its set and stays; of elements by themselves, nothing else.

    A penalty is finite only by its formula, and elements that are not computed with it keep their bits.
    """
    clean = feasible(case, rng(case).normal(size=case.shape)).astype(dtype)
    together = computed_with(case, 1)
    for infinity in (np.inf, -np.inf):
        for alone in (False, True):
            x = np.where(together.reshape(case.shape), 0.0, clean).astype(dtype) if alone else clean.copy()
            x.ravel()[1] = infinity
            with np.errstate(all="ignore"):
                penalty, p = value(case, x), prox(case, x, 0.6).ravel()
                documented = penalty if not math.isfinite(penalty) else case.penalty(x)
                others = prox(case, clean, 0.6).ravel()
            assert not math.isfinite(penalty) or penalty == pytest.approx(documented)
            assert p[~together].tobytes() == others[~together].tobytes()
            if locality(case) == "ELEMENT":
                assert not math.isnan(p[1])
            elif case.regularizer.traits.indicator and penalty == 0.0:
                assert p.tobytes() == x.tobytes()
            else:
                assert np.isnan(p[together]).all()
