"""Statistics and measurements as bytes: what is written comes back, and any bytes are answered or refused."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import fields
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import L1Ball, L2Ball, L2Norm, LinfNorm, Regularizer, Simplex, TopK
from regularization_kernels.engine import Chunk, Measurement, MemoryBudget, Method, Run
from regularization_kernels.engine.whole_vectors.coverage import Coverage, joined
from regularization_kernels.engine.whole_vectors.measurement import DIGEST_BYTES
from regularization_kernels.errors import (
    GradientUndefined,
    MeasurementInvalid,
    RegularizationError,
    StatisticsInvalid,
    StatisticsOverlap,
)
from regularization_kernels.reductions import group_rules, rules
from regularization_kernels.reductions.census import BINS, CensusQuestion, Interval, Order
from regularization_kernels.reductions.encoding import (
    MOST_RULE_BYTES,
    most_bytes,
    most_group_rule_bytes,
    read_rule,
    read_statistic,
    statistic_bytes,
    write_rule,
)
from regularization_kernels.reductions.group_squares import GroupSquareQuestion
from regularization_kernels.reductions.packing import LARGEST, Malformed, Packer, Unpacker
from regularization_kernels.reductions.squares import SquareQuestion
from regularization_kernels.reductions.statistics import PeakQuestion

from tests.engine.test_reduced import only
from tests.support.engine_streams import PLENTY, a_call
from tests.support.measuring import combination, measured, round_of

if TYPE_CHECKING:
    from regularization_kernels.engine import Call
    from regularization_kernels.reductions.statistics import Question

SIZE = 300
NUMBERS = st.one_of(
    st.floats(), st.floats(-10, 10, width=32), st.sampled_from([0.0, 1e308, -1e308, 5e-324, 2.0**28, 1.0])
)
VECTORS = st.lists(NUMBERS, max_size=40).map(lambda numbers: np.array(numbers, np.float64))
QUESTIONS: list[Question[Any]] = [
    SquareQuestion(),
    PeakQuestion(),
    GroupSquareQuestion(3, 2, 40),
    CensusQuestion(Order.MAGNITUDES, Interval((1023 - 100) << 52, 44)),
    CensusQuestion(Order.NUMBERS, Interval(1 << 63, 47)),
    CensusQuestion(Order.MAGNITUDES, Interval(1023 << 52, 0)),
    CensusQuestion(Order.POSITIONS, Interval(0, 3), 1.0),
]
REGULARIZERS: list[Regularizer] = [
    TopK(count=30),
    L1Ball(radius=2.0),
    Simplex(radius=2.0),
    L2Ball(radius=2.0),
    L2Norm(strength=0.5),
    LinfNorm(strength=0.5),
]
REFUSALS = (GradientUndefined, MeasurementInvalid, StatisticsInvalid, StatisticsOverlap)


@settings(deadline=None)
@given(st.one_of(st.integers(0, LARGEST), st.integers(0, 300)), NUMBERS, st.sampled_from([None, False, True]))
def test_numbers_come_back(integer: int, number: float, flag: bool | None) -> None:
    """Integers, doubles and flags, with one NaN."""
    packer = Packer()
    packer.integer(integer)
    packer.double(number)
    packer.optional(flag)
    packer.dyadic(Fraction(0 if not math.isfinite(number) else number) * 3)
    unpacker = Unpacker(packer.packed())
    assert unpacker.integer() == integer
    assert repr(unpacker.double()) == repr(math.nan if math.isnan(number) else number)
    assert unpacker.optional() is flag
    assert unpacker.dyadic() == Fraction(0 if not math.isfinite(number) else number) * 3
    assert unpacker.is_over


@pytest.mark.parametrize("question", QUESTIONS, ids=repr)
@settings(deadline=None)
@given(x=VECTORS)
def test_statistics_come_back(question: Question[Any], x: Any) -> None:
    """With the same bytes when they are written again, and no more of them than was said before."""
    statistic = question.of_nothing()
    with np.errstate(all="ignore"):
        statistic.add(x, 7)
    data = statistic_bytes(statistic)
    assert len(data) <= most_bytes(question, x.size)
    again = read_statistic(Unpacker(data), question, x.size)
    assert statistic_bytes(again) == data
    other = question.of_nothing()
    other.merge(again)
    assert statistic_bytes(other) == data


RULES = [
    each
    for each in (*vars(rules).values(), *vars(group_rules).values())
    if isinstance(each, type)
    and issubclass(each, rules.Rule)
    and each not in (rules.Rule, group_rules.GroupRule)
]


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_every_rule_comes_back(kind: type[Any]) -> None:
    """With its numbers, in at most as many bytes as was said."""
    table = np.array([0.25, math.nan, -0.0])
    values = {"float": -0.1, "int": LARGEST, "bool": True, "Float64Array": table}
    rule = kind(**{field.name: values[str(field.type)] for field in fields(kind)})
    packer = Packer()
    write_rule(packer, rule)
    of_groups = isinstance(rule, group_rules.GroupRule)
    assert len(packer) <= (most_group_rule_bytes(table.size) if of_groups else MOST_RULE_BYTES)
    again = read_rule(Unpacker(packer.packed()))
    assert type(again) is kind
    for field in fields(kind):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(rule, field.name))


def test_rules_of_no_groups_are_refused() -> None:
    """Without figures, with figures of different groups, or without elements of one."""
    one, two = np.ones(1), np.ones(2)
    for rule in (
        group_rules.GroupTimes(3, one[:0]),
        group_rules.GroupTimes(0, one),
        group_rules.GroupScaled(3, one, two),
    ):
        packer = Packer()
        write_rule(packer, rule)
        with pytest.raises(Malformed):
            read_rule(Unpacker(packer.packed()))


def census_bytes(counts: dict[int, int], *, nonzeros: int = 0, offsets: tuple[int, int] = (0, 0)) -> bytes:
    """The bytes of a census that claims so many keys in these bins."""
    packer = Packer()
    for number in (nonzeros, 0, 0, 0, 0, len(counts)):
        packer.integer(number)
    packer.raw(np.array(list(counts), "<u2").tobytes())
    packer.array(np.array(list(counts.values()), np.int64))
    for offset in offsets:
        packer.array(np.full(len(counts), offset, np.int64))
    return packer.packed()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        census_bytes({3: 11}),
        census_bytes({3: 6, 4: 6}),
        census_bytes({4: 1, 3: 1}),
        census_bytes({3: 1, 3 + BINS: 1}),
        census_bytes({3: 0}),
        census_bytes({3: 1}, nonzeros=11),
        census_bytes({3: 2}, offsets=(1 << 25, 0)),
        census_bytes({3: 2}, offsets=(0, 1 << 21)),
        census_bytes({3: 1})[:-1],
        census_bytes({3: 1}) + b"\0",
        b"\xff" * 40,
    ],
    ids=[
        "nothing",
        "too many",
        "too many together",
        "out of order",
        "no such bin",
        "empty bin",
        "too many nonzeros",
        "lower offset",
        "upper offset",
        "cut off",
        "too long",
        "noise",
    ],
)
def test_a_census_that_cannot_be_is_refused(data: bytes) -> None:
    """Of ten elements."""

    def read() -> None:
        unpacker = Unpacker(data)
        read_statistic(unpacker, QUESTIONS[2], 10)
        unpacker.check_over()

    with pytest.raises(Malformed):
        read()


@pytest.mark.parametrize(
    "sums", [(-1.0,), (0.0,), (math.inf,), (math.nan,), (1.0, -1.0), (1.0, 0.5), (1e300,), (1.0,) * 41]
)
def test_a_sum_of_squares_that_cannot_be_is_refused(sums: tuple[float, ...]) -> None:
    """It is an expansion of a number above 0 that squares may add up to."""
    packer = Packer()
    for doubles in (sums, (), ()):
        packer.doubles(doubles)
    packer.integer(0)
    packer.integer(0)
    with pytest.raises(Malformed):
        read_statistic(Unpacker(packer.packed()), SquareQuestion(), 10)


def test_what_is_claimed_is_not_allocated() -> None:
    """Counts and lengths beyond the bytes that are there."""
    packer = Packer()
    packer.integer(LARGEST)
    tracemalloc.start()
    for read in (Unpacker.block, lambda each: each.doubles(LARGEST), lambda each: each.array(1 << 60)):
        with pytest.raises(Malformed):
            read(Unpacker(packer.packed()))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def used(call: Call, data: bytes) -> None:
    """What a client may do with a measurement: ask what comes next, and compute, where it is complete."""
    known = Measurement.read(call, data)
    if known.is_complete:
        with Run(known.applied((5, 9)), MemoryBudget(PLENTY)) as run, np.errstate(all="ignore"):
            run.feed(Chunk(5, np.linspace(-1, 1, 4)))
            run.finish()
    else:
        known.pending()


def changed(data: bytes, random: np.random.Generator, keep: int) -> bytes:
    """Bytes of which some, after the first ones, are others, more or fewer."""
    new = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        at = int(random.integers(keep, max(len(new), keep + 1)))
        what = int(random.integers(4))
        if what == 0:
            new[at : at + int(random.integers(1, 9))] = b""
        elif what == 1:
            new[at:at] = random.bytes(int(random.integers(1, 9)))
        elif at < len(new):
            new[at] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, int(random.integers(256))]))
    return bytes(new)


@pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)
@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_bytes_that_were_changed_do_no_harm(regularizer: Regularizer, method: Method) -> None:
    """Statistics and measurements, changed behind what tells whose they are: any answer, or a refusal."""
    random = np.random.default_rng(len(repr(regularizer)) + len(method.value))
    x = np.round(random.normal(size=SIZE) * 10.0 ** random.integers(-3, 3, SIZE), 4)
    layout = only(regularizer, np.float64, SIZE)
    call = a_call(method, layout)
    known, ends = b"", 0
    for _ in range(8):
        asked = round_of(call, known)
        statistics = [
            measured(asked, {"parameters": x}, 0, 100),
            measured(asked, {"parameters": x}, 100, SIZE),
        ]
        for _ in range(40):
            try:
                parts = combination(
                    call, known, [changed(statistics[0], random, 1 + DIGEST_BYTES), statistics[1]]
                )
                parts.statistics()
                if not parts.missing():
                    used(call, parts.measurement().written())
            except REFUSALS:
                ends += 1
        try:
            after = combination(call, known, statistics).measurement()
        except GradientUndefined:
            return
        known = after.written()
        for _ in range(120):
            try:
                used(call, changed(known, random, 1 + DIGEST_BYTES))
            except RegularizationError:
                ends += 1
        if after.is_complete:
            break
    assert ends > 10


def test_the_first_bytes_tell_the_version() -> None:
    """Those of another are refused, and so is what is too long to be one."""
    call = a_call(Method.PROXIMAL_STEP, only(TopK(count=3), np.float64, SIZE))
    statistics = measured(round_of(call), {"parameters": np.ones(SIZE)}, 0, SIZE)
    with pytest.raises(StatisticsInvalid, match="another version"):
        combination(call, b"", [b"\x03" + statistics[1:]])
    known = combination(call, b"", [statistics]).measurement().written()
    with pytest.raises(MeasurementInvalid, match="another version"):
        Measurement.read(call, b"\x03" + known[1:])
    with pytest.raises(MeasurementInvalid, match="at most"):
        Measurement.read(call, bytes(1 << 20))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=12), st.integers(1, 4))
def test_ranges_cover_elements_once(ranges: list[tuple[int, int]], most: int) -> None:
    """Whatever their order: which are there, how many, which are missing, and the first that comes again."""
    coverage, there = Coverage(), set[int]()
    for begin, size in ranges:
        new = set(range(begin, begin + size))
        if new & there:
            with pytest.raises(StatisticsOverlap) as caught:
                coverage.add(begin, begin + size)
            assert caught.value.element == min(new & there)
        else:
            coverage.add(begin, begin + size)
            there |= new
    found = coverage.ranges
    assert {element for begin, end in found for element in range(begin, end)} == there
    assert all(first[1] < second[0] for first, second in pairwise(found))
    for begin, end in ((0, 40), (7, 7), (11, 23)):
        assert coverage.count(begin, end) == len(there & set(range(begin, end)))
        missing = [element for low, high in coverage.missing(begin, end) for element in range(low, high)]
        assert missing == sorted(set(range(begin, end)) - there)
    few = joined(found, most)
    assert len(few) <= most
    assert there <= {element for begin, end in few for element in range(begin, end)}
