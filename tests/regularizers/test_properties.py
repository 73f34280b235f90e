"""Laws of proximal steps on cases that Hypothesis draws: parameters, shapes and scales of all kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import proximal_step
from regularization_kernels.engine import Layout, Method, Segment

from tests.support.cases import ROWS, Case, Row
from tests.support.engine_streams import a_call, stream, without_outside
from tests.support.inputs import FLOATS, AnyArray, prox, shaped, value
from tests.support.oracles.minimizers import objective, total
from tests.support.strategies import cases, elements, powers, starts, step_sizes

Vector = NDArray[np.float64]
Law = Callable[[Row, st.DataObject], None]

ROUNDING = 64.0
"""Rounding errors of the largest element that an element of a step may be off by."""
NAMES = {row.name for row in ROWS}

ONE_SIDED = {
    *("box", "hinge", "negative_entropy", "simplex", "isotonic", "grid", "quantization"),
    *("unit_norm", "min_max_norm", "positive_semidefinite"),
}
"""Rows whose penalty, or choice between two points, is not the same for x and -x."""
BY_ELEMENT = {
    *("l1_norm", "squared_l2_norm", "elastic_net", "box", "huber", "l0_norm", "l_half", "mcp", "scad"),
    *("l_two_thirds", "log_sum", "hinge", "negative_entropy", "grid", "quantization"),
}
"""Rows that are sums over elements, whose order does not matter to the bit."""
WHOLE = {"l2_norm", "linf_norm", "l1_ball", "l2_ball", "simplex", "top_k", "slope"}
"""Rows that forget the order of all elements, or of a group's where they have groups."""
WITHIN_GROUPS = {
    *("group_lasso", "sparse_group_lasso", "exclusive_lasso", "group_linf", "group_mcp", "group_scad"),
    *("n_of_m", "max_norm", "unit_norm", "min_max_norm", "top_k_groups", "tree_group_lasso"),
}
"""Rows that forget the order of a group's elements."""
MATRICES = {
    "nuclear_norm",
    "nuclear_ball",
    "spectral_norm",
    "spectral_ball",
    "rank_ball",
    "orthogonality",
    "stiefel",
}
"""Rows that forget the order of rows and columns."""
SQUARE = {"positive_semidefinite"}
"""Rows that forget the order of rows and columns, where it is the same."""
SEQUENCES = {
    *("total_variation", "total_variation_2d", "fused_lasso", "trend_filter", "isotonic"),
    *("transposable_sparsity", "block_sparsity"),
}
"""Rows to which the order of elements matters, but for turning it around."""
SET_VALUED = {"rank_ball", "orthogonality", "stiefel"}
"""Rows that say nothing of which nearest point they take."""
LIFTED = {"total_variation", "total_variation_2d", "trend_filter", "isotonic"}
"""Rows to which a constant that is added to all elements does not matter."""


def law(names: set[str] | None = None, examples: int = 10) -> Callable[[Law], Any]:
    """A test of every row, or of those of these names, on some cases."""
    rows = [row for row in ROWS if names is None or row.name in names]

    def decorate(function: Law) -> Any:
        drawn = settings(max_examples=examples, deadline=None, derandomize=True)(
            given(data=st.data())(function)
        )
        return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)(drawn)

    return decorate


def names_with(**traits: bool) -> set[str]:
    """The names of rows whose regularizer declares these traits."""
    first = {row.name: next(iter(row.instances.values()))[0] for row in ROWS}
    return {
        name
        for name, r in first.items()
        if all(getattr(r.traits, t) == wanted for t, wanted in traits.items())
    }


def step_of(case: Case, x: AnyArray, step_size: float) -> Vector:
    """The step in float64, which is what its data type's numbers stand for."""
    return prox(case, x, step_size).astype(np.float64)


