"""How many doubles an exact sum needs: never more than is said before its terms are there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels.engine import (
    DATA_TYPES,
    Call,
    Chunk,
    Layout,
    MemoryBudget,
    Method,
    Segment,
    figure_bounds,
    run_whole,
)
from regularization_kernels.expansions import LONGEST_EXPANSION, Exponents, exponents_of, exponents_of_all
from regularization_kernels.formats import exponents, limits
from regularization_kernels.summation import ExactSum

from tests.support.cases import CASES, Case
from tests.support.together import for_each

SIZE = 4096
"""Elements of a segment that may have any shape: each lane has several."""

finite = st.floats(allow_nan=False, allow_infinity=False)


def lies_in(number: float, where: Exponents) -> bool:
    """Whether a number is a multiple of 2^lowest, and at most 2^highest."""
    numerator, denominator = number.as_integer_ratio()
    scaled = numerator * (1 << 4000) // denominator  # exact: a double has no more than 1074 binary places
    return scaled % (1 << (4000 + where.lowest)) == 0 and abs(scaled) <= 1 << (4000 + where.highest)


@given(finite, finite)
def test_exponents_hold_what_operations_give(a: float, b: float) -> None:
    """Sums, differences and products lie where the operands' exponents say, rounded, if they are finite."""
    first, second = exponents_of(a), exponents_of(b)
    assert lies_in(a, first)
    results = [(a + b, first.plus(second)), (a - b, first.plus(second)), (a * b, first.times(second))]
    for result, where in results:
        if math.isfinite(result):
            assert lies_in(result, Exponents(max(where.lowest, -1074), where.highest))
    both = exponents_of_all(np.array([a, b]))
    assert lies_in(a, both)
    assert lies_in(b, both)


@given(
    st.integers(-1074, 900),
    st.integers(0, 400),
    st.lists(st.integers(0, (1 << 53) - 1), min_size=1, max_size=60),
)
def test_an_expansion_is_no_longer_than_its_exponents_allow(
    lowest: int, width: int, whole: list[int]
) -> None:
    """Whatever numbers are added."""
    top = min(lowest + width, 960)
    exponents = (max(lowest, top - index % 97) for index in range(len(whole)))
    numbers = [math.ldexp(number, exponent) for number, exponent in zip(whole, exponents, strict=False)]
    highest = max(exponents_of(number).highest for number in numbers)
    where = Exponents(lowest, max(highest, lowest)).added(len(numbers))
    assert len(ExactSum.of(numbers).expansion) <= where.longest_expansion


def test_the_longest_expansion_is_hardly_longer_than_one_that_there_is() -> None:
    """Powers of two that are just too far apart for one double need one double each."""
    numbers = [math.ldexp(1.0, exponent) for exponent in range(1023, -1075, -54)]
    assert len(ExactSum.of(numbers).expansion) == len(numbers) == 39
    assert LONGEST_EXPANSION == 40


@pytest.mark.parametrize("data_type", DATA_TYPES, ids=str)
def test_the_exponents_of_a_data_type_are_those_of_its_numbers(data_type: np.dtype[Any]) -> None:
    """The smallest and the largest numbers lie there, and would not in a smaller range."""
    where, of = exponents(data_type), limits(data_type)
    for number in (of.smallest_subnormal, of.max, of.min):
        assert lies_in(number, where)
    assert not lies_in(of.smallest_subnormal, Exponents(where.lowest + 1, where.highest))
    assert not lies_in(of.min, Exponents(where.lowest, where.highest - 1))


def wide(size: int, data_type: np.dtype[Any], seed: int) -> NDArray[Any]:
    """Elements of all magnitudes that the data type has, with random bits and signs, and zeros."""
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (size, data_type.itemsize), dtype=np.uint8)
    elements = np.ascontiguousarray(raw).view(data_type).reshape(-1)
    with np.errstate(invalid="ignore"):
        finite_ones = np.isfinite(elements.astype(np.float64))
    return np.where(finite_ones, elements, np.zeros(1, data_type)).astype(data_type)


def shape_of(case: Case) -> tuple[int, ...]:
    """The case's shape, or a longer one where any will do."""
    regularizer = case.regularizer.on(case.shape)
    return (SIZE,) if regularizer.traits.takes_weights else case.shape


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@for_each("data_type", DATA_TYPES)
@for_each("method", [Method.PENALTY, Method.PROXIMAL_STEP])
def test_no_figure_is_wider_than_its_bound(case: Case, data_type: np.dtype[Any], method: Method) -> None:
    """Of no regularizer, in no data type, with elements, references and weights of all magnitudes."""
    shape = shape_of(case)
    size = math.prod(shape)
    regularizer = case.regularizer
    call = Call(
        method,
        Layout(data_type, (Segment("w", shape, regularizer),)),
        step_size=0.3,
        propagate_non_finite=True,
    )
    operands = {"parameters": wide(size, data_type, 1)}
    if regularizer.takes_reference:
        operands["reference"] = wide(size, data_type, 2)
    if regularizer.takes_weights:
        weights = wide(size, data_type, 3)
        operands["weights"] = np.where(weights < 0, np.zeros(1, data_type), weights).astype(data_type)
    out = None if method is Method.PENALTY else np.empty(size, data_type)
    summary = run_whole(call, Chunk(0, **operands), out, MemoryBudget(1 << 30))
    (bounds,) = figure_bounds(call, call.layout.segments)
    (segment,) = summary.segments
    for figure in ("penalty", "squared_distance"):
        total, most = getattr(segment.figures, figure), getattr(bounds, figure)
        assert (total is None) == (most is None)
        assert total is None or len(total.expansion) <= most
