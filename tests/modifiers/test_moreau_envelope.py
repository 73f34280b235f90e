"""Smoothing: the Moreau envelope of every penalty, its gradient, and its step where that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from regularization_kernels import Box, ElasticNet, L1Norm
from regularization_kernels.engine import Layout, Method, Segment
from regularization_kernels.modifiers import Boxed, MoreauEnvelope
from regularization_kernels.summation import BlockSum, ExactSum

from tests.support.cases import CASES, Case
from tests.support.engine_streams import AnyArray, a_call, stream
from tests.support.inputs import STEP_SIZES, inputs, rng, shaped
from tests.support.oracles.minimizers import objective

SMOOTHABLE = [case for case in CASES if not case.regularizer.traits.map]
CONVEX = [case for case in SMOOTHABLE if case.regularizer.traits.convex]
every_penalty = pytest.mark.parametrize("case", SMOOTHABLE, ids=lambda case: case.label)
every_convex_penalty = pytest.mark.parametrize("case", CONVEX, ids=lambda case: case.label)

GAMMA = 0.45


def smoothed(case: Case) -> Any:
    """The envelope of the case's regularizer, ready for its shape."""
    return MoreauEnvelope(case.regularizer, GAMMA).on(case.shape)


def value_of(modified: Any, x: AnyArray) -> float:
    """The envelope at x, by the contract's rule of summation."""
    sums = BlockSum(modified.modifier.scale)
    modified.add_terms(x, sums)
    return ExactSum.of(sums.partials()).value


def gradient_of(modified: Any, x: AnyArray) -> AnyArray:
    """The kernel's gradient."""
    out = np.empty_like(x)
    modified.gradient(x, out)
    return out


def prox_of(modified: Any, x: AnyArray, step_size: float) -> AnyArray:
    """The kernel's step."""
    out = np.empty_like(x)
    modified.prox(x, step_size, out)
    return out


@every_penalty
def test_the_envelope_is_the_least_objective(case: Case) -> None:
    """At the point that an independent search finds; so it is at most the penalty, and finite."""
    modified = smoothed(case)
    for x in (inputs(case)[0], inputs(case)[2], inputs(case)[5]):
        y = case.row.oracle(case.row.terms, case.regularizer, x, GAMMA)
        least = objective(case.row.terms, case.regularizer, y, x, GAMMA)
        if case.regularizer.traits.indicator:
            # What the search finds may be a rounding error off the set.
            least = float(np.sum((x - y) ** 2)) / (2 * GAMMA)
        value = value_of(modified, shaped(case, x).astype(np.float64))
        tolerance = 1e-7 * case.row.accuracy
        assert value == pytest.approx(least, rel=tolerance, abs=tolerance)
        assert value <= case.penalty(x) + 1e-11 * case.row.accuracy * max(1.0, abs(value))


@every_penalty
def test_the_gradient_is_the_finite_difference(case: Case) -> None:
    """Of the envelope's value, also of indicators and of penalties with kinks and jumps."""
    modified = smoothed(case)
    x = shaped(case, rng(case, 40).normal(size=case.shape))
    g = gradient_of(modified, x)
    for at in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[at] = 1e-5
        difference = (value_of(modified, x + step) - value_of(modified, x - step)) / 2e-5
        assert g[at] == pytest.approx(difference, rel=1e-4, abs=1e-6 * case.row.accuracy)


@every_convex_penalty
def test_the_step_ends_where_the_gradient_made_it(case: Case) -> None:
    """(x − p) / s is the envelope's gradient at p: so p is the minimizer, and no other point is."""
    modified = smoothed(case)
    for x in (shaped(case, each) for each in inputs(case)[:6]):
        for step_size in STEP_SIZES:
            p = prox_of(modified, x, step_size)
            slack = 1e-9 * case.row.accuracy * max(1.0, float(np.max(np.abs(x)))) / min(step_size, GAMMA)
            np.testing.assert_allclose((x - p) / step_size, gradient_of(modified, p), rtol=0, atol=slack)
        np.testing.assert_array_equal(prox_of(modified, x, 0.0), x)


