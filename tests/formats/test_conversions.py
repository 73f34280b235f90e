"""One element's conversions, as loops compile them, have the bits of NumPy's passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels.formats import (
    DATA_TYPES,
    INCREMENT,
    are_finite,
    conversion,
    limits,
    mixed,
    next_inwards,
    numbers_of,
    random_bits,
    random_state,
    round_into,
    round_stochastically,
    widen_into,
)
from regularization_kernels.formulas.compiled_loop import inlined

numba = pytest.importorskip("numba")

every_data_type = pytest.mark.parametrize("dtype", DATA_TYPES, ids=str)
quietly = np.errstate(all="ignore")  # some elements are signaling NaN, and some numbers overflow
SEED, FIRST = 7, (1 << 40) + 3


@numba.njit
def _apply(function: Any, elements: Any, numbers: Any, out: Any) -> None:
    for index in range(elements.size):
        out[index] = function(elements[index], *numbers)


@numba.njit
def _round(function: Any, values: Any, numbers: Any, out: Any, rounded: Any) -> None:
    for index in range(values.size):
        out[index], rounded[index] = function(values[index], *numbers)


@numba.njit
def _round_at_random(function: Any, values: Any, words: Any, numbers: Any, out: Any, rounded: Any) -> None:
    for index in range(values.size):
        out[index], rounded[index] = function(values[index], words[index], *numbers)


def elements_of(dtype: np.dtype[Any]) -> NDArray[Any]:
    """All elements of a data type of 8 or 16 bits; of a wider one those of random bits."""
    if dtype.itemsize <= 2:
        return np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)
    random = np.random.default_rng(5)
    return np.frombuffer(random.bytes(dtype.itemsize << 16), dtype)


def numbers_around(dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """All numbers, all ties between neighbours, and what is just beside both; the ends; random bits."""
    elements = elements_of(dtype)
    elements = elements[are_finite(elements, np.empty(elements.size, np.bool_))]
    numbers = numbers_of(elements).astype(np.float64)
    above = numbers_of(next_inwards(elements, np.ones(elements.size, np.bool_))).astype(np.float64)
    ties = numbers / 2 + above / 2
    about = limits(dtype)
    step = about.spacing or about.max * (about.eps / 2)
    ends = np.concatenate([end * np.array([1 - 2.0**-52, 1, 1 + 2.0**-52]) for end in (about.max, about.min)])
    middles = np.concatenate([[end - step / 2, end, end + step / 2] for end in ends])
    beyond = np.array([0.0, 5e-324, 1e-310, 1e300, np.inf, np.nan])
    of_all_bits = np.frombuffer(np.random.default_rng(6).bytes(8 << 16), np.float64)
    exact = np.concatenate([numbers, ties[np.isfinite(ties)], middles, beyond, -beyond])
    beside = [np.nextafter(exact, -np.inf), np.nextafter(exact, np.inf)]
    return np.concatenate([exact, *beside, of_all_bits])


def assert_same_elements(one: NDArray[Any], other: NDArray[Any]) -> None:
    """Assert that two arrays are alike to the bit; of NaN, any bits will do."""
    known = ~np.isnan(numbers_of(other).astype(np.float64))
    assert np.isnan(numbers_of(one).astype(np.float64)[~known]).all()
    unsigned = f"u{one.dtype.itemsize}"
    np.testing.assert_array_equal(one.view(unsigned)[known], other.view(unsigned)[known])


@every_data_type
@quietly
def test_elements_are_read_as_their_numbers(dtype: np.dtype[Any]) -> None:
    """Of 8 and 16 bits all of them; and which are finite."""
    form, elements = conversion(dtype), elements_of(dtype)
    read, expected = np.empty(elements.size), np.empty(elements.size)
    _apply(inlined(form.read), elements.view(form.stored), form.numbers, read)
    widen_into(elements, expected)
    assert_same_elements(read, expected)
    finite, same = np.empty((2, elements.size), np.bool_)
    _apply(inlined(form.is_finite), elements.view(form.stored), (), finite)
    are_finite(elements, same)
    np.testing.assert_array_equal(finite, same)


@every_data_type
@quietly
def test_numbers_are_rounded_to_the_nearest(dtype: np.dtype[Any]) -> None:
    """Ties, subnormals, saturation, infinities, NaN, and numbers of any bits."""
    form, numbers = conversion(dtype), numbers_around(dtype)
    out, expected = np.empty((2, numbers.size), dtype)
    rounded = np.empty(numbers.size)
    _round(inlined(form.to_nearest), numbers, form.numbers, out.view(form.stored), rounded)
    round_into(numbers, expected)
    assert_same_elements(out, expected)
    assert_same_elements(rounded, numbers_of(expected).astype(np.float64))


@every_data_type
@quietly
def test_numbers_are_rounded_at_random(dtype: np.dtype[Any]) -> None:
    """The same numbers, far into a vector."""
    form, numbers = conversion(dtype), numbers_around(dtype)
    out, expected = np.empty((2, numbers.size), dtype)
    words = random_bits(SEED, FIRST, numbers.size)
    function, rounded = inlined(form.at_random), np.empty(numbers.size)
    _round_at_random(function, numbers, words, form.numbers, out.view(form.stored), rounded)
    round_stochastically(numbers, expected, SEED, FIRST)
    assert_same_elements(out, expected)
    assert_same_elements(rounded, numbers_of(expected).astype(np.float64))


@pytest.mark.parametrize("seed", [0, 7, (1 << 64) - 1])
@pytest.mark.parametrize("first", [0, (1 << 60) - 2])
def test_random_bits_of_one_element_are_those_of_many(seed: int, first: int) -> None:
    """From the first one's state on, each next state is larger by the increment."""
    with np.errstate(over="ignore"):
        states = np.uint64(random_state(seed, first)) + np.arange(100, dtype=np.uint64) * np.uint64(INCREMENT)
        words = [int(mixed(state)) for state in states]
    out = np.empty(100, np.uint64)
    _apply(inlined(mixed), states, (), out)
    assert words == out.tolist() == random_bits(seed, first, 100).tolist()
