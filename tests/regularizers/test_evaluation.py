"""A formula over arrays has the bits of the formula, however it is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import buffers
from regularization_kernels.formulas import operations
from regularization_kernels.formulas.evaluation import CACHED, SHORT, evaluate
from regularization_kernels.regularizers.elements.logarithm import exp_roughly, log, log1p

from tests.support.together import for_each


def _one_operation(x: Any, y: Any, number: float) -> Any:
    return x + y


def _an_argument(x: Any, y: Any, number: float) -> Any:
    return x


def _a_number(x: Any, y: Any, number: float) -> Any:
    return number


def _a_condition(x: Any, y: Any, number: float) -> Any:
    return x < y


def _the_same_twice(x: Any, y: Any, number: float) -> Any:
    return abs(x) * abs(x) - abs(y) / (abs(x) + number)


def _a_chain(x: Any, y: Any, number: float) -> Any:
    for _ in range(5):
        x = x * number + y
    return x


def _a_tree(x: Any, y: Any, number: float) -> Any:
    return ((x + y) * (x - y)) / ((x * y) + (number - x) * (y - number))


def _something_unused(x: Any, y: Any, number: float) -> Any:
    unused = x / y
    return operations.where(number > 0.0, x, unused) * 2.0


def _a_branch(x: Any, y: Any, number: float) -> Any:
    return x * 2.0 if number == 0.0 else y - number


def _a_choice(x: Any, y: Any, number: float) -> Any:
    return operations.where(x < y, x, y)


def _choices(x: Any, y: Any, number: float) -> Any:
    near = operations.where(abs(x) <= number, 0.0, x)
    return operations.where(x != x, number, operations.where((near > y) | ~(near < 0.5), near, y * 2.0))


def _operations(x: Any, y: Any, number: float) -> Any:
    clipped = operations.clip(x, -number, number)
    least = operations.minimum(clipped, operations.maximum(y, 0.1))
    return operations.copysign(operations.sqrt(abs(least)), operations.sign(x))


def _views(x: Any, y: Any, number: float) -> Any:
    return operations.number_of(operations.bits_of(x) ^ (operations.bits_of(y) & 0xFF))


def _a_table(x: Any, y: Any, number: float) -> Any:
    return operations.look_up(x, (1.0, 2.0, number), (-0.5, 0.5)) - operations.floor(y)


def _a_choice_of_conditions(x: Any, y: Any, number: float) -> Any:
    return operations.where(operations.where(x < y, x < number, y < number), x, y)


def _logarithms(x: Any, y: Any, number: float) -> Any:
    return log(abs(x) + 1e-3) - log1p(abs(y)) * exp_roughly(operations.clip(x, -1.0, 1.0))


FORMULAS = [
    _one_operation,
    _an_argument,
    _a_number,
    _a_condition,
    _the_same_twice,
    _a_chain,
    _a_tree,
    _something_unused,
    _a_branch,
    _a_choice,
    _choices,
    _operations,
    _views,
    _a_table,
    _a_choice_of_conditions,
    _logarithms,
]
every_formula = pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.__name__[1:])
SIZES = [0, 1, SHORT, SHORT + 1, CACHED + 3]


def vectors(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two vectors of numbers of all sizes, with zeros of both signs, ties, infinities and NaN."""
    random = np.random.default_rng(size)
    x = random.normal(size=size) * 10.0 ** random.integers(-8, 8, size)
    y = random.normal(size=size)
    x[::7], x[1::7], x[2::11], y[::5] = 0.0, -0.0, np.inf, 0.0
    y[3::13], x[4::17] = np.nan, y[4::17]
    return x, y


def expected(formula: Callable[..., Any], *arguments: Any) -> NDArray[np.float64]:
    """What NumPy gives for the whole arrays."""
    with np.errstate(all="ignore"):
        return np.broadcast_to(formula(*arguments), arguments[0].shape).astype(np.float64)


def assert_same(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    """Assert that two arrays have the same bits, but for those of NaN."""
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    assert np.where(np.isnan(one), 0.0, one).tobytes() == np.where(np.isnan(other), 0.0, other).tobytes()


@every_formula
@for_each("size", SIZES)
@for_each("number", [0.3, 0.0, -0.0])
def test_it_has_the_bits_of_the_formula(formula: Callable[..., Any], size: int, number: float) -> None:
    """For short arrays and for several slices; and arguments stay as they are."""
    x, y = vectors(size)
    before = x.tobytes(), y.tobytes()
    out = np.empty(size)
    evaluate(formula, out, x, y, number)
    assert_same(out, expected(formula, x, y, number))
    assert (x.tobytes(), y.tobytes()) == before


@every_formula
@for_each("size", SIZES)
@for_each("over", [0, 1])
def test_it_may_be_written_over_an_argument(formula: Callable[..., Any], size: int, over: int) -> None:
    """Over either; what is read yet is not written before."""
    arrays = vectors(size)
    wanted = expected(formula, *arrays, 0.3)
    evaluate(formula, arrays[over], *arrays, 0.3)
    assert_same(arrays[over], wanted)


def test_zeros_of_both_signs_are_different_numbers() -> None:
    """A program that was made for one is not used for the other."""
    x, out = np.ones(SHORT + 1), np.empty(SHORT + 1)
    for zero in (0.0, -0.0, 0.0):
        evaluate(_a_number, out, x, x, zero)
        assert np.signbit(out).all() == np.signbit(zero)


def test_threads_do_not_share_buffers() -> None:
    """Each has its own while it works."""
    x, y = vectors(CACHED + 3)
    wanted = expected(_a_tree, x, y, 0.3)

    def work(_: int) -> NDArray[np.float64]:
        out = np.empty_like(x)
        evaluate(_a_tree, out, x, y, 0.3)
        return out

    with ThreadPoolExecutor(4) as threads:
        for out in threads.map(work, range(40)):
            assert_same(out, wanted)
    assert len(buffers._idle) <= buffers._MOST_IDLE
