"""Total variation whose differences have weights, alone and with the L1 norm: the exact step and slope."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from regularization_kernels import FusedLasso, TotalVariation, compilation, penalty, proximal_step
from regularization_kernels.regularizers.sequences import base as lines_module
from regularization_kernels.regularizers.sequences import taut_string, weighted_string

from tests.support.lines import (
    ROW_KINDS,
    WEIGHTINGS,
    Array,
    alike,
    far_apart,
    random_walk,
    slope,
    step,
    white_noise,
    with_cuts,
)

NEVER, ALWAYS = -1, 1 << 40
"""How many elements the first of two methods may look at again."""
SIZE = 1500


def random(seed: int) -> np.random.Generator:
    """Numbers that are the same each time."""
    return np.random.default_rng(seed)


every_kind = pytest.mark.parametrize("kind", ROW_KINDS, ids=lambda kind: kind.__name__)
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda kind: kind.__name__)


def by_method(x: Array, widths: Array, spare: int) -> Array:
    """The step, by the first method until it has looked again at so many elements."""
    widths, out = widths.copy(), np.empty_like(x)
    widths[:, -1] = 0.0
    weighted_string._pull(x, widths, out, spare)
    return out


def minimizer(x: list[Fraction], limits: list[Fraction]) -> list[Fraction]:
    """The exact argmin_y Σ limits_i·|y_{i+1} − y_i| + ½‖y − x‖², by all signs of jumps until some fit."""
    for signs in itertools.product((0, 1, -1), repeat=len(x) - 1):
        edges = [0, *(at + 1 for at, sign in enumerate(signs) if sign), len(x)]
        heights = {0: Fraction(0), len(x): Fraction(0)}
        heights |= {at + 1: -sign * limits[at] for at, sign in enumerate(signs) if sign}
        y: list[Fraction] = []
        fits = True
        for begin, end in itertools.pairwise(edges):
            level = (sum(x[begin:end]) - heights[end] + heights[begin]) / (end - begin)
            inside = itertools.accumulate((e - level for e in x[begin : end - 1]), initial=heights[begin])
            fits &= all(abs(z) <= w for z, w in zip(list(inside)[1:], limits[begin : end - 1], strict=True))
            y += [level] * (end - begin)
        if fits and all((y[at + 1] - y[at]) * sign >= 0 for at, sign in enumerate(signs)):
            return y
    raise AssertionError("there is always one")


def short_rows() -> Iterator[tuple[Array, Array]]:
    """Rows of up to five elements with weights: with ties among both, weights of 0 and very large ones."""
    numbers = random(8)
    for index in range(240):
        size = int(numbers.integers(1, 6))
        x = numbers.normal(size=size) * 2
        weights = numbers.exponential(size=size) * numbers.choice([0.1, 1.0, 3.0])
        if index % 2:
            weights = np.where(numbers.random(size) < 0.3, 0.0, weights)
        if index % 3 == 0:
            x, weights = np.round(x), np.round(weights * 4) / 4
        if index % 5 == 0:
            weights[numbers.integers(size)] = 1e12
        yield x, weights


def test_short_rows_have_the_exact_minimizer() -> None:
    """Found in fractions among all signs, by either method and the engine, soft-thresholded or not."""
    tv, fused = TotalVariation(strength=0.5), FusedLasso(l1_strength=0.25, tv_strength=0.5)
    for x, weights in short_rows():
        limits = [Fraction(w) for w in weights.tolist()]
        y = minimizer([Fraction(e) for e in x.tolist()], limits)
        exact = np.array([float(e) for e in y])
        for spare in (NEVER, 0, ALWAYS):
            got = by_method(x[np.newaxis], weights[np.newaxis], spare)[0]
            np.testing.assert_allclose(got, exact, rtol=0, atol=4e-15)
        np.testing.assert_allclose(proximal_step(x, tv, 2.0, weights=weights)[0], exact, rtol=0, atol=4e-15)
        sparse = np.sign(exact) * np.maximum(np.abs(exact) - 0.5, 0.0)
        np.testing.assert_allclose(
            proximal_step(x, fused, 2.0, weights=weights)[0], sparse, rtol=0, atol=4e-15
        )


def exactly(numbers: Array) -> list[int]:
    """Numbers in units of 2^-300."""
    return [int(math.ldexp(number, 300)) for number in numbers.tolist()]


def assert_certificate(v: Array, p: Array, widths: Array) -> None:
    """Assert in integers that the running sum of v − p is ∓width at jumps, 0 at the end, never beyond ±width.

    Sums of plain doubles decide where the string bends: they may be off by a rounding of what they add up to.
    """
    sums = list(itertools.accumulate(a - b for a, b in zip(exactly(v), exactly(p), strict=True)))
    limits = exactly(np.append(np.minimum(widths[:-1], 1e30), 0.0))
    reach = float(np.ptp(v)) * v.size
    slack = exactly(np.array([1e-15 * max(reach, float(np.abs(v).max()) * v.size)]))[0]
    signs = [*np.sign(np.diff(p)).astype(int).tolist(), 0]
    for total, limit, sign in zip(sums, limits, signs, strict=True):
        assert abs(total) <= limit + slack
        assert not sign or abs(total + sign * limit) <= slack
    assert abs(sums[-1]) <= slack


@every_kind
@every_weighting
def test_each_method_satisfies_the_certificate(
    kind: Callable[[int], Array], weighting: Callable[[int], Array]
) -> None:
    """Either method alone, and one after the other in a row, fulfils the conditions of optimality."""
    v, widths = kind(SIZE), weighting(SIZE)
    for spare in (NEVER, 0, 500, ALWAYS):
        p = by_method(v[np.newaxis], widths[np.newaxis], spare)[0]
        assert_certificate(v, p, widths)


@every_kind
def test_equal_weights_have_the_bits_of_one_threshold(kind: Callable[[int], Array]) -> None:
    """By either method, wherever the second takes over; also beside a row whose weights differ."""
    v = kind(SIZE)
    for threshold in (1e-3, 0.7, 30.0, 1e4, 1e9):
        widths = np.stack([np.full(SIZE, threshold), alike(SIZE)])
        for spare in (NEVER, 100, ALWAYS):
            taut_string._pull(v[np.newaxis], threshold, plain := np.empty((1, SIZE)), spare)
            got = by_method(np.stack([v, v]), widths, spare)[0]
            assert got.tobytes() == plain.tobytes()


REGULARIZERS = (TotalVariation(strength=0.7), FusedLasso(l1_strength=0.1, tv_strength=0.7))
every_regularizer = pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: r.name)


@every_regularizer
@every_kind
def test_weights_of_one_change_no_bit(regularizer: Any, kind: Callable[[int], Array]) -> None:
    """Of step, slope and penalty; and weights of 2 are twice the strength."""
    x, ones = np.round(kind(SIZE), 1), np.ones(SIZE)
    x[3] = -0.0
    twice = replace(regularizer, **{"strength" if regularizer.scaled else "tv_strength": 1.4})
    for other, weights in ((regularizer, ones), (twice, 2 * ones)):
        p = step(other, x, None)
        assert step(regularizer, x, weights).tobytes() == p.tobytes()
        for at in (x, p):
            assert slope(regularizer, at, weights).tobytes() == slope(other, at, None).tobytes()
    assert penalty(x, regularizer, weights=ones) == penalty(x, regularizer)


@every_regularizer
def test_a_weight_of_zero_cuts_the_line(regularizer: Any) -> None:
    """Step and slope have the bits of the parts by themselves, also where one is 10^20 times the other."""
    x = random(9).normal(size=60)
    x[20:40] *= 1e20
    x[45:50] = x[45]
    for weights in (far_apart(60), np.full(60, 0.5), np.ones(60) * 1e15):
        weights[[19, 39]] = 0.0
        parts = [slice(0, 20), slice(20, 40), slice(40, 60)]
        for compute in (step, slope):
            apart = np.concatenate([compute(regularizer, x[part], weights[part]) for part in parts])
            assert compute(regularizer, x, weights).tobytes() == apart.tobytes()
    np.testing.assert_array_equal(step(TotalVariation(strength=0.7), x, np.zeros(60)), x)


@every_regularizer
@pytest.mark.parametrize("shape", [(6, 40, 5), (0, 3), (3, 0), (4, 1), (1,), ()], ids=str)
def test_lines_along_any_axis_are_independent(
    regularizer: Any, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step, slope and penalty are those of each line with its weights; the last weight is ignored."""
    x, weights = np.round(random(10).normal(size=shape), 1), random(11).exponential(size=shape)
    for axis in range(len(shape)) or (None,):
        along = replace(regularizer, axis=axis)
        other = weights.copy()
        lines, own, last = (
            a.reshape(1, 1) if axis is None else np.moveaxis(a, axis, -1) for a in (x, weights, other)
        )
        last[..., -1:] = 1e300
        for at_once in (1 << 20, 80, 1):
            monkeypatch.setattr(lines_module, "_AT_ONCE", at_once)
            for compute in (step, slope):
                got = compute(along, x, weights)
                assert compute(along, x, other).tobytes() == got.tobytes()
                found = got.reshape(1, 1) if axis is None else np.moveaxis(got, axis, -1)
                for index in np.ndindex(lines.shape[:-1]):
                    line = np.ascontiguousarray(lines[index])
                    alone = compute(regularizer, line, np.ascontiguousarray(own[index]))
                    assert np.ascontiguousarray(found[index]).tobytes() == alone.tobytes()
        total = penalty(x, along, weights=other).total.penalty
        assert total is not None
        jumps = float(np.sum(own[..., :-1] * np.abs(np.diff(lines)))) * 0.7
        norm = 0.0 if regularizer.scaled else 0.1 * float(np.abs(x).sum())
        assert total.value == pytest.approx(jumps + norm, rel=1e-13)


