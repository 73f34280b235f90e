"""Every declared trait is true of the documented penalty and of the kernel."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from tests.support.cases import CASES, Case
from tests.support.inputs import (
    FLOATS,
    STEP_SIZES,
    cases_with,
    feasible,
    gradient,
    inputs,
    locality,
    prox,
    rng,
)

SUMS_OF_SQUARES = {"group_lasso", "sparse_group_lasso", "group_mcp", "group_scad", "max_norm", "l2_ball"}
"""Rows with groups of which the norms are all that is needed."""

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
every_convex_case = pytest.mark.parametrize("case", cases_with(convex=True), ids=lambda case: case.label)
every_sum_over_elements = pytest.mark.parametrize(
    "case", cases_with(separable=True), ids=lambda case: case.label
)
every_smooth_case = pytest.mark.parametrize("case", cases_with(smooth=True), ids=lambda case: case.label)


@every_convex_case
def test_convex_means_below_every_chord(case: Case) -> None:
    """A penalty that is declared convex is nowhere above the chord between two points."""
    points = [feasible(case, x) for x in inputs(case)]
    for x, y in pairwise(points):
        for c in (0.25, 0.5, 0.9):
            chord = c * case.penalty(x) + (1 - c) * case.penalty(y)
            assert case.penalty(c * x + (1 - c) * y) <= chord + 1e-12 * max(1.0, abs(chord))


@every_sum_over_elements
def test_separable_means_a_sum_over_elements(case: Case) -> None:
    """A penalty that is declared separable is the sum of what its elements give alone, and so is the step."""
    for x in inputs(case):
        alone = [float(term) for e in x.ravel() for term in case.row.terms(case.regularizer, np.array([e]))]
        assert case.penalty(x) == pytest.approx(math.fsum(alone))
        steps = np.empty(case.size)
        for at, e in enumerate(x.ravel()):
            case.regularizer.on((1,)).prox(np.array([e]), 0.6, steps[at : at + 1])
        np.testing.assert_array_equal(prox(case, x, 0.6).ravel(), steps)


@every_case
def test_positively_homogeneous_means_scaling_with_the_vector(case: Case) -> None:
    """A penalty that is declared positively homogeneous satisfies Ω(c·x) = c·Ω(x), and no other does."""
    homogeneous = all(
        case.penalty(c * x) == pytest.approx(c * case.penalty(x), rel=1e-12, abs=1e-300)
        for given in inputs(case)
        for x in (given, feasible(case, given))
        for c in (0.5, 3.0)
    )
    if case.regularizer.traits.positively_homogeneous:
        assert homogeneous
    elif case.label == case.row.name:
        assert not homogeneous


@every_smooth_case
def test_smooth_means_a_continuous_gradient(case: Case) -> None:
    """A penalty that is declared smooth has a gradient that moves little where the point moves little."""
    for x in inputs(case):
        nudge = 1e-9 * rng(case, 6).normal(size=case.shape)
        slope = gradient(case, x)
        slack = 1e-6 * max(1.0, float(np.max(np.abs(slope))))
        np.testing.assert_allclose(gradient(case, x + nudge), slope, rtol=0, atol=slack)


@every_case
def test_indicator_means_zero_or_infinite(case: Case) -> None:
    """A penalty that is declared an indicator has no value but 0 and infinity; no other is infinite."""
    values = [case.penalty(x) for x in inputs(case)]
    if case.regularizer.traits.indicator:
        assert set(values) <= {0.0, math.inf}
    else:
        assert all(math.isfinite(case.penalty(feasible(case, x))) for x in inputs(case))


@every_case
@pytest.mark.parametrize("data_type", FLOATS)
def test_keeping_zeros_means_that_they_stay(case: Case, data_type: type) -> None:
    """Where an element is 0, so it is in the step and in the gradient, to the bit and whatever is rounded."""
    if not case.regularizer.traits.keeps_zeros:
        return
    for given in (
        *inputs(case),
        rng(case, 9).normal(size=case.shape) * (rng(case, 10).random(case.shape) < 0.5),
    ):
        x = given.astype(data_type)
        for step_size in STEP_SIZES:
            assert not prox(case, x, step_size)[x == 0].any()
        near = feasible(case, given).astype(data_type)
        assert not gradient(case, near)[near == 0].any()


@every_case
def test_locality_group_means_each_group_by_itself(case: Case) -> None:
    """The step of a group depends on no other group, to the bit."""
    if locality(case) != "GROUP":
        return
    x = rng(case, 7).normal(size=case.shape)
    whole = prox(case, x, 0.6).ravel()
    for part in case.row.parts(case.regularizer, case.shape):
        changed = rng(case, 8).normal(size=case.shape)
        changed.ravel()[part] = x.ravel()[part]
        np.testing.assert_array_equal(prox(case, changed, 0.6).ravel()[part], whole[part])


@every_case
def test_groups_along_a_later_axis_need_the_whole_segment(case: Case) -> None:
    """Slices along any axis but the first are spread over the segment, so figures of all of it are needed."""
    groups = getattr(case.regularizer, "groups", None)
    if groups is not None and groups.axis:
        assert locality(case) == ("REDUCTION" if case.row.name in SUMS_OF_SQUARES else "SEGMENT")
