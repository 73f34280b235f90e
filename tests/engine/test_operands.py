"""Operands mean what the contract says, are taken where it says, and are checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Box, L0Norm, L1Norm, LHalf, LogSum, LTwoThirds, Mcp, Scad
from regularization_kernels.engine import Chunk, Layout, MemoryBudget, Method, Operand, Run, Segment
from regularization_kernels.errors import (
    OperandInconsistent,
    OperandOutOfRange,
    OperandSizeMismatch,
    OperandUnsupported,
)

from tests.support.cases import CASES, Case
from tests.support.engine_streams import PLENTY, AnyArray, a_call, chunks_of, feed, segment_of, stream, takers
from tests.support.inputs import feasible, inputs, rng
from tests.support.oracles.minimizers import total

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
weighted_cases = pytest.mark.parametrize(
    "case",
    [case for case in takers("weights") if case.regularizer.traits.separable],
    ids=lambda case: case.label,
)
scaled_cases = pytest.mark.parametrize("case", takers("step_scales"), ids=lambda case: case.label)

STEP_IN_A_METRIC = {"group_lasso", "sparse_group_lasso", "isotonic"}
"""Rows that are no sums over elements, and take a step size for each nevertheless."""

WEIGHTED_DIFFERENCES = {"total_variation", "fused_lasso"}
"""Likewise rows that take weights: tests/regularizers/test_weighted_variation.py says what these do."""

NEVER = {Method.PENALTY: {"loss_gradients", "step_scales"}, Method.GRADIENT: {"step_scales"}}


def one(case: Case, dtype: Any = np.float64, **more: Any) -> Layout:
    """A layout of the case alone."""
    return Layout(np.dtype(dtype), (segment_of(case, **more),))


def step(case: Case, **operands: AnyArray) -> AnyArray:
    """The engine's proximal step of size 0.37 on flat operands."""
    return stream(a_call(Method.PROXIMAL_STEP, one(case)), operands).values


def slope(case: Case, **operands: AnyArray) -> AnyArray:
    """The engine's gradient on flat operands."""
    return stream(a_call(Method.GRADIENT, one(case)), operands).values


def weighted_penalty(case: Case, x: AnyArray, weights: AnyArray) -> float:
    """The documented penalty with each element's term times its weight."""
    terms = zip(weights, case.row.terms(case.regularizer, x), strict=True)
    return total([t if t == math.inf else w * t for w, t in terms])


@every_case
def test_loss_gradients_are_stepped_along_first(case: Case) -> None:
    """The step with a loss gradient is the step from θ − γ·g, and the gradient is g + ∂Ω."""
    theta, g = (x.ravel() for x in inputs(case)[1:3])
    np.testing.assert_array_equal(
        step(case, parameters=theta, loss_gradients=g), step(case, parameters=theta - 0.37 * g)
    )
    inside = feasible(case, theta.reshape(case.shape)).ravel()
    np.testing.assert_array_equal(
        slope(case, parameters=inside, loss_gradients=g), slope(case, parameters=inside) + g
    )


@every_case
def test_reference_moves_the_origin(case: Case) -> None:
    """The step with a reference r is r + prox(θ − r), and penalty and gradient are those of θ − r."""
    theta, r = (x.ravel() for x in inputs(case)[1:3])
    # A projection may give way by a rounding error, so as to stay in its set when r is taken off again.
    slack = 4e-16 * float(np.max(np.abs(theta) + np.abs(r))) if case.regularizer.traits.indicator else 0.0
    moved_step = step(case, parameters=theta - r) + r
    np.testing.assert_allclose(step(case, parameters=theta, reference=r), moved_step, rtol=0, atol=slack)
    if not case.regularizer.traits.indicator:
        apart = feasible(case, (theta - r).reshape(case.shape)).ravel() + r
        np.testing.assert_array_equal(
            slope(case, parameters=apart, reference=r), slope(case, parameters=apart - r)
        )
    call = a_call(Method.PENALTY, one(case))
    moved = stream(call, {"parameters": theta - r}).summary.total.penalty
    assert stream(call, {"parameters": theta, "reference": r}).summary.total.penalty == moved


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounds", [(-0.3, 0.3), (0.7, 2.1), (-1.7, -0.1), (0.3, None), (None, -0.3)])
def test_a_projection_around_a_reference_stays_in_its_set(
    bounds: tuple[float | None, float | None], dtype: type[np.floating[Any]]
) -> None:
    """The new parameters of a projection have penalty 0, also where adding the reference rounds."""
    layout = Layout(np.dtype(dtype), (Segment("w", (2000,), Box(*bounds)),))
    random = np.random.default_rng(1)
    operands = {
        "parameters": (random.normal(size=2000) * 3).astype(dtype),
        "reference": random.normal(size=2000).astype(dtype),
    }
    penalty = stream(a_call(Method.PROXIMAL_STEP, layout), operands).summary.total.penalty
    assert penalty is not None
    assert penalty.value == 0.0


