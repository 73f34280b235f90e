"""A box on top of a penalty: its step is the clipped one, its gradient knows the border."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Box, GroupLasso, Groups, L1Norm, SquaredL2Norm
from regularization_kernels.engine import Layout, Method, Segment
from regularization_kernels.errors import FieldOutOfRange, GradientUndefined, OperandUnsupported
from regularization_kernels.modifiers import Boxed

from tests.support.cases import Case
from tests.support.engine_streams import AnyArray, Outcome, a_call, stream
from tests.support.inputs import STEP_SIZES, cases_with, inputs, prox, rng, shaped
from tests.support.oracles.minimizers import Array, objective, total

BOUND_TO_A_SIGN = [case for case in cases_with(convex=True) if case.regularizer.takes_orthant]
bound_to_a_sign = pytest.mark.parametrize("case", BOUND_TO_A_SIGN, ids=lambda case: case.label)
SAME_CLIPPED = {"group_lasso-free", "exclusive_lasso-free", "group_linf-free", "sparse_group_lasso-free"}
"""Cases whose step is the identity, so that it does not matter when it is clipped."""
BOXABLE = cases_with(convex=True, separable=True)
boxable = pytest.mark.parametrize("case", BOXABLE, ids=lambda case: case.label)


def boxed(case: Case) -> Boxed:
    """The case's regularizer in a box around a point where it is finite."""
    point = np.zeros(1)
    case.ready.prox(point, 0.3, point)
    return Boxed(case.regularizer, Box(lower=float(point[0]) - 0.25, upper=float(point[0]) + 0.4))


def cost_of_elements(case: Case, box: Box, y: Array) -> Array:
    """The documented terms, infinite outside the box, of an array of any shape."""
    terms = np.asarray(case.row.terms(case.regularizer, y.ravel()), dtype=np.float64).reshape(y.shape)
    lower, upper = box.numbers
    return np.where((y >= lower) & (y <= upper), terms, np.inf)


def least_points(case: Case, box: Box, v: Array, step_size: float) -> Array:
    """Where each element's objective is least, found on ever finer grids between the bounds."""
    lower, upper = (np.full((v.size, 1), bound) for bound in box.numbers)
    numbers = [getattr(case.regularizer, field.name) for field in dataclasses.fields(case.regularizer)]
    kinks = np.array([[0.0, *(sign * each for each in numbers if each is not None for sign in (1, -1))]])
    low, high, fractions = lower, upper, np.linspace(0.0, 1.0, 101)
    for _ in range(10):
        grid = np.clip(low + (high - low) * fractions, lower, upper)
        grid = np.hstack([grid, np.clip(kinks, low, high)])
        costs = cost_of_elements(case, box, grid) + (grid - v.reshape(-1, 1)) ** 2 / (2 * step_size)
        best = np.take_along_axis(grid, np.argmin(costs, axis=1)[:, None], axis=1)
        width = (high - low) / 50
        low, high = np.maximum(best - width, lower), np.minimum(best + width, upper)
    return best.reshape(v.shape)


def one(regularizer: Any, box: Box | None, size: int, dtype: Any = np.float64) -> Layout:
    """A layout of one segment with a box."""
    return Layout(np.dtype(dtype), (Segment("w", (size,), regularizer, box=box),))


def carried_out(method: Method, layout: Layout, **operands: AnyArray) -> Outcome:
    """The engine's answer to a call with step size 0.37."""
    return stream(a_call(method, layout), operands, [1])


def penalty_of(outcome: Outcome) -> float:
    """The penalty in its summary."""
    assert outcome.summary.total.penalty is not None
    return outcome.summary.total.penalty.value


@boxable
def test_the_step_is_the_point_that_a_search_between_the_bounds_finds(case: Case) -> None:
    """The clipped step minimizes the sum of penalty, indicator and squared distance."""
    modified = boxed(case)
    for v in [x.ravel() for x in inputs(case)]:
        for step_size in STEP_SIZES:
            p = np.empty_like(v)
            modified.prox(v, step_size, p)
            expected = least_points(case, modified.box, v, step_size)
            np.testing.assert_allclose(p, expected, rtol=0, atol=3e-7)


