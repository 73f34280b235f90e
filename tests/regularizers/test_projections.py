"""Projections and sorted penalties beside exact arithmetic, sorting references and each other."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import (
    Isotonic,
    L1Ball,
    L1Norm,
    L2Ball,
    Oscar,
    Simplex,
    Slope,
    TopK,
    compilation,
    gradient,
    penalty,
    proximal_step,
)
from regularization_kernels.engine import Layout, Method, Segment
from regularization_kernels.errors import GradientUndefined
from regularization_kernels.reductions import thresholds
from regularization_kernels.regularizers.vectors.pooling import pool_rows
from scipy.optimize import isotonic_regression

from tests.engine.test_memory import CHUNK, Watched, run_through
from tests.support.engine_streams import PLENTY

Vector = NDArray[np.float64]
LONG = 5 * thresholds.SAMPLE + 77
"""Elements from which on a sample is taken first."""
SETS = (L1Ball(radius=2.5), L2Ball(radius=2.5), Simplex(radius=2.5), Isotonic())
every_set = pytest.mark.parametrize("regularizer", SETS, ids=lambda r: r.name)
every_ball = pytest.mark.parametrize("kind", [L1Ball, L2Ball, Simplex], ids=lambda kind: kind.name)
EPSILON = float(np.finfo(np.float64).eps)


def step(regularizer: Any, x: Any, step_size: float = 1.0) -> Vector:
    """The kernel's proximal step in float64."""
    given_x = np.asarray(x, np.float64)
    out = np.empty_like(given_x)
    regularizer.on(given_x.shape).prox(given_x, step_size, out)
    return out


def value(regularizer: Any, x: NDArray[Any]) -> float:
    """The engine's penalty, in the array's data type."""
    found = penalty(x, regularizer).total.penalty
    assert found is not None
    return found.value


def exact_simplex(x: list[float], radius: float) -> list[Fraction]:
    """The nearest point of the simplex in rational arithmetic."""
    descending = sorted(map(Fraction, x), reverse=True)
    mass, threshold = Fraction(0), Fraction(0)
    for count, number in enumerate(descending, 1):
        mass += number
        if number > (mass - Fraction(radius)) / count:
            threshold = (mass - Fraction(radius)) / count
    return [max(Fraction(number) - threshold, Fraction(0)) for number in x]


def by_sorting(x: Vector, radius: float) -> Vector:
    """The nearest point of the simplex as textbooks have it: sort everything, find the threshold."""
    descending = np.sort(x)[::-1]
    thresholds = (np.cumsum(descending) - radius) / np.arange(1, x.size + 1)
    return np.maximum(x - thresholds[np.flatnonzero(descending > thresholds)[-1]], 0.0)


@settings(max_examples=200)
@given(
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=40),
    st.sampled_from([1e-300, 1e-9, 1.0, 1e9, 1e200]),
    st.sampled_from([1e-12, 1e-3, 1.0, 7.7, 1e6]),
    st.sampled_from([0.0, 1.0, 1e7]),
)
def test_thresholds_are_those_of_rational_arithmetic(
    numbers: list[int], scale: float, radius: float, offset: float
) -> None:
    """Each element is within some rounding errors of the radius, whatever the ratio of elements to radius."""
    x = (np.array(numbers) / 7 + offset) * scale
    radius *= scale
    allowed = Fraction(8 * EPSILON * radius + 1e-322)
    got = step(Simplex(radius=radius), x)
    exact = exact_simplex(x.tolist(), radius)
    assert max(abs(Fraction(g) - e) for g, e in zip(got, exact, strict=True)) <= allowed
    if np.abs(x).sum() > radius * (1 + 1e-9):
        got = np.abs(step(L1Ball(radius=radius), x))
        exact = exact_simplex(np.abs(x).tolist(), radius)
        assert max(abs(Fraction(g) - e) for g, e in zip(got, exact, strict=True)) <= allowed


def test_the_simplex_is_met_at_a_scale_of_a_billion_in_float32() -> None:
    """Elements of 1e9, whose float32 neighbours are 64 apart, still add up to 1."""
    x = np.array([1e9, 1e9, 1e9 - 64, -1e9, 3.0], np.float32)
    out, summary = proximal_step(x, Simplex(radius=1.0), 1.0)
    np.testing.assert_array_equal(out, [0.5, 0.5, 0.0, 0.0, 0.0])
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    out, _ = proximal_step(x, L1Ball(radius=1.0), 1.0)
    np.testing.assert_allclose(out, [1 / 3, 1 / 3, 0.0, -1 / 3, 0.0], rtol=1e-7)


