"""A part of a vector as it is measured: its elements in, the statistics of a round out."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple, Self

from ...errors import OperandInconsistent, OperandOutOfRange, ValueNotFinite
from ...interruption import go_on, interruptible
from ...reductions.encoding import read_statistic, statistic_bytes
from ...reductions.packing import Unpacker
from ..budget import Reservation
from ..inspection import Inspection
from ..methods import Method, Operand
from ..succession import Succession
from .coverage import Coverage
from .gathering import Stretch, gathered
from .parts import STATISTIC_BYTES, Answer, Round

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ...reductions.statistics import Statistic
    from ..budget import MemoryBudget
    from ..chunk import Chunk
    from ..prepared_segment import PreparedSegment


class _Place(NamedTuple):
    """A segment of a vector that is asked."""

    segment: PreparedSegment
    position: int
    """Where it begins in its vector."""
    number: int
    """The vector's place among those that are asked."""
    inspection: Inspection


class Measuring:
    """One part on a stream of chunks.

    It holds statistics and nothing of the elements, taken from the budget beforehand. Close it, or use it as
    a context, to give all back. After an error it cannot go on.

    Args:
        asked: What is asked.
        element_range: The part, of any elements, ``(begin, end)``; None for all.
        budget: Where memory is taken from.
        threads: How many work on a chunk at once.
        check: Called now and then, by any of them; what it raises ends the call.

    Raises:
        ElementRangeInvalid: If the range leaves the layout.
        BudgetExceeded: If the statistics do not fit the budget.
    """

    def __init__(
        self,
        asked: Round,
        element_range: tuple[int, int] | None,
        budget: MemoryBudget,
        threads: int = 1,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._round = asked
        self._call = call = asked.measurement.call
        self._threads = threads
        self._check = check
        self._range = asked.element_range(element_range)
        self._succession = Succession(call.layout, *self._range)
        self._places = _places(asked)
        self._ends = [place.segment.end for place in self._places]
        self._answers = [Answer() for _ in asked.pending]
        self._current: tuple[int, Statistic] | None = None
        self._reservation = Reservation(budget)
        if asked.pending:
            self._reservation.add(asked.most_bytes + STATISTIC_BYTES * (1 + threads))

    def feed(self, chunk: Chunk) -> None:
        """Take the next chunk.

        Raises:
            RegularizationError: If the chunk breaks a rule; its field is named as in ``Chunk``.
            Exception: What the check raises.
        """
        self._succession.check(chunk)
        with interruptible(self._check):
            for place in self._places[bisect_right(self._ends, chunk.element_offset) :]:
                begin = max(place.segment.start, chunk.element_offset)
                end = min(place.segment.end, chunk.end)
                if begin >= end:
                    break
                go_on()
                self._measure(place, chunk.part(begin, end))
        self._succession.position = chunk.end

    def finish(self) -> bytes:
        """Say that all elements were there.

        Returns:
            The statistics.

        Raises:
            StreamTooShort: If elements are missing.
        """
        self._succession.check_complete()
        self._leave()
        there = Coverage()
        there.add(*self._range)
        return self._round.written(there, self._answers)

    def close(self) -> None:
        """Give back what is held."""
        self._current = None
        self._reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _measure(self, place: _Place, part: Chunk) -> None:
        """Take in elements of a segment that is asked."""
        operands = part.operands
        if operands != place.inspection.operands:
            place.inspection.take(operands, part)
            self._note_forward(place, part)
        stretch = Stretch(place.segment, part, place.position + part.element_offset - place.segment.start)
        asked, statistic = self._round.pending[place.number].asked, self._statistic(place.number)
        inspect = place.inspection.check_values
        try:
            gathered(self._call, asked, [stretch], statistic, self._threads, self._check, inspect)
        except (ValueNotFinite, OperandOutOfRange):
            for piece in stretch.pieces():  # the first is named, whatever thread was first
                inspect(piece.elements)
            raise

    def _note_forward(self, place: _Place, part: Chunk) -> None:
        """Note whether there is a forward step, for the whole vector."""
        if self._call.method is not Method.PROXIMAL_STEP:
            return
        forward = Operand.LOSS_GRADIENTS in part.operands
        answer = self._answers[place.number]
        if answer.forward is not None and answer.forward is not forward:
            raise OperandInconsistent(
                f"must {'not ' if forward else ''}be set, as in the segments that are reduced together",
                field=Operand.LOSS_GRADIENTS.value,
                segment=place.segment.name,
                element=part.element_offset,
            )
        self._answers[place.number] = answer._replace(forward=forward)

    def _statistic(self, number: int) -> Statistic:
        """The answer of a vector so far. One is there as such, the others as bytes."""
        if self._current is None or self._current[0] != number:
            self._leave()
            question, written = self._round.pending[number].asked.question, self._answers[number].statistic
            size = self._round.pending[number].vector.size
            self._current = (
                number,
                read_statistic(Unpacker(written), question, size) if written else question.of_nothing(),
            )
        return self._current[1]

    def _leave(self) -> None:
        if self._current is not None:
            number, statistic = self._current
            self._answers[number] = self._answers[number]._replace(statistic=statistic_bytes(statistic))
            self._current = None


def _places(asked: Round) -> list[_Place]:
    """The segments that are asked, in the order of their elements."""
    call = asked.measurement.call
    places = [
        _Place(segment, position, number, Inspection(call, segment, measured=True))
        for number, pending in enumerate(asked.pending)
        for segment, position in zip(pending.vector.segments, pending.vector.positions, strict=True)
    ]
    return sorted(places, key=lambda place: place.segment.start)
