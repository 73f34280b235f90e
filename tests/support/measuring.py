"""A vector in parts, measured in rounds and then computed, as several places would do it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from regularization_kernels.engine import (
    Chunk,
    Combination,
    Measurement,
    Measuring,
    MemoryBudget,
    Method,
    Round,
    Run,
    Summary,
)

from tests.support.engine_streams import PLENTY, chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from regularization_kernels.engine import Call

    Operands = dict[str, NDArray[Any]]


@dataclass
class Outcome:
    """What came out, and what it took."""

    values: NDArray[Any]
    summary: Summary
    measurement: bytes
    rounds: int
    most_statistics: int
    """Bytes of the longest statistics."""
    most_measurement: int
    """Bytes of the longest measurement."""


def round_of(call: Call, measurement: bytes = b"") -> Round:
    """The round that follows a measurement."""
    return Round.after(Measurement.read(call, measurement))


def measured(asked: Round, operands: Operands, begin: int, end: int, cuts: Iterable[int] = ()) -> bytes:
    """The statistics of a part, which comes in chunks."""
    with Measuring(asked, (begin, end), MemoryBudget(PLENTY)) as part:
        own = {name: array[begin:end] for name, array in operands.items()}
        for chunk in chunks_of(own, cuts, begin):
            part.feed(chunk)
        return part.finish()


def combination(call: Call, measurement: bytes, statistics: Sequence[bytes]) -> Combination:
    """Parts put together."""
    parts = Combination(round_of(call, measurement), MemoryBudget(PLENTY))
    for each in statistics:
        parts.add(each)
    return parts


def in_a_tree(
    call: Call, measurement: bytes, statistics: Sequence[bytes], random: np.random.Generator
) -> Combination:
    """Parts put together a few at a time, in any order."""
    rest = list(statistics)
    while True:
        random.shuffle(rest)
        count = int(random.integers(1, len(rest) + 1))
        parts = combination(call, measurement, rest[:count])
        if count == len(rest):
            return parts
        rest = [*rest[count:], parts.statistics()]


def in_parts(
    call: Call, operands: Operands, cuts: Sequence[int], random: np.random.Generator, budget: int = 0
) -> Outcome:
    """A call on a vector in parts: measured until all is known, then computed, with so much to hold."""
    size = call.layout.size
    ends = list(pairwise([0, *sorted(cuts), size]))
    known, rounds, most_statistics, most_measurement = b"", 0, 0, 0
    while True:
        asked = round_of(call, known)
        statistics = [
            measured(asked, operands, begin, end, map(int, random.integers(0, size + 1, 3)))
            for begin, end in ends
        ]
        after = in_a_tree(call, known, statistics, random).measurement()
        known, rounds = after.written(), rounds + 1
        most_statistics = max(most_statistics, *map(len, statistics))
        most_measurement = max(most_measurement, len(known))
        if after.is_complete:
            break
    values, summary = computed(call, known, operands, ends, budget)
    return Outcome(values, summary, known, rounds, most_statistics, most_measurement)


def computed(
    call: Call,
    measurement: bytes,
    operands: Operands,
    ends: Sequence[tuple[int, int]],
    budget: int = 0,
) -> tuple[NDArray[Any], Summary]:
    """The results of all parts, and their figures together."""
    out, summaries = np.zeros_like(operands["parameters"]), []
    for begin, end in ends:
        own = Measurement.read(call, measurement).applied((begin, end))
        with Run(own, MemoryBudget(budget)) as run:
            whole = Chunk(0, **operands)
            for first in range(begin, end, 1111):
                for result in run.feed(whole.part(first, min(first + 1111, end))):
                    place = slice(result.element_offset, result.element_offset + result.values.size)
                    out[place] = result.values
            summaries.append(run.finish())
    values = out[:0] if call.method is Method.PENALTY else out
    return values, Summary.combined(summaries, call.figures, call.method)