@boxable
def test_the_gradient_is_the_shortest_subgradient(case: Case) -> None:
    """Along −g the penalty in the box falls at the rate |g|², and where g is 0 nothing near is lower."""
    modified, random = boxed(case), rng(case, 30)
    lower, upper = modified.box.numbers
    points = [np.empty(case.size) for _ in inputs(case)]
    for v, point in zip(inputs(case), points, strict=True):
        modified.prox(v.ravel(), 0.6, point)
    if all(math.isfinite(case.penalty(np.full(case.shape, bound))) for bound in (lower, upper)):
        points += [np.clip(v.ravel(), lower, upper) for v in inputs(case)]
    if case.row.with_gradient is not None:
        points = [np.clip(case.row.with_gradient(case.regularizer, x), lower, upper) for x in points]
    for x in points:
        g = np.empty_like(x)
        modified.gradient(x, g)
        here = total(cost_of_elements(case, modified.box, x))
        for u in np.clip(x + 0.1 * random.normal(size=(20, x.size)), lower, upper):
            there = total(cost_of_elements(case, modified.box, u))
            assert there >= here + float(np.sum(g * (u - x))) - 1e-12 * max(1.0, abs(here))
        if np.any(g):
            step = 1e-7 / math.sqrt(float(np.sum(g * g)))
            slope = (total(cost_of_elements(case, modified.box, x - step * g)) - here) / step
            assert slope == pytest.approx(-float(np.sum(g * g)), rel=1e-4, abs=1e-4)


def test_the_gradient_at_a_bound_is_what_leads_inwards() -> None:
    """At a bound a slope that would lead out is 0; one that leads in stays, also where in and out are one."""
    x = np.array([-0.5, 0.25, 0.5, 0.0])
    for strength, bounds, expected in (
        (2.0, (-0.5, 0.5), [-1.0, 0.5, 1.0, 0.0]),
        (2.0, (-0.5, None), [-1.0, 0.5, 1.0, 0.0]),
    ):
        modified = Boxed(SquaredL2Norm(strength=strength), Box(*bounds))
        g = np.empty_like(x)
        modified.gradient(x, g)
        np.testing.assert_array_equal(g, expected)
    for bounds, at, expected in (
        ((0.5, 2.0), 0.5, [0.0]),
        ((-2.0, -0.5), -0.5, [0.0]),
        ((0.5, 0.5), 0.5, [0.0]),
        ((-2.0, 0.5), 0.5, [1.0]),
    ):
        g = np.array([at])
        Boxed(SquaredL2Norm(strength=2.0), Box(*bounds)).gradient(g, g)
        np.testing.assert_array_equal(g, expected)


@boxable
def test_outside_the_box_the_penalty_is_infinite(case: Case) -> None:
    """And the gradient is undefined, by the element's name in the whole vector."""
    layout = one(case.regularizer, boxed(case).box, 4)
    inside = carried_out(Method.PROXIMAL_STEP, layout, parameters=np.zeros(4)).values
    for far in (1e3, -1e3):
        x = np.where(np.arange(4) == 2, far, inside)
        assert penalty_of(carried_out(Method.PENALTY, layout, parameters=x)) == math.inf
        with pytest.raises(GradientUndefined) as caught:
            carried_out(Method.GRADIENT, layout, parameters=x)
        assert (caught.value.element, caught.value.field) == (2, "parameters")


