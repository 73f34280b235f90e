"""Where an answer jumps: at the threshold it is the documented one, on both sides of convexity's limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Hinge, Huber, L0Norm, LHalf, LogSum, LTwoThirds, Mcp, NegativeEntropy, Scad
from regularization_kernels.errors import GradientUndefined


def step(regularizer: Any, x: float, step_size: float) -> float:
    """The kernel's step of one element."""
    out = np.empty(1)
    regularizer.prox(np.array([x]), step_size, out)
    return float(out[0])


@dataclass(frozen=True)
class Threshold:
    """A magnitude up to which, and above which, the answer is another."""

    regularizer: Any
    step_size: float
    magnitude: float
    at: float
    above: float


THRESHOLDS = {
    "l0_norm": Threshold(L0Norm(strength=2.0), 1.0, 2.0, 0.0, 2.0),
    "l_half": Threshold(LHalf(strength=8.0), 1.0, 6.0, 0.0, 4.0),
    "l_half-unit": Threshold(LHalf(strength=0.5), 2.0, 1.5, 0.0, 1.0),
    "l_two_thirds": Threshold(LTwoThirds(strength=12.0), 2.0, 16.0, 0.0, 8.0),
    "l_two_thirds-unit": Threshold(LTwoThirds(strength=0.75), 2.0, 2.0, 0.0, 1.0),
    "mcp-below": Threshold(Mcp(strength=1.0, concavity=4.0), 2.0, 2.0, 0.0, 0.0),
    "mcp-level": Threshold(Mcp(strength=1.0, concavity=4.0), 2.0, 4.0, 4.0, 4.0),
    "mcp-at": Threshold(Mcp(strength=1.0, concavity=2.0), 2.0, 2.0, 0.0, 2.0),
    "mcp-beyond": Threshold(Mcp(strength=1.0, concavity=2.0), 8.0, 4.0, 0.0, 4.0),
    "scad-below": Threshold(Scad(strength=1.0, concavity=4.0), 2.0, 2.0, 0.0, 0.0),
    "scad-bend": Threshold(Scad(strength=1.0, concavity=4.0), 2.0, 3.0, 1.0, 1.0),
    "scad-level": Threshold(Scad(strength=1.0, concavity=4.0), 2.0, 4.0, 4.0, 4.0),
    "scad-at": Threshold(Scad(strength=1.0, concavity=4.0), 3.0, 4.0, 1.0, 4.0),
    "scad-beyond": Threshold(Scad(strength=1.0, concavity=4.0), 4.0, 4.5, 0.5, 4.5),
    "scad-far": Threshold(Scad(strength=1.0, concavity=3.0), 9.0, 6.0, 0.0, 6.0),
    "log_sum-convex": Threshold(LogSum(strength=1.0, epsilon=2.0), 1.0, 0.5, 0.0, 0.0),
    "huber": Threshold(Huber(strength=1.0, delta=1.0), 1.0, 2.0, 1.0, 1.0),
}


