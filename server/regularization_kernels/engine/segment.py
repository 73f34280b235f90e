"""One segment of a call as it runs: check, let wait, compute, deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..interruption import current_check, go_on
from .budget import MemoryBudget, Reservation
from .buffering import STAGES, ReducedStage, Stage
from .call import Call
from .chunk import Chunk
from .figures import SegmentFigures, Tally
from .fused import FusedOperator
from .inspection import Inspection
from .methods import Method
from .operator import SegmentOperator
from .whole_vectors.gathering import Stretch
from .whole_vectors.reduced import Reducer, reduction_of
from .workspace import PIECE

if TYPE_CHECKING:
    from ..reductions.reduction import Reduction
    from .methods import Operand
    from .prepared_segment import PreparedSegment
    from .results import ResultAssembly


class SegmentRun:
    """The way of one segment's elements through the engine.

    Args:
        call: The call.
        segment: The segment, of the call's layout.
        budget: Where bytes that wait are taken from.
        results: Where results are delivered.
        volatile: Whether others may write to elements and results meanwhile.
    """

    def __init__(
        self,
        call: Call,
        segment: PreparedSegment,
        budget: MemoryBudget,
        results: ResultAssembly,
        *,
        volatile: bool = False,
    ) -> None:
        self._call = call
        self._method = call.method
        self._volatile = volatile
        self._results = results
        self._tally = Tally(call.figures, call.method, segment.regularizer)
        self._set(segment)
        self._inspection = Inspection(call, segment, measured=segment.is_resolved)
        self._reduction: Reduction | None = None
        self._stage: Stage | None = None
        self.end = segment.end
        self.reservation = Reservation(budget)

    def _set(self, segment: PreparedSegment) -> None:
        self._segment = segment
        self._fused = FusedOperator(self._call, segment, self._tally)
        self._operator = SegmentOperator(self._call, segment, self._tally, volatile=self._volatile)
        if segment.is_resolved and self._call.begin <= segment.start:
            self._tally.add_known(segment.penalty)

    def add(self, part: Chunk) -> None:
        """Take the next part of a chunk, at least one element, and deliver what can be computed now."""
        operands, inspection = part.operands, self._inspection
        if operands != inspection.operands:
            first = inspection.operands is None
            inspection.take(operands, part)
            if first:
                self._wait_where_needed(operands)
        if self._stage is None:
            self._compute_anywhere(part)
            return
        self._inspection.check_values(part)
        for piece in self._stage.add(part):
            go_on()
            if self._reduction is None:
                self._compute(piece)
            else:
                self._compute_reduced(piece, self._reduction)

    def _wait_where_needed(self, operands: frozenset[Operand]) -> None:
        """Decide how elements wait, which the first part shows."""
        self._reduction = reduction_of(self._segment, operands)
        stage = STAGES.get(self._segment.locality) if self._reduction is None else ReducedStage
        self._stage = None if stage is None else stage(self._segment, self.reservation)

    def _compute_reduced(self, whole: Chunk, reduction: Reduction) -> None:
        """Compute a segment whose elements are all there, a piece at a time."""
        stretch = Stretch(self._segment, whole)
        resolved = Reducer(self._call, reduction, (stretch,), check=current_check()).resolved()
        self._set(resolved[self._segment.name])
        for begin in range(whole.element_offset, whole.end, PIECE):
            go_on()
            self._compute(whole.part(begin, min(begin + PIECE, whole.end)))

    def _compute(self, piece: Chunk) -> None:
        """Compute a piece at once, whose values are checked."""
        out = None
        if self._method is not Method.PENALTY:
            out = self._results.destination(piece.element_offset, piece.end)
        if self._fused.compute(piece, out) is None:
            self._operator.compute(piece, out)
        if out is not None:
            self._results.deliver(piece.element_offset, out)

    def _compute_anywhere(self, part: Chunk) -> None:
        """Compute a part that may be cut anywhere: all at once, or in pieces that stay in the cache."""
        out, begin = None, part.element_offset
        if self._method is not Method.PENALTY:
            out = self._results.destination(begin, part.end)
        done = self._fused.compute(part, out)
        if done != part.parameters.size:
            if done is not None:
                self._inspection.check_values(part.part(begin + done, part.end))
            for first in range(begin - (begin - self._segment.start) % PIECE, part.end, PIECE):
                piece = part.part(max(first, begin), min(first + PIECE, part.end))
                self._inspection.check_values(piece)
                place = None if out is None else out[piece.element_offset - begin : piece.end - begin]
                self._operator.compute(piece, place)
        if out is not None:
            self._results.deliver(begin, out)

    def figures(self) -> list[SegmentFigures]:
        """The segment's figures, as far as the call had its elements."""
        segment = self._segment
        return [SegmentFigures(segment.name, self._tally.figures(), segment.convex)]

    def check(self, part: Chunk) -> None:
        """Check a part that is added later, elsewhere."""
        operands = part.operands
        if operands != self._inspection.operands:
            self._inspection.take(operands, part)
        self._inspection.check_values(part)
