"""The sum of squares is exact, so that its parts merge to the same bits."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization_kernels.arrays import Float64Array
from regularization_kernels.reductions.squares import SquareSum

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10), st.just(0.0))


def of_parts(x: Float64Array, cuts: list[int]) -> SquareSum:
    """The sum of a vector in parts, merged from the last to the first."""
    whole = SquareSum()
    for begin, end in reversed(list(pairwise([0, *cuts, x.size]))):
        part = SquareSum()
        part.add(x[begin:end], begin)
        whole.merge(part)
    return whole


def exact_square(number: float) -> Fraction:
    """A square as documented: rounded to float64, as if that had exponents of all sizes."""
    mantissa, exponent = math.frexp(number)
    return Fraction(mantissa * mantissa) * Fraction(4) ** exponent


@given(st.lists(NUMBERS, max_size=30), st.data())
def test_any_cut_and_order_gives_the_exact_root(numbers: list[float], data: st.DataObject) -> None:
    """The same bits, within a few units of the root in rational arithmetic."""
    x = np.array(numbers, np.float64)
    cuts = sorted(data.draw(st.lists(st.integers(0, x.size), max_size=4)))
    root = of_parts(x, cuts).root()
    assert root == of_parts(np.array(data.draw(st.permutations(numbers)), np.float64), []).root()
    exact = sum(map(exact_square, numbers), Fraction(0))
    if not math.isfinite(root):
        assert exact > Fraction(1.7e308) ** 2
    elif root > 1e-300:
        assert abs(Fraction(root) ** 2 / exact - 1) < Fraction(1, 1 << 50)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e100])
def test_long_vectors_merge(scale: float) -> None:
    """A long vector's parts are added another way than short ones, with the same exact sum."""
    x = np.random.default_rng(3).normal(size=30_000) * scale
    exact = sum(Fraction(number * number) for number in x.tolist())
    for cuts in ([], [1], [100, 20_000], list(range(1000, 30_000, 1000))):
        assert sum(map(Fraction, of_parts(x, cuts).middle)) == exact


def test_what_is_not_finite_is_counted() -> None:
    """NaN is the root where there is one, or else infinity."""
    x = np.array([1.0, -math.inf, 2.0])
    assert of_parts(x, [1]).root() == math.inf
    assert math.isnan(of_parts(np.append(x, math.nan), [2]).root())
