"""Long segments whose elements are all there: their rules, by statistics of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ...errors import BudgetExceeded
from ...reductions.sampled_survey import SampledSurvey, most_memory, sample_size
from ..budget import Reservation
from ..methods import Operand
from .gathering import Stretch, gathered, sampled
from .resolution import Vector, joint_vectors, resolution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...reductions.reduction import Reduction
    from ...reductions.statistics import Statistic
    from ...reductions.survey import Survey
    from ..budget import MemoryBudget
    from ..call import Call
    from ..chunk import Chunk
    from ..prepared_segment import PreparedSegment
    from .resolution import Asked

LONG = 1 << 20
"""Elements of a segment from which on it is computed this way: shorter ones fit a few copies in float64."""


def reduction_of(segment: PreparedSegment, operands: frozenset[Operand]) -> Reduction | None:
    """How a segment is computed by statistics, if it is long and has no operands of the penalty's own."""
    if segment.prepared is None or segment.joint is not None or segment.size < LONG:
        return None
    if not operands <= {Operand.LOSS_GRADIENTS}:
        return None
    return segment.prepared.reduction()


@dataclass(frozen=True, slots=True)
class Reducer:
    """Looks for the rule of a vector: of one segment, or of several, one after the other.

    Args:
        call: The call.
        reduction: How it is computed.
        stretches: The segments with all their elements, at least one element in all.
        threads: How many may gather at once.
        check: Called now and then by each of them.
        budget: Where the room for a sample is taken from; None for none.
    """

    call: Call
    reduction: Reduction
    stretches: tuple[Stretch, ...]
    threads: int = 1
    check: Callable[[], None] | None = None
    budget: MemoryBudget | None = None

    def resolved(self) -> dict[str, PreparedSegment]:
        """The segments as ones that may be cut anywhere, by their names.

        Raises:
            GradientUndefined: If the penalty has no gradient there.
        """
        vector = Vector(tuple(stretch.segment for stretch in self.stretches), self.reduction)
        with ExitStack() as held:
            search = resolution(self.call, vector, self._survey(vector, held))
            try:
                asked = next(search)
                while True:
                    asked = search.send(self._answer(asked))
            except StopIteration as done:
                return vector.resolved(done.value)

    def _survey(self, vector: Vector, held: ExitStack) -> Survey | None:
        """A survey with a sample, of a vector that is long enough for one, where there is room for it."""
        if vector.size < LONG or self.budget is None:
            return None
        try:
            held.enter_context(Reservation(self.budget)).add(most_memory(vector.size))
        except BudgetExceeded:
            return None  # without a sample it takes longer
        sample = partial(sampled, self.call, self.stretches, sample_size(vector.size))
        return SampledSurvey(self.reduction.order, vector.size, sample)

    def _answer(self, asked: Asked) -> Statistic:
        return gathered(self.call, asked, self.stretches, threads=self.threads, check=self.check)


def resolved_call(
    call: Call, whole: Chunk, threads: int, check: Callable[[], None] | None, budget: MemoryBudget
) -> Call:
    """A call whose long segments may be cut anywhere, for all their elements are there.

    Args:
        call: The call.
        whole: All elements of its range.
        threads: How many may gather at once.
        check: Called now and then by each of them.
        budget: Where room for samples is taken from, as far as there is any.
    """
    operands, segments = whole.operands, call.segments_in_range()

    def elements_of(segment: PreparedSegment) -> Chunk:
        return whole.part(segment.start, segment.end)

    known = resolved_joints(call, segments, elements_of, threads, check)
    for segment in segments:
        reduction = reduction_of(segment, operands)
        if reduction is not None:
            stretch = Stretch(segment, elements_of(segment))
            known |= Reducer(call, reduction, (stretch,), threads, check, budget).resolved()
    return replace(call, layout=call.layout.with_resolved(known)) if known else call


def resolved_joints(
    call: Call,
    segments: Iterable[PreparedSegment],
    elements_of: Callable[[PreparedSegment], Chunk],
    threads: int = 1,
    check: Callable[[], None] | None = None,
) -> dict[str, PreparedSegment]:
    """Segments of joint regularizers as ones that may be cut anywhere, by their names.

    Args:
        call: The call.
        segments: Segments, with all or none of the elements of each joint regularizer.
        elements_of: Gives all elements of a segment.
        threads: How many may gather at once.
        check: Called now and then by each of them.
    """
    known: dict[str, PreparedSegment] = {}
    for vector in joint_vectors(segments):
        stretches = tuple(
            Stretch(segment, elements_of(segment), position)
            for segment, position in zip(vector.segments, vector.positions, strict=True)
        )
        known |= Reducer(call, vector.reduction, stretches, threads, check).resolved()
    return known