@weighted_cases
def test_weights_multiply_the_terms(case: Case) -> None:
    """Penalty and gradient are weighted element by element; weights of 1 change no bit of them."""
    x = inputs(case)[2].ravel()
    weights = np.abs(inputs(case)[4].ravel())
    call = a_call(Method.PENALTY, one(case))
    penalty = stream(call, {"parameters": x, "weights": weights}).summary.total.penalty
    assert penalty is not None
    assert penalty.value == pytest.approx(weighted_penalty(case, x, weights), rel=1e-13)
    x = feasible(case, x.reshape(case.shape)).ravel()
    np.testing.assert_allclose(
        slope(case, parameters=x, weights=weights), weights * slope(case, parameters=x), rtol=1e-15
    )
    ones = np.ones_like(x)
    assert stream(call, {"parameters": x, "weights": ones}).summary == stream(call, {"parameters": x}).summary
    np.testing.assert_array_equal(slope(case, parameters=x, weights=ones), slope(case, parameters=x))
    np.testing.assert_allclose(
        step(case, parameters=x, weights=ones), step(case, parameters=x), rtol=1e-15, atol=1e-16
    )


@weighted_cases
def test_a_weighted_and_scaled_step_minimizes_the_weighted_objective(case: Case) -> None:
    """With weights w and scales s, y minimizes Σ wᵢ·φ(yᵢ − rᵢ) + (yᵢ − vᵢ)²/(2·γ·sᵢ), with v = θ − γ·s·g."""
    theta, g, r = (x.ravel() for x in inputs(case)[1:4])
    random = rng(case, 20)
    weights, scales = random.random(case.size) * 3, random.random(case.size) * 2 + 0.1
    weights[0], weights[1] = 0.0, 50.0
    operands = {"loss_gradients": g, "reference": r, "weights": weights, "step_scales": scales}
    y = step(case, parameters=theta, **operands)
    v = theta - 0.37 * scales * g

    def cost(z: AnyArray) -> float:
        return weighted_penalty(case, z - r, weights) + float(np.sum((z - v) ** 2 / (2 * 0.37 * scales)))

    others = [
        v,
        r,
        theta,
        *(y + size * random.normal(size=y.size) for size in (1e-4, 1e-2, 1.0) for _ in range(20)),
    ]
    others += [y + nudge * direction for direction in np.eye(case.size) for nudge in (-1e-3, 1e-3)]
    convex = case.regularizer.traits.convex
    if not convex:
        others.append(r + searched(case, v - r, 0.37 * scales * weights))
    for z in others:
        gap = float(np.sum((z - y) ** 2 / (2 * 0.37 * scales))) if convex else 0.0
        assert cost(z) >= cost(y) + gap - 1e-11 * max(1.0, cost(y))


def searched(case: Case, v: AnyArray, step_sizes: AnyArray) -> AnyArray:
    """The step of each element with a step size of its own, by an independent search; v where that is 0."""
    found = v.copy()
    for at in np.flatnonzero(step_sizes):
        found[at : at + 1] = case.row.oracle(
            case.row.terms, case.regularizer, v[at : at + 1], float(step_sizes[at])
        )
    return found