def extreme_subgradients(regularizer: Any, x: Array, weights: Array) -> Iterator[Array]:
    """The corners of the subdifferential: all signs of differences and elements that are 0."""
    tv = regularizer.strength if regularizer.scaled else regularizer.tv_strength
    l1 = 0.0 if regularizer.scaled else regularizer.l1_strength

    def signs(numbers: Array, free: bool) -> Iterator[tuple[float, ...]]:
        return itertools.product(*([np.sign(n)] if n or not free else [-1.0, 1.0] for n in numbers.tolist()))

    for of_jumps in signs(np.diff(x), True):
        pull = np.append(tv * weights[:-1] * np.array(of_jumps), 0.0)
        for of_elements in signs(x, l1 > 0):
            yield np.append(0.0, pull[:-1]) - pull + l1 * np.array(of_elements)


@every_regularizer
def test_the_slope_is_the_shortest_subgradient(regularizer: Any) -> None:
    """No corner of the subdifferential is nearer to 0 along it, and no point is below its plane."""
    numbers = random(12)
    for index in range(120):
        size = int(numbers.integers(1, 6))
        x = np.round(numbers.normal(size=size) * (0.4 if index % 2 else 1.0))
        weights = numbers.exponential(size=size) * np.where(numbers.random(size) < 0.2, 0.0, 1.0)
        g = slope(regularizer, x, weights)
        square = float(g @ g)
        for corner in extreme_subgradients(regularizer, x, weights):
            assert float(g @ corner) >= square - 1e-14
        value = penalty(x, regularizer, weights=weights).total.penalty
        for y in (x - 1e-3 * g, x + numbers.normal(size=size), np.zeros(size)):
            there = penalty(y, regularizer, weights=weights).total.penalty
            assert value is not None
            assert there is not None
            assert there.value >= value.value + float(g @ (y - x)) - 1e-14


