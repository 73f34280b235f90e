"""Penalties of differences: certificates on long rows, and two ways to the same answer."""

from __future__ import annotations

import contextlib
import itertools
import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    FusedLasso,
    Isotonic,
    L1Norm,
    Oscar,
    Slope,
    TotalVariation,
    TrendFilter,
    compilation,
    proximal_step,
)
from regularization_kernels import gradient as whole_gradient
from regularization_kernels.errors import GradientUndefined
from regularization_kernels.regularizers.sequences import base as lines_module
from regularization_kernels.regularizers.sequences import taut_string
from regularization_kernels.regularizers.sequences.differences import shortest_slope
from regularization_kernels.regularizers.sequences.trend import TOLERANCE
from regularization_kernels.regularizers.vectors import slope as slope_module

from tests.support.lines import ROW_KINDS, random_walk, slope, step, steps_and_ties, white_noise
from tests.support.oracles.sequences import differences as difference_matrix

Array = NDArray[np.float64]
LONG = 1 << 17
NEVER, ALWAYS = -1, 1 << 40
"""How many elements the first of two methods may look at again."""


every_kind = pytest.mark.parametrize("kind", ROW_KINDS, ids=lambda kind: kind.__name__)


def by_method(x: Array, threshold: float, spare: int) -> Array:
    """The step of total variation, by the first method until it has looked again at so many elements."""
    out = np.empty((1, x.size))
    taut_string._pull(x[np.newaxis], threshold, out, spare)
    return out[0]


def exactly(number: float) -> int:
    """A number of at least 1e-50 or so in magnitude, or 0, in units of 2^-300."""
    return int(math.ldexp(number, 300))


def assert_certificate(v: Array, p: Array, threshold: float) -> None:
    """Assert that the running sum of v − p is ∓threshold at jumps, 0 at the end and never beyond ±threshold.

    Each run may be off by what rounding its level to float64 makes of it, and no other run's.
    """
    edges = [0, *(np.flatnonzero(np.diff(p)) + 1).tolist(), p.size]
    sides = [0.0, *(-np.sign(np.diff(p))[np.diff(p) != 0]).tolist(), 0.0]
    for (begin, end), (before, after) in zip(
        itertools.pairwise(edges), itertools.pairwise(sides), strict=True
    ):
        level = exactly(float(p[begin]))
        off = (exactly(e) - level for e in v[begin:end].tolist())
        sums = list(itertools.accumulate(off, initial=exactly(before * threshold)))
        slack = 3 * (end - begin) * exactly(float(np.spacing(np.abs(p[begin])))) + exactly(1e-15 * threshold)
        wall = exactly(threshold) + slack
        assert -wall <= min(sums)
        assert max(sums) <= wall
        assert abs(sums[-1] - exactly(after * threshold)) <= slack