def errors(case: Case, dtype: Any, *points: Vector) -> Vector:
    """By how much rounding may move each element of a step between points of this size."""
    about = np.finfo(dtype)
    sizes = np.max(np.abs(points), axis=0)
    if not case.regularizer.traits.separable:
        sizes = np.full_like(sizes, np.max(sizes, initial=0.0))
    return ROUNDING * case.row.accuracy * (float(about.eps) * sizes + float(about.smallest_subnormal))


def cost(case: Case, y: Vector, x: Vector, step_size: float) -> float:
    """What a step minimizes; of a set the distance alone."""
    if case.regularizer.traits.indicator:
        return math.fsum(((y - x) ** 2).ravel().tolist()) / (2 * step_size)
    return objective(case.row.terms, case.regularizer, y, x, step_size)


def slack(case: Case, p: Vector, x: Vector, step_size: float, off: Vector) -> float:
    """By how much rounding may change a step's objective: what it changes when elements are moved so."""
    best = cost(case, p, x, step_size)
    of_terms = 0.0
    if not case.regularizer.traits.indicator:
        of_terms = total(np.abs(case.row.terms(case.regularizer, p)))
    signs = np.where(np.arange(case.size) % 2, 1.0, -1.0).reshape(case.shape)
    # A sparse point stays sparse, whatever its other elements are rounded to; but what is too small for the
    # data type is rounded to 0.
    stays = (p == 0) & case.regularizer.traits.separable
    room = np.where(stays, np.minimum(off, float(np.finfo(np.float32).smallest_subnormal)), off)
    moves = [room * sign for sign in (signs, np.sign(p), 1.0, -1.0)]
    changes = [abs(cost(case, p + move, x, step_size) - best) for move in moves]
    return 1e-12 * (abs(best) + of_terms) + max(c for c in (0.0, *changes) if math.isfinite(c)) + 1e-300


