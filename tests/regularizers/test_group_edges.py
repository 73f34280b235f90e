"""Group steps where sizes differ by many orders: nothing overflows, cancels or moves twice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    ExclusiveLasso,
    GroupLinf,
    Groups,
    LinfNorm,
    MaxNorm,
    NOfM,
    SparseGroupLasso,
    TopKGroups,
    compilation,
    penalty,
    proximal_step,
)
from regularization_kernels.formats import BFLOAT16

Array = NDArray[np.float64]

RAGGED = tuple(int(size) for size in np.random.default_rng(3).integers(1, 40, 60))
ELEMENTS = sum(RAGGED)
EDGES = np.cumsum((0, *RAGGED))


def wild(seed: int = 0) -> Array:
    """Elements from 1e-30 to 1e30, with ties and zeros."""
    random = np.random.default_rng(seed)
    x = random.normal(size=ELEMENTS) * 10.0 ** random.integers(-30, 30, ELEMENTS)
    x[::7], x[3::11] = 0.0, 0.25
    return x


def ceiling_by_sorting(x: Array, radius: float) -> float:
    """The level above which magnitudes add up to the radius."""
    magnitudes = np.sort(np.abs(x))[::-1]
    depths = (radius + np.cumsum(magnitudes[0] - magnitudes)) / np.arange(1, x.size + 1)
    return max(0.0, float(magnitudes[0] - depths[(magnitudes[0] - magnitudes) < depths][-1]))


def threshold_by_sorting(x: Array, strength: float) -> float:
    """What half a squared sum takes off the magnitudes."""
    magnitudes = np.sort(np.abs(x))[::-1]
    counts = np.arange(1, x.size + 1)
    thresholds = strength * np.cumsum(magnitudes) / (1 + counts * strength)
    above = magnitudes > thresholds
    return float(thresholds[above][-1]) if above.any() else 0.0


@pytest.mark.parametrize("radius", [1e-20, 0.3, 1e12])
def test_ragged_peaks_are_those_of_each_group_sorted(radius: float) -> None:
    """Many groups of many sizes at once give what each gives by itself."""
    x = wild()
    regularizer = GroupLinf(strength=radius, groups=Groups(sizes=RAGGED)).on((ELEMENTS,))
    out = np.empty_like(x)
    regularizer.prox(x, 1.0, out)
    for begin, end in pairwise(EDGES):
        ceiling = ceiling_by_sorting(x[begin:end], radius)
        np.testing.assert_allclose(out[begin:end], np.clip(x[begin:end], -ceiling, ceiling), rtol=1e-13)


@pytest.mark.parametrize("strength", [1e-20, 0.3, 1e12])
def test_ragged_exclusive_thresholds_are_those_of_each_group_sorted(strength: float) -> None:
    """Likewise, to within rounding of the largest."""
    x = wild(1)
    regularizer = ExclusiveLasso(strength=strength, groups=Groups(sizes=RAGGED)).on((ELEMENTS,))
    out = np.empty_like(x)
    regularizer.prox(x, 1.0, out)
    for begin, end in pairwise(EDGES):
        group = x[begin:end]
        threshold = threshold_by_sorting(group, strength)
        expected = group - np.clip(group, -threshold, threshold)
        np.testing.assert_allclose(out[begin:end], expected, rtol=1e-12, atol=1e-14 * np.abs(group).max())


def test_a_peak_far_above_the_radius_loses_exactly_the_radius() -> None:
    """Of two peaks that are equal, each loses half of it, however large they are."""
    x = np.array([2.0**60, -3.0, -(2.0**60), 5.0])
    out = np.empty_like(x)
    LinfNorm(strength=2.0**20).prox(x, 1.0, out)
    np.testing.assert_array_equal(out, [2.0**60 - 2.0**19, -3.0, -(2.0**60) + 2.0**19, 5.0])


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e-310])
@pytest.mark.parametrize("radius", [0.0, 1e-300, 1.0, 1e250])
def test_bounded_norms_neither_overflow_nor_vanish(size: float, radius: float) -> None:
    """A group of any size lands on its bound or stays, and a second step moves no bit."""
    x = np.random.default_rng(2).normal(size=40) * size
    regularizer = MaxNorm(radius=radius, groups=Groups(size=8)).on((40,))
    once, twice = np.empty_like(x), np.empty_like(x)
    regularizer.prox(x, 1.0, once)
    regularizer.prox(once, 1.0, twice)
    np.testing.assert_array_equal(twice, once)
    assert regularizer.value(once) == 0.0
    with np.errstate(under="ignore"):
        norms = np.array([np.hypot.reduce(group) for group in x.reshape(-1, 8)])
        reached = np.array([np.hypot.reduce(group) for group in once.reshape(-1, 8)])
    np.testing.assert_allclose(reached, np.minimum(norms, radius), rtol=1e-12, atol=1e-322)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_bounded_norms_are_idempotent_in_every_data_type(dtype: object, size: int) -> None:
    """What a step rounds to its data type counts as inside, and is not moved again: by the bits."""
    x = np.random.default_rng(size).normal(size=7000).astype(dtype)
    regularizer = MaxNorm(radius=0.7, groups=Groups(size=size))
    once = proximal_step(x, regularizer, 1.0)[0]
    assert penalty(once, regularizer).total.penalty.value == 0.0
    np.testing.assert_array_equal(proximal_step(once, regularizer, 1.0)[0], once)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
@pytest.mark.parametrize("axis", [0, 1])
def test_slices_of_an_empty_segment_cost_nothing(shape: tuple[int, int], axis: int) -> None:
    """Groups without elements have neither norm nor first element."""
    groups = Groups(axis=axis)
    for regularizer in (
        GroupLinf(strength=0.3, groups=groups),
        ExclusiveLasso(strength=0.3, groups=groups),
        SparseGroupLasso(l1_strength=0.3, group_strength=0.3, groups=groups),
        MaxNorm(radius=0.3, groups=groups),
    ):
        new, figures = proximal_step(np.empty(shape), regularizer, 0.6)
        assert new.shape == shape
        assert figures.total.penalty.value == 0.0
        assert regularizer.on(shape).value(np.empty(shape)) == 0.0


def test_of_equal_magnitudes_the_first_stay() -> None:
    """Whatever their signs."""
    x = np.array([1.0, -1.0, 1.0, 1.0, 0.0, 2.0, -3.0, 2.0])
    out = np.empty_like(x)
    NOfM(n=2, m=4).prox(x, 1.0, out)
    np.testing.assert_array_equal(out, [1.0, -1.0, 0.0, 0.0, 0.0, 2.0, -3.0, 0.0])


def test_a_run_with_nan_or_outside_with_an_infinity_is_nan() -> None:
    """Other runs are not, and a run that is inside stays, infinities and all; compiled likewise."""
    runs = [
        ([np.nan, 1.0, 2.0], [np.nan] * 3),
        ([np.inf, 1.0, -np.inf], [np.nan] * 3),
        ([np.inf, 0.0, -np.inf], [np.inf, 0.0, -np.inf]),
        ([-np.inf, 0.0, 0.0], [-np.inf, 0.0, 0.0]),
        ([3.0, 1.0, 2.0], [3.0, 0.0, 2.0]),
    ]
    x, expected = (np.array([each[side] for each in runs] * 3000).ravel() for side in (0, 1))
    out = np.empty_like(x)
    NOfM(n=2, m=3).prox(x, 1.0, out)
    np.testing.assert_array_equal(out, expected)
    for _ in range(2):
        out, _ = proximal_step(x, NOfM(n=2, m=3), 1.0, propagate_non_finite=True)
        np.testing.assert_array_equal(out, expected)
        compilation.wait_until_compiled()


def test_of_equal_groups_the_first_stay() -> None:
    """A half of a group is a whole one; and if all may stay, all do."""
    x = np.array([[3.0, -4.0], [0.0, 5.0], [1.0, 1.0], [-5.0, 0.0], [4.0, 3.0]])
    for fraction, kept in ((0.5, 3), (0.4, 2), (0.1, 1), (0.0999, 0), (1.0, 5)):
        new, figures = proximal_step(x, TopKGroups(fraction=fraction, groups=Groups(axis=0)), 1.0)
        stay = [0, 1, 3, 4, 2][:kept]
        assert np.flatnonzero(new.any(axis=1)).tolist() == sorted(stay)
        np.testing.assert_array_equal(new[stay], x[stay])
        assert figures.total.penalty.value == 0.0


def test_groups_of_all_sizes_are_compared() -> None:
    """Also those whose squares are no doubles."""
    x = np.array([[1e-310, 0.0], [1e-200, 1e-200], [1e200, 1e200], [0.0, -1.7e308], [1e-310, 2e-310]])
    for count, stay in ((1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 4])):
        new, _ = proximal_step(x, TopKGroups(count=count, groups=Groups(axis=0)), 1.0)
        assert np.flatnonzero(new.any(axis=1)).tolist() == stay
