"""Weights of total variation and the fused lasso as operands, in every data type, in bounded memory."""

from __future__ import annotations

import math
import tracemalloc
from bisect import bisect
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from regularization_kernels import FusedLasso, TotalVariation, compilation, gradient, proximal_step
from regularization_kernels.engine import Layout, MemoryBudget, Method, Segment
from regularization_kernels.errors import BudgetExceeded, OperandOutOfRange, ValueNotFinite
from regularization_kernels.formats import numbers_of, round_into
from regularization_kernels.modifiers import with_operands

from tests.support.engine_streams import a_call, stream
from tests.support.lines import alike, random_walk, slope, step

REGULARIZERS = (TotalVariation(strength=0.7), FusedLasso(l1_strength=0.1, tv_strength=0.7))
every_regularizer = pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: r.name)


def random(seed: int) -> np.random.Generator:
    """Numbers that are the same each time."""
    return np.random.default_rng(seed)


@every_regularizer
@pytest.mark.parametrize("axis", [0, 1])
def test_weights_that_are_no_numbers(regularizer: Any, axis: int) -> None:
    """Are refused, first by place; where they are taken, NaN fills all, and infinity ties two elements."""
    along, x = replace(regularizer, axis=axis), random(13).normal(size=(4, 4))
    for bad, error in ((-0.5, OperandOutOfRange), (math.nan, ValueNotFinite), (math.inf, ValueNotFinite)):
        weights = np.ones((4, 4))
        weights[1, 1] = bad
        for compute in (lambda **o: proximal_step(x, along, 1.0, **o), lambda **o: gradient(x, along, **o)):
            with pytest.raises(error) as caught:
                compute(weights=weights)
            assert (caught.value.field, caught.value.element) == ("weights", 5)
        layout = Layout(np.dtype(np.float64), (Segment("w", (4, 4), along),))
        if error is ValueNotFinite:
            for method in (Method.GRADIENT, Method.PROXIMAL_STEP):
                call = a_call(method, layout, propagate_non_finite=True)
                values = stream(call, {"parameters": x.ravel(), "weights": weights.ravel()}).values
                assert np.isnan(values).all() == math.isnan(bad)
                if method is Method.PROXIMAL_STEP and bad == math.inf:
                    assert values[5] == values[9 if axis == 0 else 6]


@every_regularizer
@pytest.mark.parametrize(
    "data_type", [np.float16, ml_dtypes.bfloat16, np.float32, np.int16], ids=lambda t: np.dtype(t).name
)
def test_weights_of_any_data_type_are_computed_with_in_float64(regularizer: Any, data_type: Any) -> None:
    """Results are those of the numbers that elements and weights stand for, rounded once."""
    dtype = np.dtype(data_type)
    raw, own = random(14).normal(size=(5, 8)) * 0.3, random(15).random(size=(5, 8))
    x, weights = np.empty((5, 8), dtype), np.empty((5, 8), dtype)
    for exact, out in ((raw, x), (own, weights)):
        round_into(exact.reshape(-1), out.reshape(-1))
    wide, wide_weights = (numbers_of(a).astype(np.float64) for a in (x, weights))
    for got, exact in (
        (
            proximal_step(x, regularizer, 0.37, weights=weights)[0],
            step(regularizer, wide, wide_weights, step_size=0.37),
        ),
        (gradient(x, regularizer, weights=weights)[0], slope(regularizer, wide, wide_weights)),
    ):
        expected = np.empty(40, dtype)
        round_into(exact.reshape(-1), expected)
        assert got.tobytes() == expected.tobytes()


@every_regularizer
def test_operands_and_smoothing_go_with_weights(regularizer: Any) -> None:
    """The step is from θ − γ·g, around the reference; the envelope's slope is what its own step moves."""
    theta, g, r = (random(seed).normal(size=12) for seed in (16, 17, 18))
    weights = random(19).exponential(size=12)
    got, _ = proximal_step(theta, regularizer, 0.37, weights=weights, loss_gradients=g, reference=r)
    expected = step(regularizer, theta - 0.37 * g - r, weights, step_size=0.37) + r
    np.testing.assert_array_equal(got, expected)
    layout = Layout(np.dtype(np.float64), (Segment("w", (12,), regularizer, smoothing=0.5),))
    chunk: Any = {"parameters": theta, "weights": weights}
    nearer = step(regularizer, theta, weights, step_size=0.5)
    slopes = stream(a_call(Method.GRADIENT, layout), chunk).values
    np.testing.assert_allclose(slopes, (theta - nearer) / 0.5, rtol=1e-14)
    further = step(regularizer, theta, weights, step_size=0.37 + 0.5)
    stepped = stream(a_call(Method.PROXIMAL_STEP, layout), chunk).values
    np.testing.assert_allclose(stepped, theta + 0.37 / 0.87 * (further - theta), rtol=1e-13)


@pytest.mark.parametrize("shape", [(1 << 12,), (8, 1 << 9), (1 << 9, 8), (1 << 11, 2), (1 << 12, 1)], ids=str)
@pytest.mark.parametrize("axis", [0, None])
@every_regularizer
def test_workspace_is_what_is_allocated(regularizer: Any, shape: tuple[int, ...], axis: int | None) -> None:
    """Step, slope and penalty with weights in float32 allocate no more than is said."""
    along = replace(regularizer, axis=axis)
    x = random_walk(math.prod(shape)).reshape(shape) * 10
    weights, out = alike(x.size).reshape(shape).astype(np.float32), np.empty(shape)

    def prepared() -> Any:
        return with_operands(along.on(shape), None, weights)

    for compute in (
        lambda: along.on(shape).weighted(weights).value(x),
        lambda: prepared().gradient(np.round(x), out),
        lambda: prepared().prox(x, 1.0, out),
    ):
        compute()  # what is imported or compiled stays
        compilation.wait_until_compiled()
        tracemalloc.start()
        compute()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        said = along.on(shape).workspace(x.size) + along.weighing * x.size
        assert most <= 8 * said + (1 << 16)


@pytest.mark.parametrize("more", [{}, {"smoothing": 0.5}], ids=["alone", "smoothed"])
def test_what_weights_take_is_accounted_for(more: dict[str, Any]) -> None:
    """A call with weights asks the budget for them and for all that they need."""
    regularizer = TotalVariation(strength=0.3)
    layout = Layout(np.dtype(np.float64), (Segment("w", (4096,), regularizer, **more),))
    call, ones = a_call(Method.PROXIMAL_STEP, layout), np.ones(4096)

    def fits(operands: dict[str, Any], size: int) -> bool:
        try:
            stream(call, operands, [17], MemoryBudget(size))
        except BudgetExceeded:
            return False
        return True

    def needs(operands: dict[str, Any]) -> int:
        return bisect(range(1 << 22), False, key=lambda size: fits(operands, size))

    assert needs({"parameters": ones, "weights": ones}) - needs({"parameters": ones}) >= 80 * 4096


def test_a_chunk_of_weights_belongs_to_its_elements() -> None:
    """Parameters and weights may be cut anywhere."""
    layout = Layout(np.dtype(np.float32), (Segment("w", (6, 7), TotalVariation(strength=0.3, axis=0)),))
    x, weights = (a.astype(np.float32) for a in (random(20).normal(size=42), random(21).exponential(size=42)))
    call = a_call(Method.PROXIMAL_STEP, layout)
    whole = stream(call, {"parameters": x, "weights": weights}).bits()
    for cuts in ([1], [20, 21], list(range(0, 42, 5))):
        assert stream(call, {"parameters": x, "weights": weights}, cuts).bits() == whole
