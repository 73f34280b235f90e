"""The squares of groups that interleave: sums that merge to the same bits, for any cut and order."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import compilation
from regularization_kernels.reductions.encoding import read_statistic, statistic_bytes
from regularization_kernels.reductions.group_loop import blocks, of_each_group
from regularization_kernels.reductions.group_squares import GroupSquareQuestion, GroupSquares
from regularization_kernels.reductions.packing import Malformed, Packer, Unpacker

from tests.support.oracles.summation import norm_on_grid

if TYPE_CHECKING:
    from regularization_kernels.arrays import Float64Array

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-10, 10),
    st.sampled_from([0.0, -0.0, 1.0, math.sqrt(2.0), math.ulp(0.0), 1e-300, 1.7e308, 2.0**16, 2.0**-500]),
)
GEOMETRIES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))


def of_parts(question: GroupSquareQuestion, x: Float64Array, cuts: list[int]) -> GroupSquares:
    """The sums of a vector in parts, merged from the last to the first."""
    whole = question.of_nothing()
    for begin, end in reversed(list(pairwise([0, *sorted(cuts), x.size]))):
        part = question.of_nothing()
        part.add(x[begin:end], begin)
        whole.merge(part)
    return whole


@given(GEOMETRIES, st.data())
@settings(deadline=None)
def test_any_cut_gives_the_documented_norms(geometry: tuple[int, int, int], data: st.DataObject) -> None:
    """To the bit those of rational arithmetic, and the same bytes whatever the cuts."""
    size = math.prod(geometry)
    x = np.array(data.draw(st.lists(NUMBERS, min_size=size, max_size=size)))
    question = GroupSquareQuestion(geometry[1], geometry[2], geometry[0] * geometry[2])
    whole = of_parts(question, x, [])
    parts = of_parts(question, x, data.draw(st.lists(st.integers(0, size), max_size=5)))
    assert statistic_bytes(parts) == statistic_bytes(whole)
    groups = x.reshape(geometry)
    expected = [norm_on_grid(groups[:, k].ravel().tolist()) for k in range(geometry[1])]
    assert whole.norms().tolist() == expected


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e100, 1e-310, 1e300])
def test_norms_are_those_of_exact_sums(scale: float) -> None:
    """Of elements that lie close together nothing is rounded away: the sum of squares is exact."""
    x = np.random.default_rng(2).normal(size=(500, 3)) * scale
    norms = of_parts(GroupSquareQuestion(3, 1, 500), x.ravel(), [1, 700]).norms()
    for norm, column in zip(norms.tolist(), x.T.tolist(), strict=True):
        split = [math.frexp(number) for number in column]
        exact = sum(Fraction(m * m) * Fraction(4) ** e for m, e in split)
        assert abs(Fraction(norm) ** 2 / exact - 1) < Fraction(1, 1 << 51) + (scale < 1e-300) * Fraction(
            1, 1 << 30
        )


def test_what_is_not_finite_is_its_groups() -> None:
    """NaN is the norm where there is one, or else infinity; other groups keep their bits."""
    x = np.array([[1.0, math.inf, 3.0, 0.0], [math.nan, -math.inf, 4.0, 0.0], [math.inf, 2.0, 0.0, 0.0]])
    for cuts in ([], [1], [5, 6], [8, 9, 10]):
        norms = of_parts(GroupSquareQuestion(4, 1, 3), x.ravel(), cuts).norms()
        np.testing.assert_array_equal(norms, [math.nan, math.inf, 5.0, 0.0])


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e-310, 1e300, 1.7e308])
@pytest.mark.parametrize("share", [0.7, 1e-3, 1e-250, 1e-310])
def test_quotients_are_rounded_downwards(scale: float, share: float) -> None:
    """They are no more than the exact ones, of 60 bits, and two units in the last place less at most."""
    random = np.random.default_rng(6)
    x = random.uniform(0.3, 1.0, (4, 40)) * scale
    sums = of_parts(GroupSquareQuestion(40, 1, 4), x.ravel(), [])
    with np.errstate(over="ignore"):
        norms = sums.norms()
    bounds = np.minimum(norms, 1.7e308) * (share * random.uniform(0.5, 1.0, 40))
    divisors, factors = sums.quotients(bounds)
    smallest = Fraction(math.ulp(0.0))
    for k in range(40):
        split = (math.frexp(number) for number in x[:, k].tolist())
        square = sum(Fraction(m * m) * Fraction(4) ** e for m, e in split) / Fraction(divisors[k]) ** 2
        bound, factor = Fraction(bounds[k]), Fraction(factors[k])
        assert math.log2(divisors[k]).is_integer()
        assert max(factor - smallest, 0) ** 2 * square <= bound**2 * (1 + Fraction(1, 1 << 60))
        assert ((factor + smallest) * (1 + Fraction(1, 1 << 51))) ** 2 * square >= bound**2


@pytest.mark.parametrize(("count", "inner"), [(7, 1), (300, 1), (70_000, 1), (40, 9), (5, 100), (3, 30_000)])
def test_the_compiled_digits_are_the_same(monkeypatch: pytest.MonkeyPatch, count: int, inner: int) -> None:
    """To the last, from any position on, where levels rise and numbers are of every kind."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    random = np.random.default_rng(count)
    x = random.normal(size=60_001) * 10.0 ** random.integers(-4, 4, 60_001)
    x[random.integers(0, x.size, 50)] = [0.0, -0.0, 1e300, 1e-310, math.ulp(0.0)] * 10
    x[40_000:40_003] = math.inf, math.nan, -1.7e308
    question = GroupSquareQuestion(count, inner, x.size)
    question.of_nothing().add(x, 0)
    compilation.wait_until_compiled()
    for position in (0, 12_345):
        compiled, plain = question.of_nothing(), question.of_nothing()
        compiled.add(x, position)
        with monkeypatch.context() as patch:
            patch.setattr(compilation, "SMALLEST", x.size + 1)
            plain.add(x, position)
        assert statistic_bytes(compiled) == statistic_bytes(plain)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 60), st.integers(1, 40))
