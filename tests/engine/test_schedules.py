"""Schedules against their formulas in exact rational arithmetic, and what a plan relies on."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization_kernels.errors import FieldMissing, FieldOutOfRange
from regularization_kernels.schedules import (
    MAX_PIECES,
    SCHEDULES,
    Constant,
    Cosine,
    Cubic,
    Exponential,
    Linear,
    Piecewise,
    Ramp,
    nearest_whole,
)

RAMPS = (Linear, Cosine, Exponential, Cubic)
LAST = (1 << 63) - 1
steps = st.integers(0, 10**6) | st.integers(0, LAST)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_infinity=False) | st.floats(1e-8, 1e4)
every_ramp = pytest.mark.parametrize("ramp", RAMPS, ids=lambda ramp: ramp.__name__.lower())


@st.composite
def ways(draw: st.DrawFn, values: st.SearchStrategy[float] = numbers) -> tuple[float, float, int, int, int]:
    """Both values of a ramp, both its ends, and a step between these."""
    begin, middle, end = sorted(draw(st.lists(steps, min_size=3, max_size=3, unique=True)))
    return draw(values), draw(values), begin, end, middle


def share(begin: int, end: int, step: int) -> Fraction:
    """The share of the way that is gone."""
    return Fraction(step - begin, end - begin)


def arctangent_of_inverse(n: int, terms: int = 60) -> Fraction:
    """The arctangent of 1 / n, by its series."""
    return sum((Fraction((-1) ** k, (2 * k + 1) * n ** (2 * k + 1)) for k in range(terms)), Fraction(0))


PI = 4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239))
"""To eighty digits, by Machin's formula."""


def cosine_of(x: Fraction) -> Fraction:
    """The cosine of a number from 0 to pi, to fifty digits and more."""
    rounded = Fraction(round(x * 10**70), 10**70)
    total, term = Fraction(0), Fraction(1)
    for k in range(1, 50):
        total += term
        term = Fraction(round(-term * rounded * rounded / ((2 * k - 1) * (2 * k)) * 10**70), 10**70)
    return total


def assert_within_an_ulp(value: float, exact: Fraction) -> None:
    """A number is one of the two that the exact one lies between, or next to them."""
    assert math.nextafter(value, -math.inf) <= exact <= math.nextafter(value, math.inf)


@given(ways())
def test_linear_is_its_formula_rounded_once(way: tuple[float, float, int, int, int]) -> None:
    """Whatever the numbers: nothing overflows on the way, and nothing cancels."""
    initial, final, begin, end, step = way
    exact = Fraction(initial) + (Fraction(final) - Fraction(initial)) * share(begin, end, step)
    assert Linear(initial, final, begin, end).at(step) == float(exact)


@given(ways())
def test_cubic_is_its_formula_rounded_once(way: tuple[float, float, int, int, int]) -> None:
    """Likewise."""
    initial, final, begin, end, step = way
    left = 1 - share(begin, end, step)
    exact = Fraction(final) + (Fraction(initial) - Fraction(final)) * left * left * left
    assert Cubic(initial, final, begin, end).at(step) == float(exact)


def test_cubic_of_what_stays_is_gradual_pruning_of_the_rest() -> None:
    """Zhu and Gupta's sparsity, of n steps dt apart from t0 on, is 1 less the fraction that stays."""
    t0, n, dt = 2000, 50, 100
    kept = Cubic(1.0, 0.125, t0, t0 + n * dt)
    for step in range(t0, t0 + n * dt + 1, dt):
        sparsity = 0.875 + (0.0 - 0.875) * (1 - (step - t0) / (n * dt)) ** 3
        assert 1 - kept.at(step) == pytest.approx(sparsity, abs=1e-15)


@given(ways(st.floats(0, 1e300)))
def test_cosine_is_its_formula(way: tuple[float, float, int, int, int]) -> None:
    """Within a unit in the last place, for values of one sign."""
    initial, final, begin, end, step = way
    weight = (1 + cosine_of(PI * share(begin, end, step))) / 2
    if weight < Fraction(1, 10**40):
        return  # of which this oracle has too few digits
    exact = Fraction(final) + (Fraction(initial) - Fraction(final)) * weight
    assert_within_an_ulp(Cosine(initial, final, begin, end).at(step), exact)


