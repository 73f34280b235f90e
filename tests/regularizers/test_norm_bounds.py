"""Norms of groups bounded from below: what has no direction gets one, and sizes differ by many orders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import Groups, MaxNorm, MinMaxNorm, UnitNorm, penalty, proximal_step
from regularization_kernels.engine import Rounding, RoundingMode
from regularization_kernels.errors import GradientUndefined
from regularization_kernels.formats import BFLOAT16

Array = NDArray[np.float64]


def step(x: Any, regularizer: Any, **options: Any) -> NDArray[Any]:
    """The projection."""
    return proximal_step(np.asarray(x), regularizer, 1.0, **options)[0]


def value(x: NDArray[Any], regularizer: Any) -> float:
    """The penalty."""
    found = penalty(x, regularizer).total.penalty
    assert found is not None
    return found.value


def test_a_zero_group_gets_the_norm_in_its_first_element() -> None:
    """Wherever that is; signs of zeros do not matter, and a weight of 0 leaves the group."""
    zeros = np.array([[0.0, -0.0, 0.0], [-0.0, 0.0, -0.0]])
    weighted = Groups(axis=1, weights=(2.0, 0.0, 0.5))
    assert step(zeros, UnitNorm(groups=Groups(axis=0))).tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert step(zeros, UnitNorm(groups=weighted)).tolist() == [[2.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    bounded = MinMaxNorm(lower=0.25, upper=3.0, groups=Groups(size=3))
    assert step(zeros, bounded).tolist() == [[0.25, 0.0, 0.0], [0.25, 0.0, 0.0]]
    assert step(zeros, MinMaxNorm(lower=0.0, upper=3.0, groups=Groups(size=3))).tolist() == zeros.tolist()


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1e-20, 1e20, 1e200, 1.7e308])
@pytest.mark.parametrize("count", [1, 3, 7, 300, 5000])
def test_norms_neither_overflow_nor_vanish(size: float, count: int) -> None:
    """A group of any size, even one whose norm no double can hold, keeps its direction."""
    x = np.where(np.arange(count) % 3 == 1, -size, size)
    expected = np.where(x < 0, -1.0, 1.0) / math.sqrt(count)
    for regularizer in (UnitNorm(groups=Groups(size=count)), MinMaxNorm(1.0, 1.0, Groups(axis=0))):
        shape = (1, count) if regularizer.groups.axis == 0 else (count,)
        once = step(x.reshape(shape), regularizer)
        np.testing.assert_allclose(once.ravel(), expected, rtol=1e-15)
        assert value(once, regularizer) == 0.0
        assert step(once, regularizer).tobytes() == once.tobytes()


@pytest.mark.parametrize("target", [1e-320, 1e-300, 1e-8, 1e8, 1e300])
def test_bounds_of_all_sizes_are_reached(target: float) -> None:
    """From groups of all sizes; of a norm among the smallest numbers each element may be off by one."""
    random = np.random.default_rng(1)
    x = random.normal(size=(40, 9)) * 10.0 ** random.integers(-300, 300, (40, 1))
    regularizer = MinMaxNorm(lower=target, upper=target, groups=Groups(axis=0))
    once = step(x, regularizer)
    assert value(once, regularizer) == 0.0
    largest = np.abs(x).max(axis=1, keepdims=True)
    directions = x / largest / np.linalg.norm(x / largest, axis=1, keepdims=True)
    np.testing.assert_allclose(once, directions * target, rtol=1e-14, atol=1e-323)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 129, 1000, 14_000])
def test_what_a_step_gives_counts_as_inside(dtype: Any, size: int) -> None:
    """By the bits, also where it is rounded at random, and however many elements a group has."""
    x = np.random.default_rng(size).normal(size=14_000).astype(dtype)
    regularizer = UnitNorm(
        groups=Groups(sizes=(size,) * (14_000 // size) + (14_000 % size or 1,) * (14_000 % size > 0))
    )
    for rounding in (Rounding(), Rounding(RoundingMode.STOCHASTIC, 3)):
        once = step(x, regularizer, rounding=rounding)
        assert value(once, regularizer) == 0.0
        assert step(once, regularizer).tobytes() == once.tobytes()


def test_without_a_lower_bound_it_is_the_max_norm() -> None:
    """To within rounding, and what is inside stays to the bit."""
    x = np.random.default_rng(2).normal(size=(50, 12)) * np.linspace(0.0, 2.0, 50)[:, np.newaxis]
    ours = step(x, MinMaxNorm(lower=0.0, upper=2.0, groups=Groups(axis=0)))
    np.testing.assert_allclose(ours, step(x, MaxNorm(radius=2.0, groups=Groups(axis=0))), rtol=1e-15)
    inside = np.linalg.norm(x, axis=1) < 2.0
    assert 0 < np.count_nonzero(inside) < 50
    np.testing.assert_array_equal(ours[inside], x[inside])


def test_a_gradient_outside_names_the_first_element_of_the_group() -> None:
    """And the norms that it may have, and has."""
    x = np.array([0.6, 0.8, 3.0, 4.0])
    with pytest.raises(
        GradientUndefined, match=r"norm from 1.0 to 1.0 to have a gradient, got 5.0"
    ) as caught:
        UnitNorm(groups=Groups(size=2)).on((4,)).gradient(x, np.empty(4))
    assert caught.value.element == 2


def test_a_norm_that_fixed_point_cannot_hold_is_not_reached() -> None:
    """Elements saturate, and the penalty says so."""
    x = np.array([100, 0, 0], np.int8)
    regularizer = MinMaxNorm(lower=1.5, upper=2.0, groups=Groups(size=3))
    out = step(x, regularizer)
    assert out.tolist() == [127, 0, 0]
    assert value(out, regularizer) == math.inf