@every_kind
@pytest.mark.parametrize("threshold", [1e-3, 0.7, 30.0, 1e4, 1e9])
@pytest.mark.parametrize("spare", [NEVER, 0, ALWAYS], ids=["chains", "both", "slopes"])
def test_each_method_gives_the_taut_string(
    kind: Callable[[int], Array], threshold: float, spare: int
) -> None:
    """Either method alone, and one after the other in the same row, satisfies the certificate."""
    v = kind(2000)
    p = by_method(v, threshold, spare)
    assert_certificate(v, p, threshold)
    scale = float(np.max(np.abs(v)))
    np.testing.assert_allclose(p, by_method(v, threshold, ALWAYS), rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("strength", [1.0, 50.0, 1e5])
def test_a_long_walk_satisfies_the_certificate(strength: float) -> None:
    """No digits are lost along 2^17 elements, few jumps or many."""
    v = random_walk(LONG)
    assert_certificate(v, step(TotalVariation(strength=strength), v), strength)


def test_a_walk_is_looked_at_too_often() -> None:
    """With a large threshold the first method gives up near the start, and the second goes on there."""
    rows = random_walk(LONG)[np.newaxis]
    knots = taut_string._pull(rows, 1000.0, np.empty_like(rows))
    assert 0 <= knots[0, 0] < LONG / 10


def bits_of_steps_and_slopes(x: Array) -> list[bytes]:
    """Of some thresholds, with either method for a part of the rows."""
    bits = []
    for threshold in (0.3, 40.0):
        taut_string._pull(x, threshold, p := np.empty_like(x), 100)
        shortest_slope(p, 0.1, 0.7, slope := np.empty_like(x))
        bits += [p.tobytes(), slope.tobytes()]
    return bits


@every_kind
def test_compiled_loops_have_the_bits_of_plain_python(
    kind: Callable[[int], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever runs the loop, every bit of step and slope is the same."""
    x = np.ascontiguousarray(kind(3000).reshape(2, 1500))
    got = bits_of_steps_and_slopes(x)
    monkeypatch.setattr(compilation, "SHORTEST_SEQUENCE", 1 << 62)
    assert bits_of_steps_and_slopes(x) == got


@every_kind
@pytest.mark.parametrize("shape", [(1, 2000), (40, 50), (2000, 1)], ids=str)
@pytest.mark.parametrize("stretch", [1, 7, 500])
def test_bits_do_not_depend_on_where_loops_stop(
    kind: Callable[[int], Array], shape: tuple[int, int], stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that stops, and goes on where it was, writes the same bits as one that does not."""
    x = np.ascontiguousarray(kind(2000).reshape(shape))
    at_once = bits_of_steps_and_slopes(x)
    monkeypatch.setattr(compilation, "STRETCH", stretch)
    assert bits_of_steps_and_slopes(x) == at_once


@pytest.mark.parametrize("size", [1, 7, 3000])
def test_fused_lasso_has_total_variation_and_l1_for_its_ends(size: int) -> None:
    """Without one strength it is total variation, without the other the L1 norm, to the bit."""
    x = np.round(random_walk(size), 1)
    for step_size in (0.01, 2.0):
        jumps, plain = FusedLasso(l1_strength=0.0, tv_strength=0.7), TotalVariation(strength=0.7)
        np.testing.assert_array_equal(
            step(jumps, x, step_size=step_size), step(plain, x, step_size=step_size)
        )
        np.testing.assert_array_equal(slope(jumps, x), slope(plain, x))
        sparse, norm = FusedLasso(l1_strength=0.7, tv_strength=0.0), L1Norm(strength=0.7)
        np.testing.assert_array_equal(
            step(sparse, x, step_size=step_size), step(norm, x, step_size=step_size)
        )
        np.testing.assert_array_equal(slope(sparse, x), slope(norm, x))


@every_kind
def test_trend_filter_of_order_0_is_total_variation(kind: Callable[[int], Array]) -> None:
    """Penalty, slope and step are the same to the bit."""
    x = kind(1200)
    trend, plain = TrendFilter(strength=0.7, order=0), TotalVariation(strength=0.7)
    assert trend.value(x) == plain.value(x)
    np.testing.assert_array_equal(step(trend, x), step(plain, x))
    np.testing.assert_array_equal(slope(trend, x), slope(plain, x))


@pytest.mark.parametrize(
    "regularizer",
    [
        TotalVariation(strength=0.7),
        FusedLasso(l1_strength=0.1, tv_strength=0.7),
        TrendFilter(strength=0.7, order=2),
    ],
    ids=lambda regularizer: regularizer.name,
)
def test_rows_are_independent(regularizer: Any) -> None:
    """The step and the slope of a matrix are those of its rows, to the bit."""
    x = np.round(random_walk(600), 1).reshape(5, 120) * 10.0 ** np.arange(-2, 3)[:, np.newaxis]
    for compute in (step, slope):
        apart = np.stack([compute(regularizer, row) for row in x])
        np.testing.assert_array_equal(compute(regularizer, x), apart)
        np.testing.assert_array_equal(compute(regularizer, x.reshape(5, 1, 120)).reshape(5, 120), apart)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("kind", [white_noise, random_walk, steps_and_ties], ids=lambda kind: kind.__name__)
def test_the_duality_gap_is_as_small_as_stated(
    kind: Callable[[int], Array], strength: float, order: int
) -> None:
    """The objective exceeds the dual's, at the best dual for what was taken off, by 1e-12 of it at most.

    What rounding the step's elements adds to the penalty comes on top.
    """
    v = kind(60)
    p = step(TrendFilter(strength=strength, order=order), v)
    matrix = difference_matrix(order + 1, v.size)
    u = np.clip(np.linalg.lstsq(matrix.T, v - p, rcond=None)[0], -strength, strength)
    penalty = strength * float(np.sum(np.abs(matrix @ p)))
    objective = penalty + 0.5 * float(np.sum((v - p) ** 2))
    dual = float(v @ (matrix.T @ u)) - 0.5 * float(np.sum((matrix.T @ u) ** 2))
    rounding = strength * 2.0 ** (order + 1) * float(np.sum(np.spacing(np.abs(p))))
    assert objective - dual <= 10 * TOLERANCE * objective + rounding


@pytest.mark.parametrize("order", range(6))
def test_a_heavy_trend_filter_leaves_one_polynomial(order: int) -> None:
    """With a strength beyond all differences, each row becomes the nearest polynomial."""
    v = random_walk(2000)
    p = step(TrendFilter(strength=1e300, order=order), v)
    at = np.linspace(-1.0, 1.0, v.size)
    fit = np.polynomial.Polynomial.fit(at, v, order)(at)
    np.testing.assert_allclose(p, fit, rtol=0, atol=1e-11 * float(np.max(np.abs(v))))


@pytest.mark.parametrize("order", range(6))
def test_rows_no_longer_than_the_order_stay(order: int) -> None:
    """They have no differences: no penalty, no slope, no step."""
    x = white_noise(order + 1)
    trend = TrendFilter(strength=3.0, order=order)
    assert trend.value(x) == 0.0
    np.testing.assert_array_equal(step(trend, x), x)
    np.testing.assert_array_equal(slope(trend, x), np.zeros(order + 1))


def test_differences_that_are_rounding_errors_count_as_none() -> None:
    """A straight line of float32 numbers has no slope to a trend filter of order 1; a kinked one has."""
    line = (np.float32(0.1) * np.arange(1000, dtype=np.float32)).astype(np.float32)
    trend = TrendFilter(strength=2.0, order=1)
    np.testing.assert_array_equal(whole_gradient(line, trend)[0], np.zeros_like(line))
    line[500:] = line[500]
    assert np.count_nonzero(whole_gradient(line, trend)[0]) > 0


@pytest.mark.parametrize("size", [1e150, 1e290, 1.7e308])
def test_numbers_near_the_largest_do_not_overflow(size: float) -> None:
    """The step scales with the row, up to the largest float64."""
    v = np.clip(white_noise(50), -1.0, 1.0)
    for regularizer in (TotalVariation(strength=0.3), TrendFilter(strength=0.3, order=1)):
        heavy = replace(regularizer, strength=0.3 * size)
        np.testing.assert_allclose(step(heavy, v * size) / size, step(regularizer, v), rtol=0, atol=1e-11)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 2500, 4999])
def test_what_is_not_finite_fills_a_long_row(bad: float, at: int) -> None:
    """Nothing loops for ever, and nothing passes for an answer."""
    v = random_walk(5000)
    v[at] = bad
    for regularizer in (TotalVariation(strength=3.0), TrendFilter(strength=3.0, order=1)):
        assert np.isnan(step(regularizer, v)).all()
        assert np.isnan(slope(regularizer, v)).all()


def test_float32_rows_are_rounded_once() -> None:
    """The step of float32 elements is the float64 step, rounded."""
    v = random_walk(4000).astype(np.float32)
    got = proximal_step(v, TotalVariation(strength=2.0), 0.5)[0]
    np.testing.assert_array_equal(
        got, step(TotalVariation(strength=2.0), v.astype(np.float64), step_size=0.5).astype(np.float32)
    )


@pytest.mark.parametrize("shape", [(1 << 13,), (8, 1 << 9), (1 << 9, 8)], ids=str)
@pytest.mark.parametrize(
    "regularizer",
    [
        TotalVariation(strength=300.0),
        TotalVariation(strength=300.0, axis=0),
        FusedLasso(l1_strength=0.1, tv_strength=300.0),
        FusedLasso(l1_strength=0.1, tv_strength=300.0, axis=0),
        Isotonic(),
        Isotonic(decreasing=True, axis=0),
        Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=1e-6)),
        TrendFilter(strength=0.7, order=0),
        TrendFilter(strength=0.7, order=1),
        TrendFilter(strength=0.7, order=5),
    ],
    ids=str,
)
def test_workspace_is_what_is_allocated(regularizer: Any, shape: tuple[int, ...]) -> None:
    """Penalty, slope and step allocate no more than they say."""
    x = random_walk(math.prod(shape)).reshape(shape)
    ready, out = regularizer.on(shape), np.empty(shape)

    def gradient(x: Array) -> None:
        with contextlib.suppress(GradientUndefined):
            ready.gradient(x, out)

    for compute in (ready.value, gradient, lambda x: ready.prox(x, 1.0, out)):
        compute(x)  # what is imported or compiled stays
        compilation.wait_until_compiled()
        tracemalloc.start()
        compute(x)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most <= 8 * ready.workspace(x.size) + (1 << 16)


