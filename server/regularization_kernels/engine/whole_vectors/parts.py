"""The statistics of parts of a vector, as bytes that travel and merge: in any order, to the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from ...errors import ElementRangeInvalid, StatisticsInvalid
from ...reductions.census import BINS
from ...reductions.encoding import most_bytes, read_statistic, statistic_bytes
from ...reductions.group_loop import DIGITS
from ...reductions.group_squares import MOST_GROUPS
from ...reductions.packing import Malformed, Packer, Unpacker
from ..budget import Reservation
from .coverage import Coverage, Range, joined
from .measurement import DIGEST_BYTES, VERSION, Measurement, Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from ...arrays import DataType
    from ...reductions.statistics import Statistic
    from ..budget import MemoryBudget
    from .resolution import Vector

STATISTIC_BYTES = max(4 * 8 * BINS, (DIGITS + 3) * 8 * MOST_GROUPS)
"""At least the bytes of a statistic in memory: counts and sums of bins, or digits and levels of groups."""

MOST_BYTES = 1 << 20
"""Bytes of the statistics of any parts of any vector."""

MOST_RANGES = 10_000
"""Ranges of elements that the parts of a vector may be in, as far as they do not follow each other."""

MOST_MISSING = 10_000
"""Ranges in which missing elements are told."""


class Answer(NamedTuple):
    """What some elements of a vector answer."""

    statistic: bytes = b""
    """Nothing where there are no elements."""
    forward: bool | None = None
    """Whether there are loss gradients; None where there are no elements, or it makes no difference."""


@dataclass(frozen=True, slots=True)
class Round:
    """What is asked of all parts at once.

    Args:
        measurement: What is known before.
        pending: The vectors that are asked, and what.
        digest: What the answers belong to.
    """

    measurement: Measurement
    pending: tuple[Pending, ...]
    digest: bytes

    @classmethod
    def after(cls, measurement: Measurement) -> Round:
        """The round that follows.

        Raises:
            MeasurementInvalid: If a record of the measurement is none.
        """
        return cls(measurement, measurement.pending(), measurement.digest())

    @property
    def data_type(self) -> DataType:
        """That of the elements."""
        return self.measurement.call.layout.data_type

    def element_range(self, part: tuple[int, int] | None) -> tuple[int, int]:
        """The ends of a part of the vector; None is all of it.

        Raises:
            ElementRangeInvalid: If it leaves the layout.
        """
        layout = self.measurement.call.layout
        if part is None:
            return 0, layout.size
        try:
            layout.check_within(*part)
        except ElementRangeInvalid as error:
            error.within("element_range")
            raise
        return part

    @property
    def most_bytes(self) -> int:
        """At least the bytes of what all elements answer."""
        return sum(most_bytes(each.asked.question, each.vector.size) for each in self.pending)

    def missing(self, there: Coverage | None = None) -> list[Range]:
        """Where elements lie that are asked and not there, in a few ranges."""
        return _missing([each.vector for each in self.pending], there or Coverage())

    def first_measured(self) -> list[Range]:
        """Where elements lie that some round asks, in a few ranges; none after the first round."""
        return [] if self.measurement.rounds else _missing(self.measurement.vectors, Coverage())

    def written(self, there: Coverage, answers: list[Answer]) -> bytes:
        """The bytes of what the elements that are there answer to each question."""
        packer = Packer()
        packer.integer(VERSION)
        packer.raw(self.digest)
        packer.integer(len(there.ranges))
        for begin, end in there.ranges:
            packer.integer(begin)
            packer.integer(end - begin)
        for answer in answers:
            packer.optional(answer.forward)
            packer.block(answer.statistic)
        return packer.packed()

    def read(self, data: bytes | memoryview) -> tuple[Coverage, list[Answer]]:
        """The same from its bytes, of which the answers are still to be read.

        Raises:
            StatisticsInvalid: If they are of another call or round.
            Malformed: If they are no statistics.
        """
        unpacker = Unpacker(data)
        if unpacker.raw(1)[0] != VERSION:
            raise Malformed("is of another version")
        if unpacker.raw(DIGEST_BYTES) != self.digest:
            raise StatisticsInvalid("must be of the header and its measurement", field="statistics")
        there, last = Coverage(), -1
        for _ in range(unpacker.integer(MOST_RANGES)):
            begin = unpacker.integer(self.measurement.call.layout.size)
            end = begin + unpacker.integer(self.measurement.call.layout.size - begin)
            if begin <= last or begin == end:
                raise Malformed("has ranges out of order")
            there.add(begin, end)
            last = end
        answers = []
        for _ in self.pending:
            forward = unpacker.optional()
            answers.append(Answer(bytes(unpacker.block()), forward))
        unpacker.check_over()
        return there, answers

    def statistic(self, pending: Pending, there: Coverage, answer: Answer) -> Statistic | None:
        """What the elements that are there answer to a question; None where none are.

        Raises:
            Malformed: If the bytes are no such answer.
        """
        elements = sum(there.count(segment.start, segment.end) for segment in pending.vector.segments)
        if not elements:
            if answer != Answer():
                raise Malformed("has an answer of no elements")
            return None
        unpacker = Unpacker(answer.statistic)
        statistic = read_statistic(unpacker, pending.asked.question, elements)
        unpacker.check_over()
        return statistic


class Combination:
    """Statistics of parts, put together.

    It holds those of two parts at most, taken from the budget beforehand. Close it, or use it as a context,
    to give all back.

    Args:
        asked: The round in which they were measured.
        budget: Where memory is taken from.
        check: Called before each part, and each vector of the whole; what it raises ends the call.

    Raises:
        BudgetExceeded: If the statistics do not fit the budget.
    """

    def __init__(self, asked: Round, budget: MemoryBudget, check: Callable[[], None] | None = None) -> None:
        self._round = asked
        self._check = check
        self._reservation = Reservation(budget)
        if asked.pending:
            self._reservation.add(2 * asked.most_bytes + 2 * STATISTIC_BYTES)
        self._there = Coverage()
        self._answers = [Answer() for _ in asked.pending]

    def add(self, data: bytes | memoryview) -> None:
        """Take in what a part answers, or several parts together.

        Raises:
            StatisticsInvalid: If the bytes are no statistics, or of another call or round.
            StatisticsOverlap: If an element is in two parts.
        """
        if self._check is not None:
            self._check()
        try:
            there, answers = self._round.read(data)
            merged = [
                self._merged(each, mine, there, its)
                for each, mine, its in zip(self._round.pending, self._answers, answers, strict=True)
            ]
        except Malformed as error:
            text = f"must be what Measure or Combine gave: it {error}"
            raise StatisticsInvalid(text, field="statistics") from error
        for begin, end in there.ranges:
            self._there.add(begin, end)
        if len(self._there.ranges) > MOST_RANGES:
            text = f"must leave at most {MOST_RANGES} ranges with gaps between them"
            raise StatisticsInvalid(text, field="statistics")
        self._answers = merged

    def close(self) -> None:
        """Give back what is held."""
        self._reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _merged(self, pending: Pending, mine: Answer, there: Coverage, its: Answer) -> Answer:
        statistic = self._round.statistic(pending, there, its)
        if statistic is None:
            return mine
        known = self._round.measurement.known[pending.number].forward
        for forward in (known, mine.forward):
            if None not in (forward, its.forward) and forward is not its.forward:
                with_or_without = ("without", "with")[bool(forward)]
                text = f"must be measured {with_or_without} loss gradients, as others were"
                segment = pending.vector.segments[0].name
                raise StatisticsInvalid(text, field="statistics", segment=segment)
        whole = self._round.statistic(pending, self._there, mine)
        if whole is None:
            whole = statistic
        else:
            whole.merge(statistic)
        return Answer(statistic_bytes(whole), its.forward)

    def missing(self) -> list[Range]:
        """Where elements lie that are asked and in no part, in a few ranges."""
        return self._round.missing(self._there)

    def first_measured(self) -> list[Range]:
        """Where elements lie that some round asks, in a few ranges; none after the first round."""
        return self._round.first_measured()

    def statistics(self) -> bytes:
        """The bytes of what all parts answer together."""
        return self._round.written(self._there, self._answers)

    def measurement(self) -> Measurement:
        """What is known after this round, of which no element is missing.

        Raises:
            GradientUndefined: If a penalty has no gradient there.
            ValueError: If elements are missing.
        """
        return self._round.measurement.after(self._whole())

    def _whole(self) -> Iterator[tuple[Pending, Statistic, bool | None]]:
        for pending, answer in zip(self._round.pending, self._answers, strict=True):
            if self._check is not None:
                self._check()
            statistic = self._round.statistic(pending, self._there, answer)
            if statistic is None:
                raise ValueError("there are elements missing")
            yield pending, statistic, answer.forward


def _missing(vectors: Iterable[Vector], there: Coverage) -> list[Range]:
    ranges = [
        missing
        for vector in vectors
        for segment in vector.segments
        for missing in there.missing(segment.start, segment.end)
    ]
    return joined(sorted(ranges), MOST_MISSING)