@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_no_strength_and_no_weight_takes_the_box_away(strength: float, weight: float) -> None:
    """They belong to the penalty: outside the box it is infinite whatever they are, inside they count."""
    layout = one(L1Norm(strength=strength), Box(lower=-1.0, upper=1.0), 2)
    weights = np.full(2, weight)
    outcome = carried_out(Method.PENALTY, layout, parameters=np.array([0.5, 2.0]), weights=weights)
    assert penalty_of(outcome) == math.inf
    outcome = carried_out(Method.PENALTY, layout, parameters=np.array([0.5, -1.0]), weights=weights)
    assert penalty_of(outcome) == 1.5 * strength * weight
    stepped = carried_out(Method.PROXIMAL_STEP, layout, parameters=np.array([0.5, 2.0]), weights=weights)
    np.testing.assert_allclose(stepped.values, [0.5 - 0.37 * strength * weight, 1.0], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_reference_moves_the_penalty_and_not_the_box(dtype: type[np.floating[Any]]) -> None:
    """The step is clip(r + prox(v − r)), the bounds in the data type; penalty and gradient fit that."""
    box, random = Box(lower=-0.7, upper=0.3), np.random.default_rng(4)
    low, high = float(dtype(-0.7)), float(dtype(0.3))
    theta, r, g = (random.normal(size=3000).astype(dtype) for _ in range(3))
    layout, plain = (one(L1Norm(strength=0.4), each, 3000, dtype) for each in (box, None))
    operands = {"parameters": theta, "reference": r, "loss_gradients": g}
    free = carried_out(Method.PROXIMAL_STEP, plain, **operands).values
    outcome = carried_out(Method.PROXIMAL_STEP, layout, **operands)
    np.testing.assert_array_equal(outcome.values, np.clip(free, low, high))
    new = outcome.values.astype(dtype)
    assert penalty_of(outcome) == penalty_of(carried_out(Method.PENALTY, plain, parameters=new, reference=r))
    slopes = carried_out(Method.GRADIENT, layout, parameters=new, reference=r).values
    free_slopes = carried_out(Method.GRADIENT, plain, parameters=new, reference=r).values
    held = ((new == dtype(high)) & (free_slopes < 0)) | ((new == dtype(low)) & (free_slopes > 0))
    assert held.any()
    np.testing.assert_array_equal(slopes, np.where(held, 0.0, free_slopes))


@pytest.mark.parametrize("method", list(Method))
def test_a_box_on_an_exempt_segment_is_the_box(method: Method) -> None:
    """To the bit; a reference and weights have no effect, as on any exempt segment."""
    box, random = Box(lower=-0.5, upper=0.7), np.random.default_rng(5)
    theta = random.normal(size=200).astype(np.float32)
    if method is Method.GRADIENT:
        theta = np.clip(theta, np.float32(-0.5), np.float32(0.7))
    exempt, row = one(None, box, 200, np.float32), one(box, None, 200, np.float32)
    expected = carried_out(method, row, parameters=theta)
    for names in ((), ("reference", "weights")):
        idle = {name: np.full(200, 0.5, np.float32) for name in names}
        assert carried_out(method, exempt, parameters=theta, **idle).bits() == expected.bits()


def test_a_box_on_a_box_is_both() -> None:
    """Their intersection, which has a point, and is not moved by a reference."""
    layout = one(Box(lower=-1.0, upper=0.5), Box(lower=0.25), 3)
    outcome = carried_out(Method.PROXIMAL_STEP, layout, parameters=np.array([-3.0, 0.3, 3.0]))
    np.testing.assert_array_equal(outcome.values, [0.25, 0.3, 0.5])
    assert penalty_of(outcome) == 0.0
    touching = one(Box(upper=0.25), Box(lower=0.25), 1)
    assert carried_out(Method.PROXIMAL_STEP, touching, parameters=np.zeros(1)).values == 0.25
    with pytest.raises(OperandUnsupported) as caught:
        carried_out(Method.PROXIMAL_STEP, layout, parameters=np.zeros(3), reference=np.ones(3))
    assert caught.value.field == "reference"
    with pytest.raises(FieldOutOfRange) as refused:
        one(Box(upper=0.2), Box(lower=0.25), 3)
    assert (refused.value.field, refused.value.segment) == ("segments[0].box", "w")


def nonnegative(case: Case) -> Any:
    """The case's regularizer of elements that are not negative, made ready."""
    return Boxed(case.regularizer, Box(lower=0.0)).on(case.shape)


def shaped_like(case: Case, x: Array) -> Array:
    """As the kernel takes it."""
    return np.ascontiguousarray(shaped(case, x.copy()))


def step_of(case: Case, v: Array, step_size: float) -> Array:
    """The step of nonnegative elements, in the case's shape."""
    x = shaped_like(case, v)
    nonnegative(case).prox(x, step_size, x)
    return x.reshape(case.shape)


def test_four_rows_are_bound_to_a_sign() -> None:
    """Those of groups that are convex and depend on magnitudes alone."""
    names = {case.row.name for case in BOUND_TO_A_SIGN}
    assert names == {"group_lasso", "sparse_group_lasso", "exclusive_lasso", "group_linf"}


@bound_to_a_sign
def test_a_nonnegative_step_is_certified(case: Case) -> None:
    """What it took off is a subgradient, but for what it took off where an element was negative and is 0."""
    for v in inputs(case):
        for step_size in STEP_SIZES:
            p = step_of(case, v, step_size)
            assert np.all(p >= 0)
            slope = (v - p) / step_size
            slope = np.where((p == 0) & (slope < 0), 0.0, slope)
            scale = max(1.0, float(np.max(np.abs(v)))) ** 2 / step_size
            assert case.row.certificate(case.regularizer, p, slope) <= 1e-12 * scale


@bound_to_a_sign
def test_no_nonnegative_point_is_better(case: Case) -> None:
    """By as much as convexity asks, and to clip afterwards would be worse somewhere."""
    random, clipped_is_worse = rng(case, 31), False
    for v in inputs(case):
        for step_size in STEP_SIZES:
            p = step_of(case, v, step_size)
            least = objective(case.row.terms, case.regularizer, p, v, step_size)
            afterwards = np.maximum(prox(case, v, step_size), 0.0)
            others = [np.maximum(p + size * random.normal(size=case.shape), 0.0) for size in (1e-3, 0.1, 1.0)]
            for u in (*others, np.maximum(v, 0.0), np.zeros(case.shape), 0.99 * p, 1.01 * p, afterwards):
                gap = objective(case.row.terms, case.regularizer, u, v, step_size) - least
                bulge = float(np.sum((u - p) ** 2)) / (2 * step_size)
                assert gap >= bulge - 1e-11 * max(1.0, abs(least), bulge)
            clipped_is_worse |= float(np.max(np.abs(afterwards - p))) > 1e-3
    assert clipped_is_worse == (case.label not in SAME_CLIPPED)


@bound_to_a_sign
def test_the_gradient_of_nonnegative_elements_is_the_shortest_subgradient(case: Case) -> None:
    """Along −g the penalty falls at the rate |g|², and is above its tangent; the other sign is a mirror."""
    random = rng(case, 32)
    mirrored = Boxed(case.regularizer, Box(upper=0.0)).on(case.shape)
    for v in inputs(case):
        x, g, turned = np.maximum(v, 0.0), np.empty(case.shape), np.empty(case.shape)
        nonnegative(case).gradient(shaped_like(case, x), shaped(case, g))
        mirrored.gradient(shaped_like(case, -x), shaped(case, turned))
        np.testing.assert_array_equal(turned, -g)
        mirrored.prox(shaped_like(case, -v), 0.6, shaped(case, turned))
        np.testing.assert_array_equal(turned, -step_of(case, v, 0.6))
        here = case.penalty(x)
        for u in np.maximum(x + 0.1 * random.normal(size=(20, *case.shape)), 0.0):
            assert case.penalty(u) >= here + float(np.sum(g * (u - x))) - 1e-12 * max(1.0, abs(here))
        squared = float(np.sum(g * g))
        if squared:
            step = 1e-7 * max(1.0, float(np.max(x))) / math.sqrt(squared)
            slope = (case.penalty(x - step * g) - here) / step
            assert slope == pytest.approx(-squared, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nonnegative_groups_of_one_are_nonnegative_l1(method: Method, dtype: type[np.floating[Any]]) -> None:
    """In the engine, in chunks: results and penalties, +∞ where an element is negative."""
    box, random = Box(lower=0.0), np.random.default_rng(8)
    theta, g = (random.normal(size=300).astype(dtype) for _ in range(2))
    if method is Method.GRADIENT:
        theta = np.maximum(theta, 0)
    groups = one(GroupLasso(strength=0.4, groups=Groups(size=1)), box, 300, dtype)
    operands = (
        {"parameters": theta} if method is Method.PENALTY else {"parameters": theta, "loss_gradients": g}
    )
    ours, theirs = (
        carried_out(method, layout, **operands)
        for layout in (groups, one(L1Norm(strength=0.4), box, 300, dtype))
    )
    if method is not Method.PENALTY:
        np.testing.assert_allclose(ours.values, theirs.values, rtol=3e-7)
        assert np.all(ours.values >= 0) or method is Method.GRADIENT
    assert penalty_of(ours) == pytest.approx(penalty_of(theirs), rel=1e-6)