@pytest.mark.parametrize(
    "regularizer",
    [
        Mcp(strength=0.5, concavity=2.0),
        Scad(strength=0.5, concavity=3.0),
        *(kind(strength=0.5) for kind in (L0Norm, LHalf, LTwoThirds)),
        LogSum(strength=0.5, epsilon=0.1),
    ],
    ids=lambda r: r.name,
)
def test_each_element_has_the_bits_of_its_own_step_size(regularizer: Any) -> None:
    """On both sides of the limits of convexity, at them, and with a weight of 0, in one vector."""
    weights = np.repeat([0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 20.0], 41)
    x = np.tile(np.linspace(-4.0, 4.0, 41), 7)
    layout = Layout(np.dtype(np.float64), (Segment("w", x.shape, regularizer),))
    call = a_call(Method.PROXIMAL_STEP, layout, step_size=1.0)
    weighted = stream(call, {"parameters": x, "weights": weights})
    for begin in range(0, x.size, 41):
        alone, out = x[begin : begin + 41], np.empty(41)
        regularizer.prox(alone, float(weights[begin]), out)
        assert weighted.values[begin : begin + 41].tolist() == out.tolist()


@scaled_cases
def test_equal_step_scales_are_one_step_size(case: Case) -> None:
    """Scales of c are the step size times c; a scale of 0 leaves an element where it is, or projects it."""
    theta, g = (x.ravel() for x in inputs(case)[1:3])
    scaled = step(case, parameters=theta, loss_gradients=g, step_scales=np.full(theta.size, 2.5))
    call = a_call(Method.PROXIMAL_STEP, one(case), step_size=0.37 * 2.5)
    plain = stream(call, {"parameters": theta, "loss_gradients": g}).values
    np.testing.assert_allclose(scaled, plain, rtol=1e-14, atol=1e-15)
    still = step(case, parameters=theta, loss_gradients=g, step_scales=np.zeros(theta.size))
    indicator = case.regularizer.traits.indicator
    expected = (
        feasible(case, theta.reshape(case.shape))
        if indicator
        else case.row.onto_domain(case.regularizer, theta)
    )
    np.testing.assert_array_equal(still, expected.ravel())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exempt_segments_take_the_forward_step_alone(dtype: type[np.floating[Any]]) -> None:
    """Penalty 0, gradient 0 or g, step the identity or θ − γ·s·g; reference and weights have no effect."""
    layout = Layout(np.dtype(dtype), (Segment("bias", (50,)),))
    random = np.random.default_rng(2)
    theta, g, r = (random.normal(size=50).astype(dtype) for _ in range(3))
    w, s = (random.random(50).astype(dtype) for _ in range(2))
    idle = {"reference": r, "weights": w}
    tolerance = 1e-7 if dtype is np.float32 else 1e-13
    prox, gradient = a_call(Method.PROXIMAL_STEP, layout), a_call(Method.GRADIENT, layout)
    for more in ({}, idle):
        outcome = stream(prox, {"parameters": theta, **more})
        np.testing.assert_array_equal(outcome.values, theta)
        assert outcome.summary.total.penalty is not None
        assert outcome.summary.total.penalty.value == 0.0
        np.testing.assert_array_equal(stream(gradient, {"parameters": theta, **more}).values, np.zeros(50))
        given = {"parameters": theta, "loss_gradients": g, **more}
        np.testing.assert_array_equal(stream(gradient, given).values, g)
        np.testing.assert_allclose(
            stream(prox, given).values, theta - 0.37 * g.astype(np.float64), rtol=tolerance
        )
        scaled = stream(prox, {**given, "step_scales": s}).values
        np.testing.assert_allclose(scaled, theta - 0.37 * s.astype(np.float64) * g, rtol=tolerance)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("operand", [operand.value for operand in Operand])
def test_operands_are_taken_where_the_contract_says(method: Method, operand: str) -> None:
    """For every row and the exempt segment: the operand is taken, or refused by name and segment."""
    for case in [*CASES, None]:
        segment = Segment("bias", (3,)) if case is None else segment_of(case)
        layout = Layout(np.dtype(np.float64), (segment,))
        traits = None if case is None else case.regularizer.traits
        taken = operand not in NEVER.get(method, set())
        if traits is not None and operand == "weights":
            own = case is not None and case.row.name in WEIGHTED_DIFFERENCES
            taken = taken and (own or (traits.separable and not traits.indicator))
        if traits is not None and operand == "step_scales":
            taken = taken and (traits.separable or case.row.name in STEP_IN_A_METRIC)
        inside = (
            np.full(segment.size, 0.05) if case is None else feasible(case, np.full(case.shape, 0.05)).ravel()
        )
        operands = {"parameters": inside, operand: np.zeros(segment.size)}
        call = a_call(method, layout)
        if taken:
            assert stream(call, operands).summary.total.elements == segment.size
        else:
            with pytest.raises(OperandUnsupported) as caught:
                stream(call, operands)
            assert (caught.value.field, caught.value.segment) == (operand, segment.name)