@every_set
@settings(max_examples=60)
@given(st.data())
def test_projections_are_idempotent_and_nonexpansive(regularizer: Any, data: st.DataObject) -> None:
    """A second projection changes no bit, and no two points are farther apart than before."""
    sizes = st.sampled_from([1e-9, 1.0, 1e9])
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    count = data.draw(st.integers(1, 50))
    u, v = (np.round(random.normal(size=count), 1) * data.draw(sizes) for _ in range(2))
    p, q = step(regularizer, u), step(regularizer, v)
    assert regularizer.value(p) == 0.0
    assert step(regularizer, p).tobytes() == p.tobytes()
    assert np.linalg.norm(p - q) <= np.linalg.norm(u - v) * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [3, 1000, LONG])
@pytest.mark.parametrize("regularizer", [*SETS, L1Ball(radius=0.3), TopK(count=2)], ids=lambda r: r.name)
def test_rounded_points_are_inside_to_the_bit(regularizer: Any, size: int, dtype: type[Any]) -> None:
    """What the engine gives, rounded, has penalty 0 and gradient 0, and stays; equal elements too."""
    random = np.random.default_rng(size)
    for x in (
        random.normal(size=size),
        random.normal(size=size) * 1000,
        np.full(size, 0.3),
        np.arange(size)[::-1] / 8.0,
    ):
        out, summary = proximal_step(x.astype(dtype), regularizer, 1.0)
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == value(regularizer, out) == 0.0
        assert not gradient(out, regularizer)[0].any()
        assert proximal_step(out, regularizer, 1.0)[0].tobytes() == out.tobytes()


