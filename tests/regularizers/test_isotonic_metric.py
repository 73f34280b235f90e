"""Isotonic lines with a step size for each element: the weighted fit."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import Isotonic, compilation, proximal_step
from regularization_kernels.engine import Layout, Method, Rounding, RoundingMode, Segment
from regularization_kernels.errors import OperandOutOfRange, ValueNotFinite
from regularization_kernels.regularizers.vectors.pooling import pool_rows
from scipy.optimize import isotonic_regression

from tests.support.engine_streams import a_call, elements_of, stream
from tests.support.together import for_each

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


def step(v: NDArray[Any], scales: NDArray[Any], **parameters: Any) -> NDArray[Any]:
    """The step of size 1 with these scales."""
    return proximal_step(v, Isotonic(**parameters), 1.0, step_scales=scales)[0]


def exact_mean(values: list[Fraction], sizes: list[Fraction]) -> Fraction:
    """The mean weighted by one over the step sizes; the plain one of those whose step size is 0."""
    fixed = [value for value, size in zip(values, sizes, strict=True) if size == 0]
    if fixed:
        return sum(fixed, Fraction(0)) / len(fixed)
    total = sum((1 / size for size in sizes), Fraction(0))
    return sum((value / size for value, size in zip(values, sizes, strict=True)), Fraction(0)) / total


def exact_fit(v: Array, sizes: Array) -> list[Fraction]:
    """The weighted fit by its formula, the largest over all starts of the smallest mean over all ends."""
    values, given_sizes = ([Fraction(float(each)) for each in array] for array in (v, sizes))
    means = {
        (a, b): exact_mean(values[a : b + 1], given_sizes[a : b + 1])
        for a in range(v.size)
        for b in range(a, v.size)
    }
    return [max(min(means[a, b] for b in range(i, v.size)) for a in range(i + 1)) for i in range(v.size)]


def assert_is_the_fit(v: Array, sizes: Array) -> None:
    """Assert that the step is in order, and off by no more than four roundings of the largest element."""
    y = step(v, sizes)
    assert (np.diff(y) >= 0).all()
    slack = Fraction(4 * EPS) * Fraction(float(np.abs(v).max())) + Fraction(5e-324)
    for got, want in zip(y.tolist(), exact_fit(v, sizes), strict=True):
        assert abs(Fraction(got) - want) <= slack


def awkward_lines() -> dict[str, tuple[Array, Array]]:
    """Elements and step sizes of one line each."""
    random = np.random.default_rng(1)
    made: dict[str, tuple[Array, Array]] = {}
    for at, spread in enumerate((0, 1, 8, 150, 307)):
        made[f"spread-{spread}"] = random.normal(size=14), 10.0 ** random.uniform(-spread, spread, 14)
        made[f"falls-{at}"] = -np.arange(14.0), 10.0 ** random.uniform(-spread, spread, 14)
    made["wide-elements"] = random.normal(size=14) * 10.0 ** random.uniform(-200, 200, 14), random.random(14)
    made["subnormal-sizes"] = -np.arange(6.0), np.array([3, 1, 4, 1, 5, 9]) * 5e-324
    made["huge-sizes"] = -np.arange(6.0), np.array([1.0, 1.7, 0.1, 1.5, 0.3, 1.0]) * 1e308
    made["both"] = -np.arange(6.0), np.array([5e-324, 1e308, 1.0, 1e308, 7e307, 5e-324])
    made["huge-elements"] = np.array([1.7e308, -1.7e308, 1e308, 1e307]), np.array([1.0, 2.0, 3.0, 0.5])
    made["subnormal-elements"] = np.array([9.0, 3.0, 8.0, 1.0]) * 5e-324, np.array([1.0, 2.0, 3.0, 0.5])
    made["ties"] = (
        np.array([1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 1.0]),
        np.array([1.0, 3.0, 1.0, 3.0, 7.0, 1.0, 2.0]),
    )
    made["one-stays"] = np.array([3.0, 2.0, 1.0, 0.5, 4.0]), np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    made["two-stay"] = np.array([3.0, 2.0, 1.0, 0.5, 0.7, 4.0]), np.array([1.0, 0.0, 2.0, 0.0, 1.0, 5e-324])
    made["all-stay"] = np.array([3.0, 2.0, 2.5, 1.0]), np.zeros(4)
    return made


@for_each("kind", awkward_lines())
def test_the_step_is_the_exact_fit(kind: str) -> None:
    """Against rational numbers, for elements and step sizes of all magnitudes."""
    assert_is_the_fit(*awkward_lines()[kind])


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.sampled_from([0.0, 0.25, 1.0, 1 / 3, 1e-30, 1e30])),
        min_size=1,
        max_size=9,
    )
)
def test_ties_and_elements_that_stay_have_the_exact_fit(pairs: list[tuple[int, float]]) -> None:
    """Likewise for small lines of few values."""
    assert_is_the_fit(*(np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True)))


@pytest.mark.parametrize("decreasing", [False, True])
@for_each("axis", [0, 1, 2])
def test_lines_are_scipy_s_weighted_fits(axis: int, *, decreasing: bool) -> None:
    """Along any axis, each by itself; the input stays as it was."""
    random = np.random.default_rng(2)
    v, scales = random.normal(size=(20, 30, 25)), 10.0 ** random.uniform(-3, 3, (20, 30, 25))
    before = v.copy(), scales.copy()
    y = step(v, scales, decreasing=decreasing, axis=axis)
    assert (v.tobytes(), scales.tobytes()) == (before[0].tobytes(), before[1].tobytes())
    rows = [np.moveaxis(each, axis, -1).reshape(-1, v.shape[axis]) for each in (v, scales, y)]
    for line, sizes, got in zip(*rows, strict=True):
        expected = isotonic_regression(line, weights=1 / sizes, increasing=not decreasing).x
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


def test_a_long_line_is_scipy_s_weighted_fit() -> None:
    """Of noise, and of one that falls and becomes one pool."""
    random = np.random.default_rng(3)
    scales = 10.0 ** random.uniform(-4, 4, 50_000)
    for v in (random.normal(size=50_000), np.linspace(1.0, -2.0, 50_000)):
        expected = isotonic_regression(v, weights=1 / scales).x
        np.testing.assert_allclose(step(v, scales), expected, rtol=0, atol=1e-12)


@for_each("scale", [0.0, 5e-324, 1 / 3, 1.0, 1e300])
def test_equal_scales_have_the_bits_of_none(scale: float) -> None:
    """Line by line: other scales of other lines change nothing."""
    random = np.random.default_rng(4)
    v = np.round(random.normal(size=(40, 60)), 2)
    scales = random.random(v.shape) + 0.1
    scales[::2] = scale
    for decreasing in (False, True):
        plain = proximal_step(v, Isotonic(decreasing=decreasing), 1.0)[0]
        weighted = step(v, scales, decreasing=decreasing)
        assert weighted[::2].tobytes() == plain[::2].tobytes()
        assert (weighted[1::2] != plain[1::2]).any()


def test_means_that_differ_by_rounding_alone_are_in_order() -> None:
    """Of elements that are a few units in the last place apart."""
    random = np.random.default_rng(15)
    y = step(1.0 + random.integers(-3, 4, (500, 9)) * EPS, random.random((500, 9)))
    assert (np.diff(y, axis=1) >= 0).all()
    assert (np.abs(y - 1.0) <= 3 * EPS).all()


def test_the_mean_of_a_long_pool_is_exact_to_rounding() -> None:
    """Elements and weights are added with what each addition rounds off."""
    random = np.random.default_rng(16)
    v, scales = -np.sort(random.normal(size=30_000)), random.random(30_000) + 0.5
    v[-1] = -40.0 * v.size
    weights = scales.min() / scales
    expected = math.fsum((weights * v).tolist()) / math.fsum(weights.tolist())
    np.testing.assert_allclose(step(v, scales), expected, rtol=4 * EPS)


def test_only_ratios_of_scales_matter() -> None:
    """A power of two times all of them changes no bit."""
    random = np.random.default_rng(5)
    v, scales = random.normal(size=500), random.random(500) + 0.01
    expected = step(v, scales).tobytes()
    for power in (-1000, -1, 1, 1000):
        assert step(v, np.ldexp(scales, power)).tobytes() == expected


def test_elements_with_scale_zero_stay_where_they_are_in_order() -> None:
    """And all others follow them: a line between fixed points is in the bounds that these are."""
    random = np.random.default_rng(6)
    v, scales = random.normal(size=400) * 3, random.random(400)
    fixed = np.arange(10, 400, 20)
    v[fixed], scales[fixed] = np.sort(random.normal(size=fixed.size)), 0.0
    y = step(v, scales)
    np.testing.assert_allclose(y[fixed], v[fixed], rtol=4 * EPS)
    assert (np.diff(y) >= 0).all()
    assert np.count_nonzero(y != v) > 300


def test_a_line_in_order_stays() -> None:
    """To the bit, whatever the scales."""
    random = np.random.default_rng(7)
    v, scales = np.sort(random.normal(size=300)), random.random(300)
    assert step(v, scales).tobytes() == v.tobytes()


@pytest.mark.parametrize("shape", [(2000,), (40, 50), (2000, 1)], ids=str)
@pytest.mark.parametrize("stretch", [1, 7, 500])
def test_weighted_pools_have_the_same_bits_wherever_their_loop_stops(
    shape: tuple[int, ...], stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of noise, and of rows that fall and become one pool; in place, too."""
    random = np.random.default_rng(8)
    scales = 10.0 ** random.uniform(-3, 3, shape)
    rows = (random.normal(size=shape), -np.sort(random.normal(size=shape), axis=-1))
    at_once = [step(v, scales).tobytes() for v in rows]
    monkeypatch.setattr(compilation, "STRETCH", stretch)
    for v, expected in zip(rows, at_once, strict=True):
        assert step(v, scales).tobytes() == expected
        pool_rows(same := v.reshape(-1).copy(), shape[-1], same, scales.reshape(-1))
        assert same.tobytes() == expected


