"""Counts of keys merge exactly, and lead a search to the threshold that sorting in exact arithmetic finds."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from regularization_kernels.reductions.array_survey import ArraySurvey, at_once
from regularization_kernels.reductions.census import (
    BINS,
    SIGN,
    CensusQuestion,
    Interval,
    Order,
    keys_of,
    number_of,
)
from regularization_kernels.reductions.statistics import Question, Statistic
from regularization_kernels.reductions.survey import Search, Survey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regularization_kernels.arrays import Float64Array

ResultT = TypeVar("ResultT")
StatisticT = TypeVar("StatisticT", bound=Statistic)

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-10, 10),
    st.floats(-10, 10, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, math.ulp(0.0), 1e308, 2.0**28, 2.0**-100]),
)
VECTORS = st.lists(NUMBERS, min_size=1, max_size=20).map(lambda numbers: np.array(numbers, np.float64))

INTERVALS = [
    Interval(1023 - 100 << 52, 44),
    Interval(0, 47),
    Interval(1023 << 52, 20),
    Interval(1023 << 52, 0),
]


def random_vectors() -> list[Float64Array]:
    """Vectors of many lengths, scales and ties."""
    random = np.random.default_rng(5)
    return [
        random.normal(size=5000),
        random.normal(size=5000).astype(np.float32).astype(np.float64),
        np.round(random.normal(size=5000), 1),
        random.normal(size=300) * 1e30,
        random.normal(size=300) * 1e-40,
        np.exp(random.normal(size=300) * 100),
        -np.ones(50),
        np.array([math.ulp(0.0), -math.ulp(0.0), 0.0, 1e308, 3.0]),
    ]


def answer(question: Question[StatisticT], x: Float64Array, cuts: Sequence[int]) -> StatisticT:
    """The statistic of a vector in parts, merged from the last to the first."""
    whole = question.of_nothing()
    for begin, end in reversed(list(pairwise([0, *cuts, x.size]))):
        part = question.of_nothing()
        part.add(x[begin:end], begin)
        whole.merge(part)
    return whole


def found(search: Search[ResultT], x: Float64Array, cuts: Sequence[int] = ()) -> tuple[ResultT, int]:
    """What a search finds in a vector, and how many questions it takes."""
    questions = 0
    try:
        question = next(search)
        while True:
            questions += 1
            question = search.send(answer(question, x, cuts))
    except StopIteration as stopped:
        return stopped.value, questions


@settings(deadline=None)
@given(VECTORS, st.sampled_from(list(Order)[:2]))
def test_keys_are_in_the_order_of_the_numbers(x: Float64Array, order: Order) -> None:
    """A larger number, or magnitude, has a larger key, an equal one the same; and the key gives it back."""
    numbers = np.abs(x) if order is Order.MAGNITUDES else x
    keys = keys_of(x, order)
    assert [number_of(int(key), order) for key in keys] == numbers.tolist()
    np.testing.assert_array_equal(np.argsort(keys, kind="stable"), np.argsort(numbers, kind="stable"))


@pytest.mark.parametrize("interval", INTERVALS, ids=str)
@pytest.mark.parametrize("order", [Order.MAGNITUDES, Order.NUMBERS])
@settings(deadline=None)
@given(x=VECTORS, data=st.data())
def test_bins_have_counts_and_exact_masses(
    order: Order, interval: Interval, x: Float64Array, data: st.DataObject
) -> None:
    """Of any bins: how many numbers are in them, and their sum in exact arithmetic."""
    if order is Order.NUMBERS:
        low = SIGN - interval.high if data.draw(st.booleans()) else SIGN + interval.low
        interval = Interval(low >> interval.open_bits << interval.open_bits, interval.open_bits)
    census = answer(CensusQuestion(order, interval), x, ())
    begin, end = sorted(data.draw(st.tuples(st.integers(0, BINS), st.integers(0, BINS))))
    numbers = np.abs(x) if order is Order.MAGNITUDES else x
    keys = keys_of(x, order).tolist()
    inside = [
        Fraction(number)
        for number, key in zip(numbers.tolist(), keys, strict=True)
        if interval.edge(begin) <= key < interval.edge(end)
    ]
    assert census.count(begin, end) == len(inside)
    assert census.mass(begin, end) == sum(inside)
    assert census.above == sum(key >= interval.high for key in keys)


@pytest.mark.parametrize("count", [1 << 35, 1 << 36, (1 << 39) - 3])
@pytest.mark.parametrize("number", [1.0, math.nextafter(2.0, 0.0), -1.75, 5e-324])
def test_masses_of_many_numbers_do_not_overflow(count: int, number: float) -> None:
    """Of as many as a vector may have that is measured: of one bin, and with another of the same exponent."""
    low = SIGN - (1 << 62) if number < 0 else SIGN
    question = CensusQuestion(Order.NUMBERS, Interval(low, 47))
    census, others = question.of_nothing(), question.of_nothing()
    census.add(np.array([number]), 0)
    census.counts *= count
    census.offsets *= count
    assert census.mass(0) == count * Fraction(number)
    others.add(np.full(3, math.copysign(1.5, number)), 0)
    census.merge(others)
    assert census.mass(0) == count * Fraction(number) + others.mass(0)


@given(st.lists(st.one_of(NUMBERS, st.sampled_from([math.nan, math.inf, -math.inf])), max_size=40), st.data())
def test_parts_merge_to_the_whole(numbers: list[float], data: st.DataObject) -> None:
    """Whatever the cuts and the order: the same figures, NaN and infinities beside the rest."""
    x = np.array(numbers, np.float64)
    cuts = sorted(data.draw(st.lists(st.integers(0, x.size), max_size=4)))
    question = CensusQuestion(Order.MAGNITUDES, INTERVALS[0])
    whole, parts = answer(question, x, ()), answer(question, x, cuts)
    assert whole.nan == np.count_nonzero(np.isnan(x))
    assert whole.infinite == np.count_nonzero(np.isinf(x))
    np.testing.assert_array_equal(whole.counts, parts.counts)
    np.testing.assert_array_equal(whole.offsets, parts.offsets)
    for name in ("above", "nonzeros", "first_negative", "infinite", "nan"):
        assert getattr(whole, name) == getattr(parts, name)


def check_largest(x: Float64Array, count: int, cuts: Sequence[int]) -> int:
    """The search for the largest magnitudes agrees with sorting; how many questions it took."""
    magnitudes = np.abs(x)
    least = np.sort(magnitudes)[::-1][count - 1]
    above = magnitudes[magnitudes > least]
    survey = Survey(Order.MAGNITUDES, x.size)
    place, questions = found(survey.place(count), x, cuts)
    assert place.number == least
    assert place.above == above.size
    assert place.ties == np.count_nonzero(magnitudes == least)
    rank = count - place.above
    position, _ = found(survey.position_of_tie(place.number, rank), x, cuts)
    assert position == np.flatnonzero(magnitudes == least)[rank - 1]
    of_array = ArraySurvey(Order.MAGNITUDES, x)
    assert at_once(of_array.place(count)) == place
    assert at_once(of_array.position_of_tie(place.number, rank)) == position
    return questions


@settings(deadline=None)
@given(VECTORS, st.data())
def test_the_least_of_the_largest(x: Float64Array, data: st.DataObject) -> None:
    """With its ties, and the place of the last of them that is taken."""
    cuts = sorted(data.draw(st.lists(st.integers(0, x.size), max_size=3)))
    nonzeros = int(np.count_nonzero(x))
    assume(nonzeros)
    check_largest(x, data.draw(st.integers(1, nonzeros)), cuts)


@pytest.mark.parametrize("x", random_vectors(), ids=lambda x: f"{x.size}")
def test_the_least_of_the_largest_of_many(x: Float64Array) -> None:
    """The same for long vectors."""
    for count in {1, max(1, x.size // 10), x.size // 2, np.count_nonzero(x)}:
        check_largest(x, int(count), (x.size // 3,))


def test_two_questions_tell_float32_numbers_apart() -> None:
    """However many there are."""
    x = np.random.default_rng(0).normal(size=100_000).astype(np.float32).astype(np.float64)
    assert check_largest(x, 10_000, ()) == 2


def sorted_threshold(numbers: list[float], radius: Fraction) -> Fraction:
    """What is to be taken off the numbers so that what is left above 0 adds up to the radius, by sorting."""
    mass = threshold = Fraction(0)
    for count, number in enumerate(sorted(map(Fraction, numbers), reverse=True), 1):
        mass += number
        if mass - count * number < radius:
            threshold = (mass - radius) / count
    return threshold


def check_threshold(x: Float64Array, order: Order, radius: float, cuts: Sequence[int]) -> None:
    """The search for what the simplex takes off agrees with sorting."""
    numbers = (np.abs(x) if order is Order.MAGNITUDES else x).tolist()
    exact = Fraction(radius)
    if order is Order.MAGNITUDES and sum(map(Fraction, numbers)) <= exact:
        return
    threshold, _ = found(Survey(order, x.size).threshold(radius), x, cuts)
    assert threshold == sorted_threshold(numbers, exact)
    with np.errstate(all="ignore"):
        assert at_once(ArraySurvey(order, x).threshold(radius)) == threshold


@pytest.mark.parametrize("order", [Order.MAGNITUDES, Order.NUMBERS])
@settings(deadline=None)
@given(x=VECTORS, radius=st.floats(1e-300, 1e300), data=st.data())
def test_the_threshold_of_the_simplex(
    order: Order, x: Float64Array, radius: float, data: st.DataObject
) -> None:
    """Exactly, for numbers of both signs and for magnitudes."""
    cuts = sorted(data.draw(st.lists(st.integers(0, x.size), max_size=3)))
    check_threshold(x, order, radius, cuts)


@pytest.mark.parametrize("order", [Order.MAGNITUDES, Order.NUMBERS])
@pytest.mark.parametrize("x", random_vectors(), ids=lambda x: f"{x.size}")
def test_the_threshold_of_the_simplex_of_many(order: Order, x: Float64Array) -> None:
    """The same for long vectors."""
    whole = float(np.sum(np.abs(x)))
    for radius in (1e-3, 1.0, 0.3 * whole, 0.99 * whole):
        check_threshold(x, order, radius, (x.size // 3,))


@settings(deadline=None)
@given(VECTORS)
def test_the_total_is_exact(x: Float64Array) -> None:
    """The sum of magnitudes, as rational arithmetic has it."""
    total, _ = found(Survey(Order.MAGNITUDES, x.size).total(), x, (x.size // 2,))
    assert total == sum(map(Fraction, np.abs(x).tolist()))
    assert at_once(ArraySurvey(Order.MAGNITUDES, x).total()) == total


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=20), st.data())
def test_an_array_tells_what_its_parts_tell(numbers: list[float], data: st.DataObject) -> None:
    """Which numbers there are, the norm, and the largest magnitude: with NaN and infinities, too."""
    x = np.array(numbers)
    cuts = sorted(data.draw(st.lists(st.integers(0, x.size), max_size=3)))
    of_parts, of_array = Survey(Order.NUMBERS, x.size), ArraySurvey(Order.NUMBERS, x)
    with np.errstate(all="ignore"):
        assert at_once(of_array.facts()) == replace(found(of_parts.facts(), x, cuts)[0], above=0)
        roots = at_once(of_array.squares()).root(), found(of_parts.squares(), x, cuts)[0].root()
        np.testing.assert_array_equal(*roots)
        peaks = at_once(of_array.peak()), found(of_parts.peak(), x, cuts)[0]
    np.testing.assert_array_equal(peaks[0].largest, peaks[1].largest)
    assert math.isnan(peaks[0].largest) or peaks[0].ties == peaks[1].ties


def test_thresholds_of_long_arrays_are_exact() -> None:
    """Where a sample leads the search: the same as of parts, to the last bit of a rational number."""
    random = np.random.default_rng(11)
    for x in (random.normal(size=200_000), np.round(random.normal(size=200_000), 2), np.full(100_000, 0.1)):
        for order in (Order.MAGNITUDES, Order.NUMBERS):
            for radius in (1e-3, 1.0, 0.3 * float(np.sum(np.abs(x)))):
                of_parts, _ = found(Survey(order, x.size).threshold(radius), x)
                assert at_once(ArraySurvey(order, x).threshold(radius)) == of_parts
        for count in (1, 1000, x.size // 3, x.size):
            of_parts_place, _ = found(Survey(Order.MAGNITUDES, x.size).place(count), x)
            assert at_once(ArraySurvey(Order.MAGNITUDES, x).place(count)) == of_parts_place