@pytest.mark.parametrize("shape", [(10**7,), (10**4, 10**3)], ids=str)
@pytest.mark.parametrize(
    "regularizer",
    [
        TotalVariation(strength=1.0),
        TotalVariation(strength=1.0, axis=0),
        FusedLasso(l1_strength=0.1, tv_strength=1.0),
        FusedLasso(l1_strength=0.1, tv_strength=1.0, axis=0),
        Isotonic(),
        Isotonic(axis=0),
        Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=1e-6)),
    ],
    ids=str,
)
def test_long_segments_need_three_numbers_an_element(regularizer: Any, shape: tuple[int, ...]) -> None:
    """Beside what comes in and what goes out, whichever method is called."""
    elements = math.prod(shape)
    assert regularizer.on(shape).workspace(elements) <= 3.03 * elements


def test_ties_beyond_a_stretch_share_their_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slope and step are those of all elements at once, however few of them it has at hand."""
    random = np.random.default_rng(8)
    sorted_strengths = tuple(sorted(random.random(300).tolist(), reverse=True))
    for regularizer in (Slope(strengths=sorted_strengths), Slope(oscar=Oscar(0.1, 0.01))):
        for x in (random.integers(-3, 4, 300).astype(np.float64), random.normal(size=300)):
            results = []
            for stretch in (1 << 16, 64, 7, 1):
                monkeypatch.setattr(slope_module, "_STRETCH", stretch)
                results.append((step(regularizer, x).tobytes(), slope(regularizer, x).tobytes()))
            assert len(set(results)) == 1


def test_lines_that_lie_apart_are_computed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bits of all at once."""
    x = np.cumsum(white_noise(6 * 40 * 5).reshape(6, 40, 5), axis=1)
    for regularizer in (TotalVariation(strength=0.7, axis=1), FusedLasso(0.1, 0.7, axis=1)):
        results = []
        for at_once in (1 << 20, 80, 1):
            monkeypatch.setattr(lines_module, "_AT_ONCE", at_once)
            results.append((step(regularizer, x).tobytes(), slope(regularizer, x).tobytes()))
        assert len(set(results)) == 1