@pytest.mark.parametrize("case", THRESHOLDS.values(), ids=THRESHOLDS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_at_a_threshold_the_answer_is_the_documented_one(case: Threshold, sign: float) -> None:
    """And just above it that of the next branch; zeros have no sign."""
    at = step(case.regularizer, sign * case.magnitude, case.step_size)
    assert at == sign * case.at
    assert at != 0.0 or math.copysign(1.0, at) == 1.0
    above = step(case.regularizer, sign * case.magnitude * (1 + 1e-12), case.step_size)
    assert above == pytest.approx(sign * case.above, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("epsilon", [0.1, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("t", [0.01, 0.81, 1.0, 5.0])
def test_the_log_sum_s_jump_is_where_two_objectives_meet(t: float, epsilon: float) -> None:
    """Found by bisection: below it 0 is the better, above it the root, and it jumps where t > epsilon²."""
    regularizer = LogSum(strength=1.0, epsilon=epsilon)
    low, high = 0.0, 10.0 * (1 + t / epsilon)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if step(regularizer, middle, t) else (middle, high)
    r = step(regularizer, high, t)
    gain = t * math.log1p(r / epsilon) + (r - high) ** 2 / 2 - high**2 / 2
    assert gain == pytest.approx(0.0, abs=1e-13 * max(1.0, high**2))
    if math.sqrt(t) > epsilon * (1 + 1e-9):
        assert r >= math.sqrt(t) - epsilon
    else:
        assert r <= 1e-7
        assert high == pytest.approx(t / epsilon, rel=1e-12)


@pytest.mark.parametrize("regularizer", [Mcp(strength=1.0, concavity=2.0), Scad(strength=1.0, concavity=3.0)])
def test_just_below_the_limit_of_convexity_is_close_to_it(regularizer: Any) -> None:
    """The step size next to the limit gives what the limit gives, but for elements next to its threshold."""
    x = np.concatenate([np.linspace(-5, 1.9, 70), np.linspace(3.1, 5, 20)])
    at, below = np.empty_like(x), np.empty_like(x)
    regularizer.prox(x, 2.0, at)
    regularizer.prox(x, math.nextafter(2.0, 0.0), below)
    kept = (np.abs(np.abs(x) - 2.0) > 0.1) & (np.abs(np.abs(x) - 3.0) > 0.1)
    np.testing.assert_allclose(below[kept], at[kept], rtol=1e-12)


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-30, 1e30, 1e300])
def test_a_root_next_to_zero_keeps_its_digits(size: float) -> None:
    """A small element, or a huge one, shrinks by what the formula says, without cancellation or overflow."""
    assert step(LogSum(strength=0.5, epsilon=1.0), size, 5e-324) == size
    assert step(LogSum(strength=1e-200, epsilon=1.0), 1e-30, 1.0) == 1e-30
    assert step(LogSum(strength=1.0, epsilon=1.0), 1e-30, 0.9e-30) == pytest.approx(1e-31, rel=1e-14)
    assert step(LHalf(strength=1.0), max(size, 1e-300), 1e-310) == pytest.approx(max(size, 1e-300), rel=1e-15)
    assert step(Huber(strength=1.0, delta=1e-20), 1e-25, 1.0) == pytest.approx(1e-45, rel=1e-14)


def test_the_hinge_at_its_corner() -> None:
    """Steps end at 1 and stay there, and the gradient at 1 is 0."""
    hinge = Hinge(strength=2.0)
    assert [step(hinge, x, 0.25) for x in (0.0, 0.5, 0.75, 1.0, 1.5)] == [0.5, 1.0, 1.0, 1.0, 1.5]
    x = np.array([0.5, 1.0, 2.0])
    hinge.gradient(x, x)
    assert x.tolist() == [-2.0, 0.0, 0.0]


@pytest.mark.parametrize(("strength", "undefined_at_zero"), [(0.5, True), (0.0, False)])
def test_the_entropy_s_border(strength: float, undefined_at_zero: bool) -> None:
    """Below 0 the penalty is infinite and has no gradient; at 0 it has one where the strength is 0."""
    entropy = NegativeEntropy(strength=strength)
    out = np.empty(3)
    for x, undefined in (([1.0, 0.0, 0.0], undefined_at_zero), ([1.0, -1e-300, -1.0], True)):
        assert entropy.value(np.array(x)) == (0.0 if min(x) >= 0 else math.inf)
        if undefined:
            with pytest.raises(GradientUndefined) as caught:
                entropy.gradient(np.array(x), out)
            assert caught.value.element == 1
        else:
            entropy.gradient(np.array(x), out)
            assert out.tolist() == [0.0, 0.0, 0.0]
    for scales in (0.0, np.zeros(3)):
        entropy.prox(np.array([-1.0, -0.0, 2.0]), scales, out)
        assert out.tolist() == [0.0, 0.0, 2.0]
        assert not np.signbit(out).any()


def test_a_weight_of_zero_keeps_the_entropy_s_border() -> None:
    """The weighted penalty below 0 is infinite, not undefined."""
    terms = np.array([math.inf, 0.5, math.nan])
    NegativeEntropy(strength=1.0).weigh(terms, np.array([0.0, 2.0, 1.0]))
    assert terms[:2].tolist() == [math.inf, 1.0]
    assert math.isnan(terms[2])
