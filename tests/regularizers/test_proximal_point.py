"""The proximal step is the minimizer of the documented penalty plus the squared distance."""

from __future__ import annotations

import math
from itertools import cycle, islice, pairwise

import numpy as np
import pytest

from tests.support.cases import CASES, Case
from tests.support.inputs import STEP_SIZES, cases_with, inputs, prox, rng, value
from tests.support.oracles.minimizers import Array, objective

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
every_convex_case = pytest.mark.parametrize("case", cases_with(convex=True), ids=lambda case: case.label)
every_set = pytest.mark.parametrize("case", cases_with(indicator=True), ids=lambda case: case.label)


def tried(case: Case) -> list[tuple[Array, float]]:
    """Every input with one of the step sizes; the next case has each with the next one."""
    step_sizes = islice(cycle(STEP_SIZES), CASES.index(case) % len(STEP_SIZES), None)
    return list(zip(inputs(case), step_sizes, strict=False))


def cost(case: Case, y: Array, v: Array, step_size: float) -> float:
    """What the step must minimize, by the documented penalty."""
    return objective(case.row.terms, case.regularizer, y, v, step_size)


@every_case
def test_it_is_the_point_that_an_independent_search_finds(case: Case) -> None:
    """The oracle's point has no lower objective, and a convex row's answer is that point."""
    for v, step_size in tried(case):
        scale = max(1.0, float(np.max(np.abs(v))))
        p = prox(case, v, step_size)
        y = case.row.oracle(case.row.terms, case.regularizer, v, step_size)
        best = cost(case, y, v, step_size)
        slack = 1e-11 * case.row.accuracy * max(1.0, abs(best))
        assert cost(case, p, v, step_size) <= best + slack
        if case.regularizer.traits.convex:
            np.testing.assert_allclose(p, y, rtol=0, atol=3e-6 * scale)


@every_case
def test_three_points(case: Case) -> None:
    """For convex rows 2(f(p) − f(u)) ≤ |u−z|²/γ − |u−p|²/γ − |p−z|²/γ; for others no u does better than p."""
    random = rng(case, 1)
    for z, step_size in tried(case):
        p = prox(case, z, step_size)
        far = [random.normal(size=case.shape) * size for size in (0.1, 1.0, 10.0)]
        near = [p + d * size for d in far for size in (1e-1, 1e-3)]
        others = [prox(case, u, step_size) for u in far]
        for u in (*far, *near, *others, z, np.zeros(case.shape), 0.99 * p, 1.01 * p):
            gap = cost(case, u, z, step_size) - cost(case, p, z, step_size)
            least = 0.0
            if case.regularizer.traits.convex and math.isfinite(gap):
                least = float(np.sum((u - p) ** 2)) / (2 * step_size)
            slack = 1e-11 * case.row.accuracy * max(1.0, cost(case, p, z, step_size), least)
            assert gap >= least - slack


@every_case
def test_optimality_certificate(case: Case) -> None:
    """What the step took off, over the step size, is a subgradient of the penalty at the new point."""
    for v in inputs(case):
        for step_size in STEP_SIZES:
            p = prox(case, v, step_size)
            scale = max(1.0, float(np.max(np.abs(v)))) ** 2 / step_size
            assert (
                case.row.certificate(case.regularizer, p, (v - p) / step_size)
                <= 1e-12 * case.row.accuracy * scale
            )


@every_convex_case
def test_convex_steps_are_firmly_nonexpansive(case: Case) -> None:
    """|p − q|² ≤ ⟨p − q, u − v⟩ for the proximal points p, q of u, v: no distance grows."""
    points = inputs(case)
    for u, v in pairwise(points):
        d = prox(case, u, 0.6) - prox(case, v, 0.6)
        slack = 1e-12 * case.row.accuracy
        assert float(np.sum(d * d)) <= float(np.sum(d * (u - v))) * (1 + slack) + slack


@every_set
def test_projections_are_idempotent_and_forget_the_step_size(case: Case) -> None:
    """The step of an indicator is a projection: twice, or with another step size, changes no bit."""
    for v in inputs(case):
        p = prox(case, v, 0.6)
        assert value(case, p) == 0.0
        np.testing.assert_array_equal(prox(case, p, 0.6), p)
        np.testing.assert_array_equal(prox(case, v, 7.0), p)


@every_case
def test_a_step_of_size_zero_is_the_projection_onto_the_domain(case: Case) -> None:
    """At step size 0 nothing moves, except into the set of an indicator."""
    for v in inputs(case):
        indicator = case.regularizer.traits.indicator
        expected = prox(case, v, 1.0) if indicator else case.row.onto_domain(case.regularizer, v)
        np.testing.assert_array_equal(prox(case, v, 0.0), expected)


@every_case
def test_small_steps_tend_to_the_step_of_size_zero(case: Case) -> None:
    """The step is continuous at 0 in its size."""
    for v in inputs(case):
        np.testing.assert_allclose(prox(case, v, 1e-14), prox(case, v, 0.0), rtol=0, atol=1e-9)
