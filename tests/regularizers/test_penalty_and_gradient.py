"""The penalty is the documented formula, and the gradient its minimum-norm subgradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
from regularization_kernels.errors import GradientUndefined

from tests.support.cases import CASES, Case
from tests.support.inputs import cases_with, feasible, gradient, inputs, rng, value

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
every_convex_case = pytest.mark.parametrize("case", cases_with(convex=True), ids=lambda case: case.label)


@every_case
def test_penalty_is_the_documented_formula(case: Case) -> None:
    """Kernel and documented formula agree to a few units in the last place."""
    for x in [*inputs(case), *(feasible(case, x) for x in inputs(case))]:
        assert value(case, x) == pytest.approx(case.penalty(x), rel=1e-14, abs=1e-14)


@every_convex_case
def test_gradient_is_a_subgradient(case: Case) -> None:
    """Ω(u) ≥ Ω(x) + ⟨g, u − x⟩ for every u, which is what makes g a subgradient of a convex penalty."""
    random = rng(case, 2)
    for x in [feasible(case, x) for x in inputs(case)]:
        g = gradient(case, x)
        for size in (1e-3, 0.1, 1.0, 30.0):
            u = feasible(case, x + size * random.normal(size=case.shape))
            bound = case.penalty(x) + float(np.sum(g * (u - x)))
            assert case.penalty(u) >= bound - 1e-12 * max(1.0, abs(bound))


@every_convex_case
def test_gradient_is_the_shortest_subgradient(case: Case) -> None:
    """The penalty falls along −g at the rate |g|²: so ⟨s, g⟩ ≥ |g|² for every subgradient s."""
    for x in [feasible(case, x) for x in inputs(case)]:
        g = gradient(case, x)
        squared = float(np.sum(g * g))
        if squared == 0.0:
            continue
        step = 1e-7 * max(1.0, float(np.max(np.abs(x)))) / math.sqrt(squared)
        slope = (case.penalty(x - step * g) - case.penalty(x)) / step
        assert slope == pytest.approx(-squared, rel=1e-4, abs=1e-4)


@every_convex_case
def test_zero_gradient_only_where_nothing_falls(case: Case) -> None:
    """Where the gradient is 0 a convex penalty is at its least, so no point near has a lower one."""
    random = rng(case, 3)
    for x in [feasible(case, x) for x in inputs(case)]:
        if not np.any(gradient(case, x)):
            near = (x + 1e-3 * random.normal(size=case.shape) for _ in range(20))
            assert all(case.penalty(u) >= case.penalty(x) for u in near)


@every_case
def test_gradient_is_the_finite_difference(case: Case) -> None:
    """Where the penalty is differentiable, central differences of its formula give the gradient."""
    x = rng(case, 4).normal(size=case.shape)
    x = feasible(case, x + 0.2 * np.sign(x))
    if case.regularizer.traits.indicator:
        return
    g = gradient(case, x)
    for at in np.ndindex(case.shape):
        step = np.zeros(case.shape)
        step[at] = 1e-5
        difference = (case.penalty(x + step) - case.penalty(x - step)) / 2e-5
        assert g[at] == pytest.approx(difference, rel=1e-5, abs=1e-7)


@every_case
def test_indicators_have_no_gradient_outside_their_set(case: Case) -> None:
    """Inside its set an indicator's gradient is 0; outside it is undefined, by the element's name."""
    if not case.regularizer.traits.indicator or case.label == "top_k-all":  # of which nothing is outside
        return
    inside = feasible(case, rng(case, 5).normal(size=case.shape))
    np.testing.assert_array_equal(gradient(case, inside), np.zeros(case.shape))
    outside = _outside(case, inside)
    assert value(case, outside) == math.inf
    with pytest.raises(GradientUndefined) as caught:
        gradient(case, outside)
    if case.regularizer.traits.separable:
        assert caught.value.element == 1


def _outside(case: Case, inside: np.ndarray) -> np.ndarray:
    if case.row.outside is not None:
        return case.row.outside(case.regularizer, inside)
    outside = inside.copy()
    outside.ravel()[1] = next(far for far in (1e3, -1e3) if not _inside(case, inside, far))
    return outside


def _inside(case: Case, x: np.ndarray, number: float) -> bool:
    trial = x.copy()
    trial.ravel()[1] = number
    return math.isfinite(case.penalty(trial))