@pytest.mark.parametrize("share", [1e-5, 0.01, 0.3, 0.99])
@pytest.mark.parametrize("shape", ["normal", "heavy", "equal", "misleading", "spike", "geometric"])
def test_long_vectors_agree_with_a_full_sort(shape: str, share: float) -> None:
    """Also where the sample that the threshold is guessed from has none, or all, of what counts."""
    random = np.random.default_rng(7)
    x = random.normal(size=LONG)
    at_sample = slice(None, None, LONG // thresholds.SAMPLE)
    if shape == "heavy":
        x = random.standard_cauchy(size=LONG)
    elif shape == "equal":
        x = np.full(LONG, 0.7)
    elif shape == "misleading":
        x[at_sample] *= 100.0
    elif shape == "spike":
        x[1:] *= 1e-9
    elif shape == "geometric":
        x = 0.9 ** (np.arange(LONG) % 6000)
    radius = share * float(np.abs(x).sum())
    largest = float(np.abs(x).max())
    np.testing.assert_allclose(
        step(Simplex(radius=radius), x), by_sorting(x, radius), rtol=0, atol=1e-10 * largest
    )
    expected = np.copysign(by_sorting(np.abs(x), radius), x)
    np.testing.assert_allclose(step(L1Ball(radius=radius), x), expected, rtol=0, atol=1e-10 * largest)


def test_many_steps_end_in_a_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vector that Newton's method is slow on has the same answer."""
    x = np.random.default_rng(3).normal(size=500)
    expected = step(Simplex(radius=3.0), x)
    monkeypatch.setattr(thresholds, "_STEPS", 1)
    np.testing.assert_allclose(step(Simplex(radius=3.0), x), expected, rtol=0, atol=1e-15)


@every_ball
def test_the_ends_of_the_range_are_projected(kind: Any) -> None:
    """Elements and radii whose sums or squares overflow or vanish."""
    for size, radius in (
        (1e308, 1.0),
        (1e308, 1e308),
        (1.0, 1e308),
        (1e-310, 1e-312),
        (1.0, 5e-324),
        (5e-324, 1.0),
    ):
        regularizer = kind(radius=radius)
        x = np.array([1.0, -0.5, 0.75, 1.0]) * size
        p = step(regularizer, x)
        assert np.isfinite(p).all()
        assert regularizer.value(p) == 0.0
        np.testing.assert_array_equal(step(regularizer, p), p)
    np.testing.assert_array_equal(step(kind(radius=0.0), [1.0, -2.0]), np.zeros(2))


def test_a_set_of_one_point_has_room_for_that_alone() -> None:
    """An empty segment adds up to 0, and to nothing else."""
    assert step(Simplex(radius=0.0), np.empty(0)).size == 0
    assert Simplex(radius=0.0).on((0,)).value(np.empty(0)) == 0.0


@pytest.mark.parametrize("size", [12, LONG])
def test_sums_are_rounded_once(size: int) -> None:
    """Of equal elements too, where NumPy's own may be several units off."""
    random = np.random.default_rng(size)
    for x in (
        np.full(size, 0.1),
        random.normal(size=size),
        random.normal(size=size) * 10.0 ** random.integers(-9, 9, size),
    ):
        assert thresholds.total(x) == pytest.approx(math.fsum(x.tolist()), rel=EPSILON)
        assert thresholds.total(x, np.abs) == pytest.approx(math.fsum(np.abs(x).tolist()), rel=EPSILON)


def largest(x: Vector, count: int) -> Vector:
    """The largest magnitudes, by a stable sort."""
    kept = np.zeros_like(x)
    order = np.argsort(-np.abs(x), kind="stable")[:count]
    kept[order] = x[order]
    return kept


@settings(max_examples=100)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_of_equal_magnitudes_the_first_stay(numbers: list[int], data: st.DataObject) -> None:
    """Whatever their signs."""
    count = data.draw(st.integers(0, len(numbers)))
    x = np.array(numbers, np.float64)
    np.testing.assert_array_equal(step(TopK(count=count), x), largest(x, count))


@pytest.mark.parametrize("count", [1, 100, LONG // 2, LONG - 1, LONG])
@pytest.mark.parametrize("shape", ["normal", "ties", "misleading", "sparse"])
def test_the_largest_of_a_long_vector_are_those_of_a_sort(shape: str, count: int) -> None:
    """Also where ties are spread over blocks, and where a sample misleads."""
    random = np.random.default_rng(11)
    x = random.normal(size=LONG)
    if shape == "ties":
        x = np.round(x, 1)
    elif shape == "misleading":
        x[:: LONG // thresholds.SAMPLE] *= 100.0
    elif shape == "sparse":
        x[random.random(LONG) < 0.9] = 0.0
    np.testing.assert_array_equal(step(TopK(count=count), x), largest(x, count))


@pytest.mark.parametrize("regularizer", [*SETS, TopK(count=1), TopK(count=0)], ids=lambda r: r.name)
def test_what_is_not_finite_makes_nan_of_everything(regularizer: Any) -> None:
    """NaN always, an infinity outside the set."""
    for x in ([1.0, math.nan, 0.0], [math.inf, 2.0, -1.0], [3.0, -math.inf, math.inf]):
        assert np.isnan(step(regularizer, x)).all()


def test_an_infinity_may_be_inside() -> None:
    """Where the set has room for it, it stays."""
    assert step(TopK(count=1), [0.0, math.inf]).tolist() == [0.0, math.inf]
    assert step(Isotonic(), [-math.inf, 0.0, math.inf]).tolist() == [-math.inf, 0.0, math.inf]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_least_descent_is_outside(dtype: type[Any]) -> None:
    """By one unit in the last place, in every data type; equal elements are inside."""
    one, below = dtype(1.0), np.nextafter(dtype(1.0), dtype(0.0))
    assert value(Isotonic(), np.array([below, below, one, one])) == 0.0
    assert value(Isotonic(), np.array([below, one, below])) == math.inf


@pytest.mark.parametrize(
    ("regularizer", "x", "element"),
    [
        (Simplex(radius=1.0), [[2.0, 1.0], [-0.5, -1.5]], 2),
        (Isotonic(), [[0.0, 1.0, 1.0], [2.0, 3.0, 1.0]], 5),
        (L1Ball(radius=1.0), [0.0, 3.0], 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_points_outside_have_no_gradient_and_say_why(regularizer: Any, x: Any, element: int) -> None:
    """By the first element that breaks the rule, where it is one element's."""
    with pytest.raises(GradientUndefined, match="to have a gradient, got ") as caught:
        gradient(np.array(x), regularizer)
    assert caught.value.element == element


def test_slope_with_equal_strengths_is_l1() -> None:
    """On penalty, gradient and steps, ties and zeros included."""
    random = np.random.default_rng(5)
    for x in (random.normal(size=40), np.round(random.normal(size=40)), random.normal(size=(5, 8))):
        slope, l1 = Slope(strengths=(0.3,) * 40), L1Norm(strength=0.3)
        assert value(slope, x) == pytest.approx(value(l1, x), rel=1e-14)
        np.testing.assert_allclose(gradient(x, slope)[0], gradient(x, l1)[0], rtol=1e-15)
        for step_size in (0.0, 0.5, 3.0):
            expected = proximal_step(x, l1, step_size)[0]
            np.testing.assert_allclose(step(slope, x, step_size), expected, rtol=0, atol=1e-15)


def test_oscar_is_slope_with_those_strengths_and_a_sum_over_pairs() -> None:
    """l1 Σ|x| + pairwise Σ max(|xᵢ|, |xⱼ|) over pairs, and the same steps to the bit."""
    x = np.random.default_rng(6).normal(size=9)
    oscar = Slope(oscar=Oscar(l1_strength=0.25, pairwise_strength=0.125))
    slope = Slope(strengths=tuple(0.25 + 0.125 * (9 - i) for i in range(1, 10)))
    pairs = sum(max(abs(x[i]), abs(x[j])) for i in range(9) for j in range(i))
    assert value(oscar, x) == pytest.approx(0.25 * np.abs(x).sum() + 0.125 * pairs, rel=1e-14)
    assert value(oscar, x) == value(slope, x)
    np.testing.assert_array_equal(gradient(x, oscar)[0], gradient(x, slope)[0])
    np.testing.assert_array_equal(step(oscar, x, 0.7), step(slope, x, 0.7))


def test_slope_without_strength_changes_nothing() -> None:
    """Huge to subnormal, no bit but the sign of a zero."""
    random = np.random.default_rng(8)
    free = Slope(oscar=Oscar(l1_strength=0.0, pairwise_strength=0.0))
    for size in (1e30, 1.0, 1e-30, 5e-324):
        x = random.normal(size=20) * size
        np.testing.assert_array_equal(step(free, x, 0.6), x)
        assert value(free, x) == 0.0


@settings(max_examples=100)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.sampled_from([1e-300, 1.0, 1e307]))
def test_isotonic_rows_are_scipy_s(numbers: list[int], scale: float) -> None:
    """Nondecreasing to the bit, as near as SciPy's, each row by itself; at the end of the range too."""
    x = np.array(numbers) / 3
    expected = isotonic_regression(x).x
    got = step(Isotonic(), np.stack([x * scale, -x[::-1] * scale]))
    assert (np.diff(got, axis=1) >= 0).all()
    np.testing.assert_allclose(
        got, np.stack([expected, -expected[::-1]]) * scale, rtol=1e-14, atol=1e-15 * scale
    )


@pytest.mark.skipif(not compilation._installed, reason="needs the extra: compiled")
@pytest.mark.parametrize("shape", [(5000,), (100, 50), (2500, 2), (5000, 1)])
def test_pools_have_the_same_bits_compiled_or_not(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one long row and of many short ones, and SLOPE's."""
    x = np.random.default_rng(9).normal(size=shape)
    slope = Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=1e-4))
    by_loop = step(Isotonic(), x), step(slope, x)
    monkeypatch.setattr(compilation, "SHORTEST_SEQUENCE", 1 << 62)
    for one, other in zip(by_loop, (step(Isotonic(), x), step(slope, x)), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("shape", [(2000,), (40, 50), (2000, 1)], ids=str)
@pytest.mark.parametrize("stretch", [1, 7, 500])
def test_pools_have_the_same_bits_wherever_their_loop_stops(
    shape: tuple[int, ...], stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of noise, of rows that rise, and of rows that fall and become one pool; in place, too."""
    noise = np.random.default_rng(9).normal(size=shape)
    rows = (noise, np.sort(noise, axis=-1), -np.sort(-noise, axis=-1))
    at_once = [step(Isotonic(), x).tobytes() for x in rows]
    monkeypatch.setattr(compilation, "STRETCH", stretch)
    for x, expected in zip(rows, at_once, strict=True):
        assert step(Isotonic(), x).tobytes() == expected
        pool_rows(same := x.reshape(-1).copy(), shape[-1], same)
        assert same.tobytes() == expected


@pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)
@pytest.mark.parametrize(
    "regularizer",
    [
        L1Ball(radius=1e6),
        L1Ball(radius=100.0),
        L2Ball(radius=1e6),
        Simplex(radius=0.01 * 32 * CHUNK),
        TopK(count=32 * CHUNK),
        Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=0.0)),
        Isotonic(),
    ],
    ids=lambda r: r.name,
)
def test_what_a_whole_segment_takes_is_accounted_for(method: Method, regularizer: Any) -> None:
    """What the process allocates, it has taken from the budget."""
    if method is Method.GRADIENT and regularizer == L1Ball(radius=100.0):
        return
    budget = Watched(PLENTY)
    layout = Layout(np.dtype(np.float64), (Segment("w", (32 * CHUNK,), regularizer),))
    most = run_through(method, layout, budget)
    assert budget.used == 0
    assert most <= budget.most + 12 * CHUNK * 8
