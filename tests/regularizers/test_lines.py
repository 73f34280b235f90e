"""Lines along any axis are rows: each by itself, to the bit, wherever its elements lie."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import FusedLasso, Isotonic, TotalVariation, gradient, penalty, proximal_step
from regularization_kernels.engine import Rounding, RoundingMode
from regularization_kernels.errors import GradientUndefined
from scipy.optimize import isotonic_regression

from tests.support.engine_streams import elements_of

ROWS = (
    TotalVariation(strength=0.3),
    FusedLasso(l1_strength=0.1, tv_strength=0.3),
    Isotonic(),
    Isotonic(decreasing=True),
)
SHAPES = ((4, 6), (2, 3, 5), (5, 1, 4), (1, 7), (7, 1), (2, 2, 2, 3))
TYPES = [np.float64, np.float32, ml_dtypes.bfloat16, np.int16]

every_row = pytest.mark.parametrize("regularizer", ROWS, ids=repr)
every_type = pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)


def drawn(shape: tuple[int, ...], dtype: Any = np.float64, seed: int = 0) -> NDArray[Any]:
    """Random elements, rounded so that some are equal."""
    numbers = np.random.default_rng(seed).normal(size=shape) * 0.3
    return elements_of(np.round(numbers, 1), np.dtype(dtype))


def along(regularizer: Any) -> list[tuple[Any, tuple[int, ...], int]]:
    """The regularizer along each axis of each shape."""
    return [
        (dataclasses.replace(regularizer, axis=axis), shape, axis)
        for shape in SHAPES
        for axis in range(len(shape))
    ]


def last(x: NDArray[Any], axis: int) -> NDArray[Any]:
    """The axis moved to the end, where rows are along it by default."""
    return np.ascontiguousarray(np.moveaxis(x, axis, -1))


def plain(regularizer: Any) -> Any:
    """The regularizer along the last axis."""
    return dataclasses.replace(regularizer, axis=None)


@every_row
@every_type
def test_a_step_is_that_of_rows(regularizer: Any, dtype: Any) -> None:
    """With figures, and around a reference too."""
    for row, shape, axis in along(regularizer):
        x, reference = drawn(shape, dtype), drawn(shape, dtype, 1)
        for operands in ({}, {"reference": reference}):
            new, summary = proximal_step(x, row, 0.6, **operands)
            moved = {name: last(each, axis) for name, each in operands.items()}
            expected, of_rows = proximal_step(last(x, axis), plain(row), 0.6, **moved)
            assert last(new, axis).tobytes() == expected.tobytes()
            assert summary.total.nonzeros == of_rows.total.nonzeros
            assert (summary.total.penalty is None) == (of_rows.total.penalty is None)


@every_row
def test_penalty_and_gradient_are_those_of_rows(regularizer: Any) -> None:
    """The penalty to what another order of additions leaves; a refused gradient names the right element."""
    for row, shape, axis in along(regularizer):
        for x in (drawn(shape), proximal_step(drawn(shape), row, 0.6)[0]):
            got, expected = (
                penalty(each, each_row).total.penalty
                for each, each_row in ((x, row), (last(x, axis), plain(row)))
            )
            assert got is not None
            assert expected is not None
            assert got.value == pytest.approx(expected.value, rel=1e-14)
            refused, of_rows = refusal(x, row), refusal(last(x, axis), plain(row))
            if of_rows is None:
                slope, _ = gradient(last(x, axis), plain(row))
                assert last(gradient(x, row)[0], axis).tobytes() == slope.tobytes()
                continue
            places = last(np.arange(x.size).reshape(shape), axis).ravel()
            assert refused is not None
            assert of_rows.element is not None
            assert refused.element == places[of_rows.element]


def refusal(x: NDArray[Any], regularizer: Any) -> GradientUndefined | None:
    """Why there is no gradient, if there is none."""
    try:
        gradient(x, regularizer)
    except GradientUndefined as error:
        return error
    return None


@every_row
def test_input_stays_and_the_result_may_lie_over_it(regularizer: Any) -> None:
    """Also where lines lie one after the other though their axis is not the last."""
    for row, shape, _ in along(regularizer):
        x = drawn(shape)
        before, out = x.copy(), np.empty_like(x)
        ready = row.on(shape)
        ready.prox(x, 0.6, out)
        np.testing.assert_array_equal(x, before)
        ready.prox(x, 0.6, x)
        np.testing.assert_array_equal(x, out)


@every_row
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0, 2)], ids=str)
def test_segments_without_elements_have_an_answer(regularizer: Any, shape: tuple[int, ...]) -> None:
    """Whichever of their lengths is 0, along whichever axis."""
    for axis in range(len(shape)):
        row = dataclasses.replace(regularizer, axis=axis)
        new, summary = proximal_step(np.empty(shape), row, 1.0)
        assert new.shape == shape
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0


@pytest.mark.parametrize("decreasing", [False, True])
def test_isotonic_columns_are_scipy_s(decreasing: bool) -> None:
    """Each column by itself, rising or falling."""
    x = np.random.default_rng(4).normal(size=(30, 5))
    new, _ = proximal_step(x, Isotonic(decreasing=decreasing, axis=0), 1.0)
    for column, expected in zip(new.T, x.T, strict=True):
        found = isotonic_regression(expected, increasing=not decreasing).x
        np.testing.assert_allclose(column, found, rtol=0, atol=1e-14)


@pytest.mark.parametrize("decreasing", [False, True])
def test_a_falling_line_is_the_opposite_of_a_rising_one(decreasing: bool) -> None:
    """To the bit, but for the sign of zeros, which is positive."""
    x = np.round(np.random.default_rng(5).normal(size=(3, 400)), 1)
    new = proximal_step(x, Isotonic(decreasing=decreasing), 1.0)[0]
    opposite = proximal_step(-x, Isotonic(decreasing=not decreasing), 1.0)[0]
    np.testing.assert_array_equal(new, -opposite)
    assert not np.any((new == 0) & np.signbit(new) & ~((x == 0) & np.signbit(x)))


@every_type
def test_random_rounding_does_not_break_an_order_along_another_axis(dtype: Any) -> None:
    """What it would put out of order is rounded to nearest."""
    x = drawn((40, 3), dtype, 6)
    for decreasing in (False, True):
        row = Isotonic(decreasing=decreasing, axis=0)
        gradients = elements_of(np.random.default_rng(7).normal(size=x.shape) * 0.1, x.dtype)
        rounding = Rounding(RoundingMode.STOCHASTIC, 3)
        new, summary = proximal_step(x, row, 1e-3, loss_gradients=gradients, rounding=rounding)
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0
        steps = np.diff(new.astype(np.float64), axis=0)
        assert np.all(steps <= 0) if decreasing else np.all(steps >= 0)