def test_every_element_has_its_group(count: int, inner: int, position: int, size: int) -> None:
    """Spread out, and in blocks: as its position divides."""
    groups = np.arange(position, position + size) // inner % count
    np.testing.assert_array_equal(of_each_group(np.arange(count), inner, position, size), groups)
    found = list(blocks(groups, count, inner, position))
    assert len(found) <= 5
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part, _ in found]), groups)
    for part, of in found:
        expected = np.broadcast_to(np.arange(of.start, of.stop)[:, np.newaxis], part.shape)
        np.testing.assert_array_equal(part, expected)


def squares_bytes(levels: list[int], digits: list[list[int]], width: int = 8) -> bytes:
    """The bytes of sums that claim these levels, counted from the lowest, and digits."""
    packer = Packer()
    packer.raw(bytes(levels))
    packer.integer(width)
    for row in digits:
        for digit in row:
            packer.raw(digit.to_bytes(8, "little", signed=True)[:width])
    return packer.packed()


NOTHING = [[0, 0]] * 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        squares_bytes([70, 134], NOTHING),
        squares_bytes([70, 255], NOTHING),
        squares_bytes([70, 71], [[-1, 0], *NOTHING[1:]]),
        squares_bytes([70, 71], [*NOTHING[1:], [1 << 40, 0]]),
        squares_bytes([0, 71], [[1, 0], *NOTHING[1:]]),
        squares_bytes([137, 71], [[1, 0], *NOTHING[1:]]),
        squares_bytes([70, 71], NOTHING, width=0),
        squares_bytes([70, 71], NOTHING)[:-1],
        squares_bytes([70, 71], NOTHING) + b"\0",
    ],
    ids=[
        "nothing",
        "no such level",
        "level too high",
        "negative",
        "too large",
        "digits of zeros",
        "digits of infinity",
        "no width",
        "cut off",
        "too long",
    ],
)
def test_sums_that_cannot_be_are_refused(data: bytes) -> None:
    """Of two groups of ten elements."""

    def read() -> None:
        unpacker = Unpacker(data)
        read_statistic(unpacker, GroupSquareQuestion(2, 1, 10), 20)
        unpacker.check_over()

    with pytest.raises(Malformed):
        read()
