"""The answers that a search took, in the order in which it took them: enough to go the same way again.

A census is large, and a search takes a few numbers of it. Given the same answers it asks the same, so answers
are recorded without what was asked. A replay reads the record to its end; what is asked for then is the next
question.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

from ..arrays import Float64Array
from .census import BINS, CensusQuestion, Facts, Spread
from .encoding import (
    read_facts,
    read_numbers,
    read_peak,
    read_squares,
    write_facts,
    write_numbers,
    write_peak,
    write_squares,
)
from .group_squares import GroupSquareQuestion
from .packing import Packer, Unpacker
from .squares import SquareQuestion
from .statistics import Question, Statistic

T = TypeVar("T")


class Unanswered(Exception):
    """The record ends before the answer that is asked for.

    Attributes:
        question: What has to be answered next.
        part: Of which numbers.
    """

    def __init__(self, question: Question[Any], part: Any) -> None:
        super().__init__(question, part)
        self.question = question
        self.part = part


class _Asked(NamedTuple):
    question: Question[Any]
    part: Any


class Tape:
    """A record that is read to its end, and then goes on with what one statistic answers.

    Args:
        recorded: The answers so far, as ``record`` gave them.
        statistic: The answer to the question that comes after them; None for none.
    """

    def __init__(self, recorded: bytes | memoryview = b"", statistic: Statistic | None = None) -> None:
        self._unpacker = Unpacker(recorded)
        self._packer = Packer()
        self._packer.raw(recorded)
        self._known: dict[Hashable, Any] = {}
        self._statistic = statistic
        self._answered: _Asked | None = None

    def record(self) -> bytes:
        """All answers."""
        return self._packer.packed()

    def answer(self, question: Question[Any], part: Any) -> Any:
        """The answer to a question, which a search takes as it takes a statistic.

        Args:
            question: The question.
            part: Of which numbers it is asked: anything that tells them apart.

        Raises:
            Unanswered: By this, or by what it gives, where the record ends.
            Malformed: Likewise, where it has something else.
        """
        asked = _Asked(question, part)
        if isinstance(question, CensusQuestion):
            return RecordedCensus(question, asked, self)
        if isinstance(question, GroupSquareQuestion):
            return RecordedNorms(question, asked, self)
        form = _SQUARES if isinstance(question, SquareQuestion) else _PEAK
        return self.take(asked, None, form, lambda statistic: statistic)

    def take(self, asked: _Asked, what: Hashable, form: Form[T], live: Callable[[Any], T]) -> T:
        """One answer: known, or the next of the record, or taken from the statistic and recorded.

        Args:
            asked: The question.
            what: What of its answer.
            form: How that is written.
            live: Takes it from a statistic.
        """
        key = (asked, what)
        if key not in self._known:
            self._known[key] = self._next(asked, form, live)
        found: T = self._known[key]
        return found

    def _next(self, asked: _Asked, form: Form[T], live: Callable[[Any], T]) -> T:
        if not self._unpacker.is_over:
            return form.read(self._unpacker)
        if self._answered is None:
            self._answered = asked
        if self._statistic is None or asked != self._answered:
            raise Unanswered(*asked)
        found = live(self._statistic)
        form.write(self._packer, found)
        return found


class RecordedCensus:
    """What a search takes from a census, which is a record of it, or still there.

    Args:
        question: The census's.
        asked: The same, and of which numbers.
        tape: Where the answers are.
    """

    def __init__(self, question: CensusQuestion, asked: _Asked, tape: Tape) -> None:
        self.question = question
        self._asked = asked
        self._tape = tape

    def facts(self) -> Facts:
        """How many numbers are of which kind."""
        return self._take(None, _FACTS, lambda census: census.facts())

    def count(self, begin: int, end: int = BINS) -> int:
        """How many keys the bins from ``begin`` to before ``end`` have."""
        return self._take(("count", begin, end), _COUNT, lambda census: census.count(begin, end))

    def mass(self, begin: int, end: int = BINS) -> Fraction:
        """The exact sum of the numbers (or magnitudes) in the bins from ``begin`` to before ``end``."""
        return self._take(("mass", begin, end), _MASS, lambda census: census.mass(begin, end))

    def holds_one_number(self, place: int) -> bool:
        """Whether all keys in a bin are its first."""
        # In a bin of one key there is nothing to tell apart: else a false record might have a search go on
        # for ever.
        if not self.question.interval.open_bits:
            return True
        return bool(self._take(("one", place), _FLAG, lambda census: census.holds_one_number(place)))

    def bin_of(self, rank: int) -> tuple[int, int]:
        """The bin of the ``rank``-th key, from 1 on, and how many keys the bins before it have."""
        return self._take(("bin", rank), _BIN, lambda census: census.bin_of(rank))

    def _take(self, what: Hashable, form: Form[T], live: Callable[[Spread], T]) -> T:
        return self._tape.take(self._asked, what, form, live)


class RecordedNorms:
    """What a search takes from the sums of groups' squares, which is a record of it, or still there.

    Args:
        question: The sums'.
        asked: The same, and of which numbers.
        tape: Where the answers are.
    """

    def __init__(self, question: GroupSquareQuestion, asked: _Asked, tape: Tape) -> None:
        self._asked = asked
        self._tape = tape
        self._form: Form[Float64Array] = Form(
            write_numbers, lambda unpacker: read_numbers(unpacker, question.count)
        )

    def norms(self) -> Float64Array:
        """Each group's norm."""
        return self._tape.take(self._asked, "norms", self._form, lambda sums: sums.norms())

    def quotients(self, bounds: Float64Array) -> tuple[Float64Array, Float64Array]:
        """By what each group is to be divided, then multiplied, for its norm to be no more than a bound."""
        divisors = self._tape.take(
            self._asked, "divisors", self._form, lambda sums: sums.quotients(bounds)[0]
        )
        factors = self._tape.take(self._asked, "factors", self._form, lambda sums: sums.quotients(bounds)[1])
        return divisors, factors


class Form(NamedTuple, Generic[T]):
    """How an answer is written and read."""

    write: Callable[[Packer, T], None]
    read: Callable[[Unpacker], T]


def _write_bin(packer: Packer, found: tuple[int, int]) -> None:
    for number in found:
        packer.integer(number)


_FACTS = Form(write_facts, read_facts)
_COUNT = Form(Packer.integer, Unpacker.integer)
_MASS = Form(Packer.dyadic, Unpacker.dyadic)
_FLAG = Form(Packer.integer, lambda unpacker: unpacker.integer(1))
_BIN = Form(_write_bin, lambda unpacker: (unpacker.integer(BINS - 1), unpacker.integer()))
_SQUARES = Form(write_squares, read_squares)
_PEAK = Form(write_peak, read_peak)