@given(positive, positive, st.integers(2, 25), st.data())
def test_exponential_is_the_root_of_a_product(
    initial: float, final: float, n: int, data: st.DataObject
) -> None:
    """Step k of n has the n-th root of ``initial^(n - k) * final^k``, within a unit in the last place."""
    k = data.draw(st.integers(1, n - 1))
    value = Exponential(initial, final, 7, 7 + n).at(7 + k)
    power = Fraction(initial) ** (n - k) * Fraction(final) ** k
    assert Fraction(math.nextafter(value, 0)) ** n <= power
    assert power <= Fraction(math.nextafter(value, math.inf)) ** n


@every_ramp
@given(way=ways(positive))
def test_ends_are_exact_and_the_way_goes_one_way(
    ramp: type[Ramp], way: tuple[float, float, int, int, int]
) -> None:
    """Before and after the way the values are as given; on it none lies outside, and no later one before."""
    initial, final, begin, end, step = way
    schedule = ramp(initial, final, begin, end)
    assert [schedule.at(0), schedule.at(begin)] == [initial, initial]
    assert [schedule.at(end), schedule.at(LAST)] == [final, final]
    values = [schedule.at(each) for each in (begin, begin + 1, step, end - 1, end)]
    assert values == sorted(values, reverse=final < initial)
    assert schedule.knots == (begin, end)


@pytest.mark.parametrize(("u", "weight"), [(1, 0.75), (2, 0.5), (3, 0.25)])
def test_cosine_in_thirds_and_halves(u: int, weight: float) -> None:
    """The cosines that everybody knows: of 60, 90 and 120 degrees."""
    begin, end, step = {1: (0, 3, 1), 2: (0, 2, 1), 3: (0, 3, 2)}[u]
    assert Cosine(1.0, 0.0, begin, end).at(step) == weight


def test_constant_and_piecewise() -> None:
    """A piece lasts from its own step to the one before the next."""
    assert [Constant(0.25).at(step) for step in (0, 1, LAST)] == [0.25] * 3
    schedule = Piecewise(((0, 1.0), (10, 0.5), (11, 2.0)))
    expected = {0: 1.0, 9: 1.0, 10: 0.5, 11: 2.0, 12: 2.0, LAST: 2.0}
    assert {step: schedule.at(step) for step in expected} == expected
    assert schedule.knots == (0, 10, 11)


@given(numbers)
def test_whole_numbers_are_the_nearest(value: float) -> None:
    """A half goes to the larger one, as counts of a fraction do."""
    whole = nearest_whole(value)
    assert Fraction(-1, 2) < whole - Fraction(value) <= Fraction(1, 2)


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "constant": (lambda: Constant(math.nan), FieldOutOfRange, "value"),
    **{
        f"{ramp.__name__.lower()}_{name}": (lambda ramp=ramp, way=way: ramp(*way), FieldOutOfRange, field)
        for ramp in RAMPS
        for name, way, field in (
            ("infinite", (math.inf, 1.0, 0, 1), "initial"),
            ("nan", (1.0, math.nan, 0, 1), "final"),
            ("before_the_start", (1.0, 1.0, -1, 1), "begin"),
            ("without_a_way", (1.0, 1.0, 5, 5), "end"),
            ("backwards", (1.0, 1.0, 5, 4), "end"),
        )
    },
    "exponential_from_zero": (lambda: Exponential(0.0, 1.0, 0, 1), FieldOutOfRange, "initial"),
    "exponential_to_zero": (lambda: Exponential(1.0, 0.0, 0, 1), FieldOutOfRange, "final"),
    "no_piece": (lambda: Piecewise(()), FieldMissing, "pieces"),
    "too_many_pieces": (
        lambda: Piecewise(tuple((step, 1.0) for step in range(MAX_PIECES + 1))),
        FieldOutOfRange,
        "pieces",
    ),
    "late_piece": (lambda: Piecewise(((1, 1.0),)), FieldOutOfRange, "pieces[0].begin"),
    "piece_twice": (lambda: Piecewise(((0, 1.0), (0, 2.0))), FieldOutOfRange, "pieces[1].begin"),
    "piece_infinite": (lambda: Piecewise(((0, 1.0), (1, -math.inf))), FieldOutOfRange, "pieces[1].value"),
}


@pytest.mark.parametrize("name", BAD)
def test_numbers_out_of_range_are_refused(name: str) -> None:
    """With the field at fault."""
    make, error, field = BAD[name]
    with pytest.raises(error) as caught:
        make()
    assert getattr(caught.value, "field", None) == field


def test_every_schedule_has_a_name() -> None:
    """And each once."""
    assert set(SCHEDULES.values()) == {Constant, *RAMPS, Piecewise}