@pytest.mark.skipif(not compilation._installed, reason="needs the extra: compiled")
@pytest.mark.parametrize("shape", [(5000,), (100, 50)], ids=str)
def test_weighted_pools_have_the_same_bits_compiled_or_not(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of step sizes of all magnitudes, and of 0."""
    random = np.random.default_rng(9)
    v, scales = random.normal(size=shape), 10.0 ** random.uniform(-300, 300, shape)
    scales[random.random(shape) < 0.01] = 0.0
    step(v, scales)
    compilation.wait_until_compiled()
    by_loop = step(v, scales)
    monkeypatch.setattr(compilation, "SHORTEST_SEQUENCE", 1 << 62)
    assert by_loop.tobytes() == step(v, scales).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.int16, np.int32])
@for_each("mode", list(RoundingMode))
def test_what_is_rounded_is_in_order(dtype: Any, mode: RoundingMode) -> None:
    """In every data type, at random, too; and to nearest it is the float64 fit, rounded once."""
    random = np.random.default_rng(10)
    v = elements_of(random.normal(size=(50, 8)), np.dtype(dtype))
    scales = elements_of(random.random((50, 8)) * 3, v.dtype)
    rounding = Rounding(mode, 3 if mode is RoundingMode.STOCHASTIC else None)
    new, summary = proximal_step(v, Isotonic(axis=0), 0.7, step_scales=scales, rounding=rounding)
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    assert (np.diff(new.astype(np.float64), axis=0) >= 0).all()
    if v.dtype.kind != "i" and mode is RoundingMode.NEAREST_EVEN:
        exact = step(v.astype(np.float64), 0.7 * scales.astype(np.float64), axis=0)
        np.testing.assert_array_equal(new, exact.astype(dtype))


def test_around_a_reference_what_is_left_is_fitted() -> None:
    """The step with a reference r is r plus that of v - r."""
    random = np.random.default_rng(14)
    v, r = random.normal(size=(2, 200))
    scales = random.random(200)
    got = proximal_step(v, Isotonic(), 1.0, step_scales=scales, reference=r)[0]
    np.testing.assert_allclose(got, r + step(v - r, scales), rtol=0, atol=1e-15)


def test_the_forward_step_is_scaled_too() -> None:
    """With loss gradients the line that is fitted is v = x - step_size * scales * g."""
    random = np.random.default_rng(11)
    x, g = random.normal(size=(2, 300))
    scales = 2.0 ** random.integers(-3, 4, 300)
    got = proximal_step(x, Isotonic(), 0.25, step_scales=scales, loss_gradients=g)[0]
    assert got.tobytes() == step(x - 0.25 * scales * g, scales).tobytes()


def test_smoothed_the_step_is_a_part_of_the_longer_one() -> None:
    """X + s / (s + γ) · (q − x), with q the step of sizes s + γ; and it minimizes penalty and distance."""
    random = np.random.default_rng(12)
    v, s = random.normal(size=60), 10.0 ** random.uniform(-1, 1, 60)
    layout = Layout(np.dtype(np.float64), (Segment("w", (60,), Isotonic(), smoothing=0.5),))
    operands = {"parameters": v, "step_scales": s}
    y = stream(a_call(Method.PROXIMAL_STEP, layout, step_size=1.0), operands, [1, 20]).values
    np.testing.assert_allclose(y, v + s / (s + 0.5) * (step(v, s + 0.5) - v), rtol=0, atol=1e-14)

    def cost(z: Array) -> float:
        near = isotonic_regression(z).x
        return math.fsum(((z - near) ** 2 + (z - v) ** 2 / (2 * s)).tolist())

    least = cost(y)
    for size in (1e-4, 1e-2, 1.0):
        assert all(cost(y + size * random.normal(size=60)) > least for _ in range(20))


def test_what_is_no_step_size_is_refused_or_spoils_the_segment() -> None:
    """A scale below 0, and NaN; one that is infinite, on request, has no weight."""
    v, scales = np.array([3.0, 2.0, 1.0, 5.0]), np.array([1.0, 1.0, 1.0, -1.0])
    with pytest.raises(OperandOutOfRange):
        step(v, scales)
    scales[3] = np.nan
    with pytest.raises(ValueNotFinite):
        step(v, scales)
    got = proximal_step(v, Isotonic(), 1.0, step_scales=scales, propagate_non_finite=True)[0]
    assert np.isnan(got).all()
    scales[1:] = 1.0, np.inf, np.inf
    got = proximal_step(v, Isotonic(), 1.0, step_scales=scales, propagate_non_finite=True)[0]
    assert got.tolist() == [2.5, 2.5, 2.5, 5.0]
    below, out = np.array([1.0, -1.0, 1.0, 1.0]), np.empty(4)
    Isotonic().on((4,)).prox(v, below, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_the_scratch_of_weighted_pools_is_what_is_said(axis: int) -> None:
    """No more is allocated than the workspace and what scaling takes, in which are the step sizes."""
    v = np.random.default_rng(13).normal(size=(300, 200))
    v[0, 0] = 1e300
    ready, out, sizes = Isotonic(axis=axis).on(v.shape), np.empty(v.shape), np.ones(v.shape)
    ready.prox(v, sizes, out)
    compilation.wait_until_compiled()
    tracemalloc.start()
    ready.prox(v, sizes, out)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most + sizes.nbytes <= 8 * (ready.workspace(v.size) + Isotonic.scaling * v.size) + (1 << 16)
