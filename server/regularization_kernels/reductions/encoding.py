"""Statistics, the answers that searches took from them, and rules, as bytes; and back, of any bytes.

The bytes are a function of what they stand for, so statistics that are equal have equal bytes. They are
read only against what they are to be: which question a statistic answers, and of how many elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from ..arrays import Float64Array
from ..summation import ExactSum
from .census import BINS, MANTISSA, Census, CensusQuestion, Facts
from .group_loop import DIGIT_BITS, DIGITS, HIGHEST, INFINITE, LOWEST, NAN
from .group_rules import (
    GroupConstant,
    GroupLoweredTimes,
    GroupRule,
    GroupScaled,
    GroupScaledAndSigns,
    GroupTimes,
)
from .group_squares import MOST_GROUPS, GroupSquareQuestion, GroupSquares
from .packing import Integers, Malformed, Packer, Unpacker, width_of
from .rules import Clipped, Constant, Kept, Lowered, Peaks, Rule, Same, SameWithMagnitudes, Times
from .squares import SquareQuestion, SquareSum
from .statistics import Peak, Question, Statistic

_PART = 24
"""Bits of the lower part of offsets in a bin."""
_FEW_BINS = BINS // 16
"""So many bins take no more bytes when each is named than a bit for every one."""
_LONGEST_INTEGER = 9
_HALVINGS = 20
"""A search halves 2^15 bins, and takes a count and a sum each time, and a few more of all."""
_EXPONENTS = 2100
"""Powers of two that float64 has."""
_MOST_DOUBLES = 40
"""Doubles of the longest expansion that there is."""
_LARGEST_SQUARES = (2.0**860, 2.0**908, 2.0**460)
"""What the sums of 2^60 squares of numbers in the middle, of huge and of tiny ones, do not exceed."""


def write_statistic(packer: Packer, statistic: Statistic) -> None:
    """Write the answer to a question."""
    if isinstance(statistic, Census):
        _write_census(packer, statistic)
    elif isinstance(statistic, SquareSum):
        write_squares(packer, statistic)
    elif isinstance(statistic, GroupSquares):
        _write_group_squares(packer, statistic)
    elif isinstance(statistic, Peak):
        write_peak(packer, statistic)
    else:
        raise TypeError(f"{type(statistic).__name__} has no bytes")


def statistic_bytes(statistic: Statistic) -> bytes:
    """The bytes of the answer to a question."""
    packer = Packer()
    write_statistic(packer, statistic)
    return packer.packed()


def read_statistic(unpacker: Unpacker, question: Question[Any], elements: int) -> Statistic:
    """Read the answer of so many elements to a question.

    Raises:
        Malformed: If these bytes are none.
    """
    if isinstance(question, CensusQuestion):
        return _read_census(unpacker, question, elements)
    if isinstance(question, GroupSquareQuestion):
        return _read_group_squares(unpacker, question, elements)
    return read_squares(unpacker) if isinstance(question, SquareQuestion) else read_peak(unpacker)


def most_bytes(question: Question[Any], elements: int) -> int:
    """At least the bytes of the answer of so many elements to a question, whatever they are."""
    if isinstance(question, SquareQuestion):
        return 3 * (1 + 8 * _MOST_DOUBLES) + 2 * _LONGEST_INTEGER
    if isinstance(question, GroupSquareQuestion):
        return 1 + question.count * (1 + DIGITS * _digit_bytes(_largest_digit(question, elements)))
    if not isinstance(question, CensusQuestion):
        return 8 + _LONGEST_INTEGER
    bins, open_bits = min(elements, BINS), question.interval.open_bits
    lower, upper = (width_of(elements * most) for most in _largest_offsets(open_bits))
    named = min(2 * bins, BINS // 8)
    return 8 * _LONGEST_INTEGER + named + bins * (width_of(elements) + lower + upper)


def most_recorded(question: Question[Any]) -> int:
    """At least the bytes of all answers that a search takes from one statistic.

    Of groups they are no more than its rule takes afterwards (``Reduction.most_bytes``), and are left out.
    """
    if isinstance(question, GroupSquareQuestion):
        return 0
    if not isinstance(question, CensusQuestion):
        return most_bytes(question, 0)
    # Sums of 2^60 numbers that lie between these powers of two, or are all smaller.
    exponents = min((BINS << question.interval.open_bits) >> MANTISSA, _EXPONENTS) + 1
    sums = (exponents + MANTISSA + 64) // 8 + 8
    return _HALVINGS * (_LONGEST_INTEGER + sums) + 8 * _LONGEST_INTEGER


def _write_census(packer: Packer, census: Census) -> None:
    write_facts(packer, census.facts())
    bins = np.flatnonzero(census.counts)
    packer.integer(bins.size)
    if bins.size <= _FEW_BINS:
        packer.raw(bins.astype("<u2").tobytes())
    else:
        packer.raw(np.packbits(census.counts != 0, bitorder="little").tobytes())
    packer.array(census.counts[bins])
    for offsets in census.offsets:
        packer.array(offsets[bins])


def _read_census(unpacker: Unpacker, question: CensusQuestion, elements: int) -> Census:
    facts = read_facts(unpacker)
    bins = _read_bins(unpacker, unpacker.integer(min(elements, BINS)))
    counts = unpacker.array(bins.size)
    lower, upper = unpacker.array(bins.size), unpacker.array(bins.size)
    told = sum(counts.tolist()) + facts.above + facts.infinite + facts.nan
    if told > elements or not counts.all():
        raise Malformed(f"counts {told} of {elements} elements")
    if facts.nonzeros > elements:
        raise Malformed(f"counts {facts.nonzeros} of {elements} elements")
    for offsets, most in zip((lower, upper), _largest_offsets(question.interval.open_bits), strict=True):
        pairs = zip(offsets.tolist(), counts.tolist(), strict=True)
        if any(offset > count * most for offset, count in pairs):
            raise Malformed("has numbers outside their bin")
    census = Census(
        question,
        above=facts.above,
        nonzeros=facts.nonzeros,
        first_negative=facts.first_negative,
        infinite=facts.infinite,
        nan=facts.nan,
    )
    census.counts[bins] = counts
    census.offsets[:, bins] = lower, upper
    return census


def _read_bins(unpacker: Unpacker, count: int) -> Integers:
    if count > _FEW_BINS:
        bits = np.unpackbits(np.frombuffer(unpacker.raw(BINS // 8), np.uint8), bitorder="little")
        bins = np.flatnonzero(bits)
        if bins.size != count:
            raise Malformed(f"names {bins.size} bins in place of {count}")
        return bins
    bins = np.frombuffer(unpacker.raw(2 * count), "<u2").astype(np.int64)
    if (np.diff(bins, append=BINS) <= 0).any():
        raise Malformed("names bins out of order")
    return bins


def _largest_offsets(open_bits: int) -> tuple[int, int]:
    """The largest lower and upper part of an offset within a bin of so many open bits."""
    return (1 << min(open_bits, _PART)) - 1, (1 << max(open_bits - _PART, 0)) - 1


def write_facts(packer: Packer, facts: Facts) -> None:
    """Write what a census says beside its bins."""
    for number in (facts.nonzeros, facts.infinite, facts.nan, facts.above):
        packer.integer(number)
    packer.integer(facts.first_negative is not None)
    if facts.first_negative is not None:
        packer.integer(facts.first_negative[0])
        packer.double(facts.first_negative[1])


def read_facts(unpacker: Unpacker) -> Facts:
    """Read what a census says beside its bins."""
    nonzeros, infinite, nan, above = (unpacker.integer() for _ in range(4))
    negative = (unpacker.integer(), unpacker.double()) if unpacker.integer(1) else None
    return Facts(nonzeros, negative, infinite, nan, above)


def write_squares(packer: Packer, squares: SquareSum) -> None:
    """Write a sum of squares."""
    for doubles in (squares.middle, squares.huge, squares.tiny):
        packer.doubles(doubles)
    packer.integer(squares.infinite)
    packer.integer(squares.nan)


def read_squares(unpacker: Unpacker) -> SquareSum:
    """Read a sum of squares."""
    middle, huge, tiny = (_read_squares_sum(unpacker, most) for most in _LARGEST_SQUARES)
    return SquareSum(middle, huge, tiny, unpacker.integer(), unpacker.integer())


def _read_squares_sum(unpacker: Unpacker, most: float) -> tuple[float, ...]:
    doubles = read_sum(unpacker)
    if doubles and not 0 < doubles[0] <= most:
        raise Malformed(f"has a sum of squares of {doubles[0]!r}")
    return doubles


def _write_group_squares(packer: Packer, sums: GroupSquares) -> None:
    packer.raw((sums.levels - LOWEST).astype(np.uint8).tobytes())
    width = _digit_bytes(max(int(np.max(sums.digits)), -int(np.min(sums.digits)) - 1))
    packer.integer(width)
    octets = np.ascontiguousarray(sums.digits.astype("<i8")).view(np.uint8)
    packer.raw(np.ascontiguousarray(octets.reshape(-1, 8)[:, :width]).tobytes())


def _read_group_squares(unpacker: Unpacker, question: GroupSquareQuestion, elements: int) -> GroupSquares:
    sums = question.of_nothing()
    sums.levels[:] = np.frombuffer(unpacker.raw(question.count), np.uint8)
    sums.levels += LOWEST
    has_digits = sums.levels <= HIGHEST
    if not np.isin(sums.levels[~has_digits], (INFINITE, NAN)).all():
        raise Malformed("has a level that there is not")
    most = _largest_digit(question, elements)
    width = unpacker.integer(_digit_bytes(most))
    if not width:
        raise Malformed("has digits of no bytes")
    octets = np.frombuffer(unpacker.raw(DIGITS * question.count * width), np.uint8).reshape(-1, width)
    whole = np.where(octets[:, -1:] < 0x80, np.uint8(0), np.uint8(0xFF)).repeat(8, axis=1)
    whole[:, :width] = octets
    sums.digits[...] = whole.view("<i8").reshape(DIGITS, question.count)
    if np.max(sums.digits) > most or np.min(sums.digits) < -most or (sums.digits[0] < 0).any():
        raise Malformed("has digits that squares cannot add up to")
    if sums.digits[:, ~has_digits | (sums.levels == LOWEST)].any():
        raise Malformed("has digits where there are none")
    return sums


def _largest_digit(question: GroupSquareQuestion, elements: int) -> int:
    """At least the magnitude of a sum of digits."""
    return min(elements, question.size) << (DIGIT_BITS - 1)


def _digit_bytes(most: int) -> int:
    """Bytes of each of several digits: at most this, and no less than the negative of it less 1."""
    return max((most.bit_length() + 8) // 8, 1)


def write_numbers(packer: Packer, numbers: Float64Array) -> None:
    """Write doubles, of which others know how many there are; of NaN there is one."""
    packer.raw(np.where(np.isnan(numbers), np.nan, numbers).astype("<f8").tobytes())


def read_numbers(unpacker: Unpacker, count: int) -> Float64Array:
    """Read so many doubles."""
    return np.frombuffer(unpacker.raw(8 * count), "<f8").astype(np.float64)


def _write_table(packer: Packer, numbers: Float64Array) -> None:
    packer.integer(numbers.size)
    write_numbers(packer, numbers)


def _read_table(unpacker: Unpacker) -> Float64Array:
    return read_numbers(unpacker, unpacker.integer(MOST_GROUPS))


def read_sum(unpacker: Unpacker) -> tuple[float, ...]:
    """Read the doubles of an exact sum."""
    doubles = unpacker.doubles(_MOST_DOUBLES)
    if not all(map(math.isfinite, doubles)):
        if len(doubles) > 1:
            raise Malformed("has a sum that is not finite, and goes on")
        return doubles
    if ExactSum.of(doubles).expansion != doubles:
        raise Malformed("has a sum that is no expansion")
    return doubles


def write_peak(packer: Packer, peak: Peak) -> None:
    """Write a largest magnitude."""
    packer.double(peak.largest)
    packer.integer(peak.ties)


def read_peak(unpacker: Unpacker) -> Peak:
    """Read a largest magnitude."""
    peak = Peak(unpacker.double(), unpacker.integer())
    if peak.largest < 0:
        raise Malformed(f"has a magnitude of {peak.largest!r}")
    return peak


_RULES: tuple[type[Any], ...] = (
    Same,
    Constant,
    Times,
    Lowered,
    Clipped,
    Kept,
    Peaks,
    SameWithMagnitudes,
    GroupConstant,
    GroupTimes,
    GroupScaled,
    GroupLoweredTimes,
    GroupScaledAndSigns,
)
"""All rules; the first byte of one is its place here, and its fields follow."""

_WRITERS: dict[str, Callable[[Packer, Any], None]] = {
    "float": Packer.double,
    "int": Packer.integer,
    "bool": Packer.integer,
    "Float64Array": _write_table,
}
_READERS: dict[str, Callable[[Unpacker], Any]] = {
    "float": Unpacker.double,
    "int": Unpacker.integer,
    "bool": lambda unpacker: bool(unpacker.integer(1)),
    "Float64Array": _read_table,
}

MOST_RULE_BYTES = 1 + 2 * _LONGEST_INTEGER
"""Bytes of the longest rule that has no figures of groups."""


def most_group_rule_bytes(groups: int) -> int:
    """At least the bytes of a rule with figures of so many groups: two of each, and two numbers of all."""
    return 1 + 3 * _LONGEST_INTEGER + 2 * 8 * (groups + 1)


def write_rule(packer: Packer, rule: Rule) -> None:
    """Write what becomes of each element."""
    packer.integer(_RULES.index(type(rule)))
    for field in fields(rule):
        _WRITERS[str(field.type)](packer, getattr(rule, field.name))


def read_rule(unpacker: Unpacker) -> Rule:
    """Read what becomes of each element.

    Raises:
        Malformed: If there is no rule, or its figures are of different groups, or of none.
    """
    kind = _RULES[unpacker.integer(len(_RULES) - 1)]
    rule: Rule = kind(*[_READERS[str(field.type)](unpacker) for field in fields(kind)])
    if isinstance(rule, GroupRule):
        groups = {table.size for table in rule.tables}
        if len(groups) != 1 or groups == {0} or not rule.inner:
            raise Malformed("has figures of no groups")
    return rule