def test_a_run_passes_on_no_more_than_its_weights() -> None:
    """Where an even share of the jumps would need more, the run's slope breaks at the weak difference."""
    x, weights = np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.1, 5.0, 1.0, 0.0])
    got = slope(TotalVariation(strength=1.0), x, weights)
    np.testing.assert_allclose(got, [-0.1, -0.45, -0.45, 1.0], rtol=1e-15)


@every_kind
def test_compiled_loops_have_the_bits_of_plain_python(
    kind: Callable[[int], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the loops, and wherever they stop and go on, every bit of step and slope is the same."""
    x = np.ascontiguousarray(kind(1200).reshape(2, 600))

    def bits() -> list[bytes]:
        found = []
        for weighting in (with_cuts, far_apart):
            weights = weighting(1200).reshape(2, 600)
            p = by_method(x, weights, 50)
            found += [p.tobytes(), slope(REGULARIZERS[1], p, weights).tobytes()]
        return found

    bits()
    compilation.wait_until_compiled()
    got = bits()
    monkeypatch.setattr(compilation, "SHORTEST_SEQUENCE", 1 << 62)
    assert bits() == got
    for stretch in (1, 7, 500):
        monkeypatch.setattr(compilation, "STRETCH", stretch)
        assert bits() == got


@every_regularizer
@every_weighting
def test_steps_come_no_further_apart(regularizer: Any, weighting: Callable[[int], Array]) -> None:
    """The step is nonexpansive; twice the line with twice the step size has twice the step, to the bit."""
    x, y, weights = random_walk(300), white_noise(300), weighting(300)
    p, q = step(regularizer, x, weights), step(regularizer, y, weights)
    assert np.linalg.norm(p - q) <= np.linalg.norm(x - y) * (1 + 1e-14)
    assert step(regularizer, 2 * x, weights, step_size=2.0).tobytes() == (2 * p).tobytes()


@np.errstate(over="ignore")
def test_a_very_large_weight_takes_no_digits_of_its_neighbours() -> None:
    """Elements that are tied by any weight, up to an infinite product, have one and the same step."""
    x = white_noise(40)
    for tv in (TotalVariation(strength=0.7), TotalVariation(strength=1e300)):
        results = []
        for tie in (1e6, 1e18, 1e100, 1e300, 1.7e308):
            weights = np.full(40, 0.3 / tv.strength)
            weights[[3, 4, 20, 38]] = tie
            results.append(step(tv, x, weights).tobytes())
        assert len(set(results)) == 1
    np.testing.assert_allclose(step(tv, x, np.full(40, 1e300)), x.mean(), rtol=1e-14)
    assert not np.isnan(slope(tv, np.round(x), np.full(40, 1e300))).any()


@pytest.mark.parametrize("size", [1e-300, 1e150, 1e290, 1.7e308])
@np.errstate(over="ignore", under="ignore")
def test_numbers_near_the_ends_of_the_range_do_not_overflow(size: float) -> None:
    """The step scales with the row; a difference that overflows costs nothing where the line is cut."""
    v, weights = np.clip(white_noise(50), -1.0, 1.0), np.minimum(alike(50) * 0.02, 1.0)
    got = step(TotalVariation(strength=0.3), v * size, weights, step_size=size)
    np.testing.assert_allclose(got / size, step(TotalVariation(strength=0.3), v, weights), rtol=0, atol=1e-11)
    ends = np.array([1.7e308, -1.7e308, 0.0])
    total = penalty(ends, TotalVariation(strength=0.5), weights=np.array([0.0, 1.0, 1.0])).total.penalty
    assert total is not None
    assert total.value == 0.5 * 1.7e308
