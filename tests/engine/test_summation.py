"""The bits of every sum are those of the contract's rule, computed a second way in rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import Groups
from regularization_kernels.summation import BLOCK, LANES, BlockSum, ExactSum

from tests.support.oracles import summation as reference

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.floats()
TINY = 5e-324
HUGE = float(np.finfo(np.float64).max)


def same(one: float, other: float) -> bool:
    """Whether two doubles are the same, NaN included; a zero's sign does not count."""
    return one == other or (math.isnan(one) and math.isnan(other))


def check(numbers: list[float]) -> None:
    """Assert that ExactSum agrees with rational arithmetic, to the bit."""
    value, expansion = reference.exactly(numbers)
    got = ExactSum.of(numbers)
    assert same(got.value, value)
    assert len(got.expansion) == len(expansion)
    assert all(same(a, b) for a, b in zip(got.expansion, expansion, strict=True))


def test_the_rule_has_the_contract_s_numbers() -> None:
    """Blocks have 2^18 elements and 256 lanes."""
    assert (BLOCK, LANES) == (2**18, 256)


@given(st.lists(FINITE, max_size=40))
@example([])
@example([0.0, -0.0])
@example([1e308, 1e308, -1e308])
@example([HUGE, HUGE, -HUGE, -HUGE, TINY])
@example([HUGE, HUGE])
@example([-HUGE, -HUGE, 1.0])
@example([HUGE, math.ulp(HUGE) / 2])
@example([HUGE, math.ulp(HUGE) / 2, -TINY])
@example([1.0, 2.0**-53, 2.0**-106])
@example([1.0, 2.0**-53])
@example([1.0, -(2.0**-54), -TINY])
@example([TINY] * 7)
@example([TINY, -TINY])
@example([1e16, 1.0, -1e16])
@example([1e300, 1.0, TINY])
def test_exact_sum_agrees_with_rationals(numbers: list[float]) -> None:
    """Value and expansion are canonical, through cancellation, subnormals and overflow in between."""
    check(numbers)


@given(st.lists(ANY, max_size=12))
@example([math.inf, 1.0])
@example([math.inf, -math.inf])
@example([math.nan, math.inf])
@example([-math.inf, HUGE])
@example([math.inf, HUGE, HUGE])
@example([HUGE, HUGE, math.inf])
@example([HUGE, HUGE, -math.inf])
@example([HUGE, HUGE, math.nan])
@example([HUGE, HUGE, math.inf, -math.inf])
@example([-HUGE, -HUGE, math.inf, 1.0])
def test_infinities_and_nan_are_the_sum_where_they_are_terms(numbers: list[float]) -> None:
    """An infinity is the sum, two opposite ones or a NaN make NaN, and the expansion has one element then."""
    check(numbers)


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_expansions_are_canonical(numbers: list[float]) -> None:
    """The first element is the value, each next the rounded remainder, and they add up to the exact sum."""
    total = ExactSum.of(numbers)
    if not math.isfinite(total.value):
        return
    exact = sum(map(Fraction, numbers), Fraction(0))
    assert sum(map(Fraction, total.expansion), Fraction(0)) == exact
    assert total.expansion[:1] == ((total.value,) if exact else ())
    for at, part in enumerate(total.expansion):
        assert part == reference.nearest(sum(map(Fraction, total.expansion[at:]), Fraction(0))) != 0


@given(st.lists(st.lists(FINITE, max_size=10), max_size=6))
def test_partial_expansions_combine_to_the_whole(parts: list[list[float]]) -> None:
    """Concatenated expansions of finite partial sums add up to the bits of the sum of everything."""
    sums = [ExactSum.of(part) for part in parts]
    if all(math.isfinite(part.value) for part in sums):
        together = ExactSum.of(number for part in sums for number in part.expansion)
        assert together == ExactSum.of(number for part in parts for number in part)


def block_sum(terms: NDArray[np.float64], cuts: list[int], scale: float, start: int = 0) -> ExactSum:
    """The kernel's sum of terms that come in pieces."""
    sums = BlockSum(scale)
    for begin, end in zip([0, *cuts], [*cuts, terms.size], strict=True):
        sums.add(terms[begin:end], start + begin)
    return ExactSum.of(sums.partials())


def ruled(terms: NDArray[np.float64], scale: float, start: int = 0) -> tuple[float, tuple[float, ...]]:
    """The same by the rule in plain Python."""
    return reference.exactly(reference.lane_products(enumerate(terms.tolist(), start), scale))


@given(st.data(), st.integers(0, 3000), st.sampled_from([0, 1, 255, 256, 1000, BLOCK - 700, 3 * BLOCK - 256]))
def test_lanes_add_in_order(data: st.DataObject, size: int, start: int) -> None:
    """However a run of terms is cut, and wherever it starts, each lane adds its terms one after the other."""
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=6)))
    scale = data.draw(st.sampled_from([0.0, 1.0, 0.1, 1e-300, 3e8]))
    random = np.random.default_rng(size)
    terms = random.random(size) * 10.0 ** random.integers(-20, 20, size=size)
    got = block_sum(terms, cuts, scale, start)
    assert (got.value, got.expansion) == ruled(terms, scale, start)