def test_of_the_absolute_value_it_is_huber_s_function() -> None:
    """x²/(2γ) up to γ·strength, strength·|x| − γ·strength²/2 beyond; gradient and step are known, too."""
    strength, x = 0.6, np.linspace(-2.0, 2.0, 41)
    modified, end = MoreauEnvelope(L1Norm(strength=strength), GAMMA), GAMMA * strength
    for e in x.tolist():
        inner = abs(e) <= end
        expected = e * e / (2 * GAMMA) if inner else strength * abs(e) - GAMMA * strength**2 / 2
        assert modified.value(np.array([e])) == pytest.approx(expected, rel=1e-14, abs=1e-16)
    np.testing.assert_allclose(gradient_of(modified, x), np.clip(x / GAMMA, -strength, strength), atol=1e-15)
    for s in STEP_SIZES:
        far = np.abs(x) > strength * (GAMMA + s)
        expected_step = np.where(far, x - s * strength * np.sign(x), x * GAMMA / (GAMMA + s))
        np.testing.assert_allclose(prox_of(modified, x, s), expected_step, atol=1e-14)


def test_of_a_box_it_is_the_squared_distance_to_it() -> None:
    """Over 2γ: what was infinite off the set is finite, and has a gradient."""
    box, x = Box(lower=-0.5, upper=1.0), np.linspace(-3.0, 3.0, 25)
    away = x - np.clip(x, -0.5, 1.0)
    for modified in (MoreauEnvelope(box, GAMMA), MoreauEnvelope(Boxed(box, box), GAMMA)):
        assert modified.value(x) == pytest.approx(float(np.sum(away**2)) / (2 * GAMMA), rel=1e-14)
        np.testing.assert_allclose(gradient_of(modified, x), away / GAMMA, rtol=1e-15)


def test_of_half_the_square_it_is_a_weaker_one() -> None:
    """strength·½·x² becomes strength / (1 + γ·strength)·½·x², in the box and out of it."""
    modified = MoreauEnvelope(Boxed(ElasticNet(l1_strength=0.0, l2_strength=0.8), Box(upper=0.5)), GAMMA)
    weaker = 0.8 / (1 + GAMMA * 0.8)
    assert modified.value(np.array([0.5])) == pytest.approx(weaker * 0.125, rel=1e-14)
    outside = 0.8 * 0.125 + 2.5**2 / (2 * GAMMA)
    assert modified.value(np.array([3.0])) == pytest.approx(outside, rel=1e-14)


OPERANDS = ("loss_gradients", "reference", "weights", "step_scales")


@pytest.mark.parametrize("box", [None, Box(lower=-0.3, upper=0.8)], ids=["alone", "boxed"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operands_belong_to_what_is_smoothed(box: Box | None, dtype: type[np.floating[Any]]) -> None:
    """The envelope of weights·Ω(x − reference) in its box, element by element, whatever the weight is."""
    random, size = np.random.default_rng(8), 9
    operands = {name: random.normal(size=size).astype(dtype) for name in ("parameters", *OPERANDS[:2])}
    operands |= {name: random.random(size).astype(dtype) for name in OPERANDS[2:]}
    operands["weights"][:2] = 0.0, 9.0
    theta, g, r, w, s = (operands[name].astype(float) for name in ("parameters", *OPERANDS))
    layout = Layout(np.dtype(dtype), (Segment("w", (size,), L1Norm(strength=0.7), box=box, smoothing=GAMMA),))
    low, high = (-np.inf, np.inf) if box is None else map(float, (dtype(-0.3), dtype(0.8)))

    def nearer(x: AnyArray, step_size: Any) -> AnyArray:
        shrunk: AnyArray = np.sign(x - r) * np.maximum(np.abs(x - r) - step_size * 0.7 * w, 0.0)
        return np.asarray(np.clip(shrunk + r, low, high))

    def envelope(x: AnyArray) -> float:
        p = nearer(x, GAMMA)
        return float(np.sum(0.7 * w * np.abs(p - r) + (x - p) ** 2 / (2 * GAMMA)))

    def got(method: Method, *names: str) -> Any:
        return stream(a_call(method, layout), {name: operands[name] for name in ("parameters", *names)}, [4])

    tolerance = 1e-6 if dtype is np.float32 else 1e-13
    penalty = got(Method.PENALTY, "reference", "weights").summary.total.penalty
    assert penalty.value == pytest.approx(envelope(theta), rel=1e-13)
    slopes = got(Method.GRADIENT, "loss_gradients", "reference", "weights").values
    np.testing.assert_allclose(slopes, g + (theta - nearer(theta, GAMMA)) / GAMMA, atol=tolerance)
    v, step_size = theta - 0.37 * s * g, 0.37 * s
    new = v + step_size / (step_size + GAMMA) * (nearer(v, step_size + GAMMA) - v)
    outcome = got(Method.PROXIMAL_STEP, *OPERANDS)
    np.testing.assert_allclose(outcome.values, new, atol=tolerance)
    assert outcome.summary.total.penalty.value == pytest.approx(
        envelope(outcome.values.astype(float)), rel=1e-13
    )