def others(case: Case, data: st.DataObject, p: Vector, x: Vector, step_size: float) -> list[Vector]:
    """Points that a step must not be worse than."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    size = float(np.max(np.abs([p, x]), initial=0.0))
    noises = [random.normal(size=case.shape) * size * amount for amount in (1.0, 1e-1, 1e-3)]
    neighbours = [step_of(case, x + noise, step_size) for noise in noises]
    steps = [step_of(case, x, step_size * factor) for factor in (0.5, 2.0)]
    zero, some = np.zeros(case.shape), random.random(case.shape) < 0.5
    mixed = [np.where(some, one, other) for one in (p, x) for other in (zero, x, p, neighbours[0])]
    found = [x, zero, 0.99 * p, 1.01 * p, *(p + noise for noise in noises), *neighbours, *steps, *mixed]
    return [*found, best_of(case, [*found, p], x, step_size)] if case.regularizer.traits.separable else found


def best_of(case: Case, points: list[Vector], x: Vector, step_size: float) -> Vector:
    """Each element from the point where it is best, of a penalty that is a sum over elements."""
    terms = [np.reshape(case.row.terms(case.regularizer, point), case.shape) for point in points]
    costs = [term + (point - x) ** 2 / (2 * step_size) for term, point in zip(terms, points, strict=True)]
    best: Vector = np.take_along_axis(np.array(points), np.argmin(costs, axis=0)[np.newaxis], axis=0)[0]
    return best


@law(examples=30)
def test_no_other_point_is_better(row: Row, data: st.DataObject) -> None:
    """The documented objective is least at the step: by as much as its convexity asks, for a convex row."""
    case = data.draw(cases(row))
    dtype = np.float64 if case.regularizer.traits.indicator else data.draw(st.sampled_from(FLOATS))
    given_x, step_size = data.draw(starts(case, dtype))
    x, p = given_x.astype(np.float64), step_of(case, given_x, step_size)
    assert value(case, p.astype(dtype)) < math.inf
    # The smallest numbers may be off a set by as much as they are, which the formula does not know.
    assert case.penalty(p) < math.inf or np.max(np.abs(x)) < 1e-300
    if step_size == 0:
        indicator = case.regularizer.traits.indicator
        expected = step_of(case, given_x, 1.0) if indicator else row.onto_domain(case.regularizer, x)
        np.testing.assert_array_equal(p, expected)
        return
    off = errors(case, dtype, x, p)
    least, room = cost(case, p, x, step_size), slack(case, p, x, step_size, off)
    for u in others(case, data, p, x, step_size):
        # Of what is a little off a set, the formula and the kernel take in different amounts.
        if math.inf in (case.penalty(u), value(case, u)):
            continue
        gap = cost(case, u, x, step_size) - least
        if case.regularizer.traits.convex:
            apart = np.abs(u - p)
            bulge = math.fsum((apart**2).ravel().tolist()) / (2 * step_size)
            gap -= bulge * (1 - 1e-9) - float(np.sum(off * apart)) / step_size
        assert gap >= -room


@law()
def test_single_precision_is_double_precision_rounded(row: Row, data: st.DataObject) -> None:
    """A step in float32 is the float64 step but for rounding, and for what counts as inside of sets."""
    case = data.draw(cases(row))
    x, step_size = data.draw(starts(case, np.float32))
    p, expected = step_of(case, x, step_size), step_of(case, x.astype(np.float64), step_size)
    about = np.finfo(np.float32)
    if case.regularizer.traits.separable or not case.regularizer.traits.indicator:
        np.testing.assert_allclose(p, expected, rtol=float(about.eps), atol=float(about.smallest_subnormal))
        return
    room = 8 * max(case.shape, default=1) * (about.eps * np.sum(np.abs(expected)) + about.smallest_subnormal)
    np.testing.assert_allclose(p, expected, rtol=0, atol=float(room))
    assert value(case, p.astype(np.float32)) == 0.0


@law(names_with(convex=True))
def test_convex_steps_are_firmly_nonexpansive(row: Row, data: st.DataObject) -> None:
    """|p - q|^2 <= <p - q, u - v> for the steps p, q from any two points u, v."""
    case, dtype = data.draw(cases(row)), data.draw(st.sampled_from(FLOATS))
    u, step_size = data.draw(starts(case, dtype))
    v = data.draw(elements(case, dtype, step_size))
    p, q = step_of(case, u, step_size), step_of(case, v, step_size)
    off = errors(case, dtype, u.astype(np.float64), v.astype(np.float64), p, q)
    steps, points = p - q, u.astype(np.float64) - v.astype(np.float64)
    room = float(np.sum(off * (np.abs(steps) + np.abs(points) + off)))
    assert float(np.sum(steps * steps)) <= float(np.sum(steps * points)) + room


@law(names_with(indicator=True))
def test_projections_are_idempotent_and_forget_the_step_size(row: Row, data: st.DataObject) -> None:
    """A projected point is inside, and neither a second projection nor another step size changes a bit."""
    case, dtype = data.draw(cases(row)), data.draw(st.sampled_from(FLOATS))
    x, step_size = data.draw(starts(case, dtype))
    p = prox(case, x, step_size)
    assert value(case, p) == 0.0
    assert prox(case, p, step_size).tobytes() == p.tobytes()
    assert prox(case, x, data.draw(step_sizes(case))).tobytes() == p.tobytes()


@law(NAMES - ONE_SIDED)
def test_steps_are_odd(row: Row, data: st.DataObject) -> None:
    """Where x and -x have one penalty, the step from -x is that from x, turned around."""
    case = data.draw(cases(row))
    x, step_size = data.draw(starts(case, np.float64))
    p, turned = step_of(case, x, step_size), step_of(case, -x, step_size)
    assert_same(case, x, step_size, p, -turned, exact=row.name not in MATRICES | SQUARE | SEQUENCES)


@law(NAMES - SEQUENCES)
def test_the_order_of_elements_does_not_matter(row: Row, data: st.DataObject) -> None:
    """Elements that come in another order, where the penalty knows none, go out in that order."""
    case = data.draw(cases(row))
    x, step_size = data.draw(starts(case, np.float64))
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    order = np.arange(case.size)
    if row.name in MATRICES:
        places = order.reshape(case.shape)
        for axis, side in enumerate(case.shape):
            places = np.take(places, random.permutation(side), axis)
        order = places.ravel()
    elif row.name in SQUARE:
        both = random.permutation(case.shape[0])
        order = order.reshape(case.shape)[both][:, both].ravel()
    else:
        in_groups = row.name in WITHIN_GROUPS or getattr(case.regularizer, "groups", None) is not None
        parts = (row.unordered or row.parts)(case.regularizer, case.shape) if in_groups else [order]
        for part in parts:
            order[part] = random.permutation(part)
    p = step_of(case, x, step_size).ravel()
    back = np.empty(case.size)
    back[order] = step_of(case, x.ravel()[order].reshape(case.shape), step_size).ravel()
    if row.name in ("top_k", "n_of_m", "unit_norm", "min_max_norm"):
        # Of equal magnitudes the first stay, whichever these are; and of zeros the first has the norm.
        p, back = np.sort(np.abs(p)), np.sort(np.abs(back))
    if row.name == "top_k_groups":
        # The order may change a norm's last bit, and so which of two groups is the larger.
        p, back = (np.full(case.size, cost(case, y.reshape(case.shape), x, 1.0)) for y in (p, back))
    shape = case.shape
    assert_same(case, x, step_size, p.reshape(shape), back.reshape(shape), exact=row.name in BY_ELEMENT)


@law(SEQUENCES)
def test_rows_may_be_turned_around(row: Row, data: st.DataObject) -> None:
    """Sequences read backwards have the same step, backwards; and upside down, where it is to rise."""
    case = data.draw(cases(row))
    x, step_size = data.draw(starts(case, np.float64))
    sign = -1.0 if row.name == "isotonic" else 1.0
    axis = getattr(case.regularizer, "axis", None)
    axis = -1 if axis is None else axis
    turned = step_of(case, np.ascontiguousarray(sign * np.flip(x, axis)), step_size)
    p, back = step_of(case, x, step_size), sign * np.flip(turned, axis)
    if row.name in ("transposable_sparsity", "block_sparsity"):
        # Of patterns that are as good as each other the first is taken, from either end.
        p, back = (np.full(case.shape, cost(case, y, x, 1.0)) for y in (p, back))
    assert_same(case, x, step_size, p, back)


@law(LIFTED)
def test_a_constant_is_carried_along(row: Row, data: st.DataObject) -> None:
    """What is added to all elements is added to their step."""
    case = data.draw(cases(row))
    x, step_size = data.draw(starts(case, np.float64))
    lift = data.draw(st.sampled_from([-1.0, 0.5, 3.0])) * float(np.max(np.abs(x), initial=0.0))
    assert_same(
        case, x + lift, step_size, step_of(case, x, step_size) + lift, step_of(case, x + lift, step_size)
    )


def assert_same(
    case: Case, x: Vector, step_size: float, p: Vector, q: Vector, *, exact: bool = False
) -> None:
    """Two steps are equal, but for rounding; where either is right, they are as good as each other."""
    if case.row.name in SET_VALUED:
        if step_size > 0:
            room = slack(case, p, x, step_size, errors(case, np.float64, x, p))
            assert abs(cost(case, p, x, step_size) - cost(case, q, x, step_size)) <= 2 * room
    elif exact:
        np.testing.assert_array_equal(p, q)
    else:
        assert np.all(np.abs(p - q) <= errors(case, np.float64, x, p, q))


@law(names_with(positively_homogeneous=True))
def test_steps_scale_with_what_is_positively_homogeneous(row: Row, data: st.DataObject) -> None:
    """The step of size c·γ from c·x is c times that of size γ from x."""
    case, dtype = data.draw(cases(row)), data.draw(st.sampled_from(FLOATS))
    x, step_size = data.draw(starts(case, dtype, (1.0, 1e-12, 1e12)))
    # A power of 2 keeps ties as they are, which a row that is not convex may branch at.
    exact = not case.regularizer.traits.convex
    c = 2.0 ** data.draw(st.integers(-40, 40)) if exact else data.draw(powers(-12, 12))
    p = step_of(case, x, step_size)
    scaled = step_of(case, (c * x).astype(dtype), c * step_size)
    off = errors(case, dtype, c * x.astype(np.float64), c * p, scaled)
    # The smallest numbers are rounded to a whole number of them before they are scaled.
    tiny = ROUNDING * c * float(np.finfo(dtype).smallest_subnormal)
    assert np.all(np.abs(scaled - c * p) <= off + tiny)


@law()
def test_a_step_may_go_over_its_input(row: Row, data: st.DataObject) -> None:
    """The bits are the same, in kernel and engine; where it goes elsewhere, the input stays as it was."""
    case, dtype = data.draw(cases(row)), data.draw(st.sampled_from(FLOATS))
    x, step_size = data.draw(starts(case, dtype))
    before = x.copy()
    expected, _ = proximal_step(x, case.regularizer, step_size)
    assert x.tobytes() == before.tobytes()
    proximal_step(x, case.regularizer, step_size, out=x)
    assert x.tobytes() == expected.tobytes()
    wide = shaped(case, before.astype(np.float64))
    kept, out = wide.copy(), np.full_like(wide, np.nan)
    case.ready.prox(wide, step_size, out)
    assert wide.tobytes() == kept.tobytes()
    case.ready.prox(wide, step_size, wide)
    assert wide.tobytes() == out.tobytes()


@law()
def test_finite_elements_have_a_finite_step(row: Row, data: st.DataObject) -> None:
    """Up to 1e150, or 1e37 in float32, at every step size, and without a warning."""
    case, dtype = data.draw(cases(row)), data.draw(st.sampled_from(FLOATS))
    largest = 1e149 if dtype is np.float64 else 1e36
    scales = (largest * 1e-6, math.sqrt(largest), 1.0, 1 / largest)
    x, step_size = data.draw(starts(case, dtype, scales))
    assert np.all(np.isfinite(prox(case, x, step_size)))


@law(examples=20)
def test_chunks_do_not_change_a_bit(row: Row, data: st.DataObject) -> None:
    """Results and summary of a stream are the same however it is cut, next to other segments."""
    drawn, dtype = [data.draw(cases(row)) for _ in range(2)], data.draw(st.sampled_from(FLOATS))
    segments = [Segment(str(at), case.shape, case.regularizer) for at, case in enumerate(drawn)]
    layout = Layout(np.dtype(dtype), (segments[0], Segment("exempt", (3,)), segments[1]))
    parts = [data.draw(elements(case, dtype)).ravel() for case in drawn]
    x = np.concatenate([parts[0], np.ones(3, dtype), parts[1]])
    method = data.draw(st.sampled_from(list(Method)))
    if method is Method.GRADIENT:
        x = without_outside(layout, x)
    call = a_call(method, layout)
    cuts = data.draw(st.lists(st.integers(0, layout.size), min_size=1, max_size=8))
    assert stream(call, {"parameters": x}, cuts).bits() == stream(call, {"parameters": x}).bits()


def test_every_row_has_its_symmetries() -> None:
    """A new row says here what its penalty does not see: signs, and which orders."""
    orders = [BY_ELEMENT, WHOLE, WITHIN_GROUPS, MATRICES, SQUARE, SEQUENCES]
    assert set().union(*orders) == NAMES
    assert sum(map(len, orders)) == len(NAMES)
    assert ONE_SIDED | SET_VALUED | LIFTED <= NAMES