def test_blocks_are_summed_apart() -> None:
    """Terms over a block border fall into new lanes, for cuts anywhere."""
    terms = np.random.default_rng(3).random(BLOCK + 1000)
    expected = ruled(terms, 0.1)
    for cuts in ([], [BLOCK], [BLOCK - 1, BLOCK + 1], [1, 7, 300, 200_000, BLOCK + 257]):
        got = block_sum(terms, cuts, 0.1)
        assert (got.value, got.expansion) == expected
    whole = [block_sum(terms[:BLOCK], [5], 0.1), block_sum(terms[BLOCK:], [], 0.1, BLOCK)]
    assert ExactSum.of(number for part in whole for number in part.expansion).expansion == expected[1]


@given(st.data())
def test_terms_at_positions_fall_into_their_lanes(data: st.DataObject) -> None:
    """A group's term takes the place of its first element, over block borders too, however they are cut."""
    steps = data.draw(st.lists(st.sampled_from([1, 3, 255, 256, 257, 70_000, BLOCK]), max_size=60))
    positions = np.cumsum(np.array([0, *steps], dtype=np.int64))
    terms = np.random.default_rng(len(steps)).random(positions.size)
    cut = data.draw(st.integers(0, positions.size))
    sums = BlockSum(0.3)
    sums.add_at(positions[:cut], terms[:cut])
    sums.add_at(positions[cut:], terms[cut:])
    got = ExactSum.of(sums.partials())
    pairs = zip(positions.tolist(), terms.tolist(), strict=True)
    assert (got.value, got.expansion) == reference.exactly(reference.lane_products(pairs, 0.3))


@pytest.mark.parametrize("terms", [[HUGE, HUGE], [math.inf, 1.0], [math.nan, 1.0], [TINY, TINY, TINY]])
def test_the_ends_of_the_range_in_a_long_sum(terms: list[float]) -> None:
    """Overflow over lanes is an infinity, a special value wins, and the smallest numbers are not lost."""
    got = block_sum(np.array(terms), [], 1.0)
    value, expansion = ruled(np.array(terms), 1.0)
    assert same(got.value, value)
    assert [math.isnan(part) or part for part in got.expansion] == [
        math.isnan(part) or part for part in expansion
    ]


@pytest.mark.parametrize("last", [-HUGE, HUGE, 1.0, math.inf, -math.inf, math.nan], ids=str)
def test_a_long_sum_comes_back_from_beyond_the_range(last: float) -> None:
    """What is beyond float64 on the way is still exact, block after block, until the end is known."""
    lanes = [HUGE] * 20 + [-HUGE] * 19 + [last, 1.0, TINY]
    sums, expected = BlockSum(), []
    for block, number in enumerate(lanes):
        terms = np.full(LANES, number)
        sums.add(terms, block * BLOCK)
        expected += terms.tolist()
    got, (value, expansion) = ExactSum.of(sums.partials()), reference.exactly(expected)
    assert same(got.value, value)
    assert [math.isnan(part) or part for part in got.expansion] == [
        math.isnan(part) or part for part in expansion
    ]


@given(st.integers(0, 5000), st.booleans())
@example(7, True)
@example(8, True)
@example(128, True)
@example(129, True)
@example(136, False)
@example(1000, True)
def test_sums_inside_a_group_are_pairwise(size: int, positive: bool) -> None:
    """A group's squares are added pairwise with eight accumulators, in even runs and in ragged ones."""
    random = np.random.default_rng(size)
    terms = random.random(size) * 10.0 ** random.integers(-8, 8, size=size)
    if not positive:
        terms *= random.choice([-1.0, 1.0], size=size)
    if not size:
        return
    expected = reference.pairwise(terms.tolist())
    twice = np.concatenate([terms, terms])
    even = Groups(size=size).partition((2 * size,)).sums(twice)
    ragged = (
        Groups(sizes=(1, size, 2)).partition((size + 3,)).sums(np.concatenate([[1e300], terms, [1.0, 1.0]]))
    )
    first = Groups(axis=0).partition((2, size)).sums(twice)
    last = Groups(axis=1).partition((size, 2)).sums(np.ascontiguousarray(twice.reshape(2, size).T).ravel())
    assert even.tolist() == [expected, expected]
    assert ragged.tolist() == [1e300, expected, 2.0]
    assert first.tolist() == [expected, expected]
    assert last.tolist() == [expected, expected]


@pytest.mark.parametrize("size", [1, 3, 8, 13, 130])
def test_sums_of_many_groups_are_each_group_s_own(size: int) -> None:
    """Thousands of groups at once, in even runs, ragged runs and columns, are added as each alone."""
    count = 12_000 // size
    terms = np.random.default_rng(size).random((count, size))
    expected = [reference.pairwise(group) for group in terms.tolist()]
    flat, columns = terms.ravel(), np.ascontiguousarray(terms.T).ravel()
    assert Groups(size=size).partition((flat.size,)).sums(flat).tolist() == expected
    assert Groups(sizes=(size,) * count).partition((flat.size,)).sums(flat).tolist() == expected
    assert Groups(axis=1).partition((size, count)).sums(columns).tolist() == expected