@pytest.mark.parametrize("operand", [operand.value for operand in Operand])
@pytest.mark.parametrize("first", [True, False])
def test_a_segment_s_first_chunk_decides_its_operands(operand: str, *, first: bool) -> None:
    """An operand that comes or goes inside a segment is refused; another segment may differ."""
    layout = Layout(np.dtype(np.float64), tuple(Segment(n, (4,), L1Norm(strength=0.1)) for n in "ab"))
    call = a_call(Method.PROXIMAL_STEP, layout)
    x = np.full(4, 0.5)

    def chunk(begin: int, end: int, *, has: bool) -> Chunk:
        return Chunk(begin, x[: end - begin], **({operand: x[: end - begin]} if has else {}))

    with pytest.raises(OperandInconsistent) as caught:
        feed(call, [chunk(0, 2, has=first), chunk(2, 4, has=not first)])
    assert (caught.value.segment, caught.value.element) == ("a", 2)
    assert caught.value.field == operand
    outcome = feed(call, [chunk(0, 2, has=first), chunk(2, 4, has=first), chunk(4, 8, has=not first)])
    assert outcome.summary.total.elements == 8
    with pytest.raises(OperandInconsistent):
        feed(call, [chunk(0, 1, has=first), chunk(1, 5, has=not first)])


@pytest.mark.parametrize("operand", [operand.value for operand in Operand])
@pytest.mark.parametrize("length", [0, 3, 5])
def test_operands_are_as_long_as_the_parameters(operand: str, length: int) -> None:
    """Any other length is refused."""
    layout = Layout(np.dtype(np.float64), (Segment("a", (4,), L1Norm(strength=0.1)),))
    with (
        Run(a_call(Method.PROXIMAL_STEP, layout), MemoryBudget(PLENTY)) as run,
        pytest.raises(OperandSizeMismatch) as caught,
    ):
        run.feed(Chunk(0, np.ones(4), **{operand: np.ones(length)}))
    assert caught.value.field == operand


@pytest.mark.parametrize("operand", ["weights", "step_scales"])
def test_weights_and_step_scales_are_not_negative(operand: str) -> None:
    """The first negative one is named, in the whole vector; a negative zero is a zero."""
    layout = Layout(np.dtype(np.float64), tuple(Segment(n, (10,), L1Norm(strength=0.1)) for n in "ab"))
    numbers = np.ones(20)
    numbers[3] = -0.0
    numbers[13], numbers[17] = -0.5, -1.0
    operands = {"parameters": np.ones(20), operand: numbers}
    for cuts in ([], [5, 12], [13], [14]):
        with pytest.raises(OperandOutOfRange) as caught:
            stream(a_call(Method.PROXIMAL_STEP, layout), operands, cuts)
        assert (caught.value.element, caught.value.segment) == (13, "b")
        assert caught.value.field == operand
        assert "-0.5" in str(caught.value)


def test_a_segment_s_own_step_size_comes_before_the_call_s() -> None:
    """Parameter groups have their own learning rates, for the forward step too."""
    shared = L1Norm(strength=0.5)
    segments = (Segment("a", (3,), shared), Segment("b", (3,), shared, 2.0), Segment("c", (3,), None, 0.0))
    layout = Layout(np.dtype(np.float64), segments)
    operands = {"parameters": np.full(9, 5.0), "loss_gradients": np.ones(9)}
    got = stream(a_call(Method.PROXIMAL_STEP, layout, step_size=1.0), operands, [2, 5]).values
    np.testing.assert_array_equal(got, [3.5] * 3 + [2.0] * 3 + [5.0] * 3)
    assert chunks_of(operands, [])[0].parameters.size == 9
