"""One segment of a call as it runs, or short ones together: check, let wait, compute, deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OperandInconsistent, OperandOutOfRange, OperandUnsupported, ValueNotFinite
from ..formats import are_finite, numbers_of
from ..interruption import current_check, go_on
from .budget import MemoryBudget, Reservation
from .buffering import STAGES, ReducedStage, Stage
from .call import Call
from .chunk import Chunk
from .figures import SegmentFigures
from .fused import FusedOperator
from .methods import Method, Operand
from .neighbours import as_one, tally_of
from .operator import SegmentOperator
from .reduced import Reducer, reduction_of
from .workspace import PIECE, borrowed_workspace

if TYPE_CHECKING:
    from ..reductions.reduction import Reduction
    from .layout import PreparedSegment
    from .results import ResultAssembly


class SegmentRun:
    """The way of one segment's elements through the engine, or that of several which are computed as one.

    Args:
        call: The call.
        segments: The segment, of the call's layout, or neighbours as ``side_by_side`` gives them.
        budget: Where bytes that wait are taken from.
        results: Where results are delivered.
        volatile: Whether others may write to elements and results meanwhile.
    """

    def __init__(
        self,
        call: Call,
        segments: tuple[PreparedSegment, ...],
        budget: MemoryBudget,
        results: ResultAssembly,
        *,
        volatile: bool = False,
    ) -> None:
        self._call = call
        self._method = call.method
        self._propagate_non_finite = call.propagate_non_finite
        self._volatile = volatile
        self._results = results
        self._segments = segments
        self._tally = tally_of(call, segments)
        segment = as_one(segments)
        self._set(segment)
        self._operands: frozenset[Operand] | None = None
        self._reduction: Reduction | None = None
        self._stage: Stage | None = None
        self.end = segment.end
        self.reservation = Reservation(budget)

    def _set(self, segment: PreparedSegment) -> None:
        self._segment = segment
        self._fused = FusedOperator(self._call, segment, self._tally)
        self._operator = SegmentOperator(self._call, segment, self._tally, volatile=self._volatile)

    def add(self, part: Chunk) -> None:
        """Take the next part of a chunk, at least one element, and deliver what can be computed now."""
        operands = part.operands
        if operands != self._operands:
            first = self._operands is None
            self._check_operands(part, operands)
            if first:
                self._wait_where_needed(operands)
        if self._stage is None:
            self._compute_anywhere(part)
            return
        self._check_values(part)
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
        resolved = Reducer(self._call, self._segment, reduction, whole, check=current_check()).resolved()
        self._set(resolved)
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
                self._check_values(part.part(begin + done, part.end))
            for first in range(begin - (begin - self._segment.start) % PIECE, part.end, PIECE):
                piece = part.part(max(first, begin), min(first + PIECE, part.end))
                self._check_values(piece)
                place = None if out is None else out[piece.element_offset - begin : piece.end - begin]
                self._operator.compute(piece, place)
        if out is not None:
            self._results.deliver(begin, out)

    def figures(self) -> list[SegmentFigures]:
        """Each segment's figures, as far as the call had its elements."""
        return [
            SegmentFigures(segment.name, figures, segment.convex)
            for segment, figures in zip(self._segments, self._tally.figures(), strict=True)
        ]

    def _check_operands(self, part: Chunk, operands: frozenset[Operand]) -> None:
        """Reject operands that method or regularizer do not take, or other ones than before in a segment."""
        layout = self._call.layout
        index = layout.segment_at(part.element_offset)
        if self._operands is not None and part.element_offset != layout.starts[index]:
            other = next(operand for operand in Operand if operand in operands ^ self._operands)
            verb = "must not be set" if other in operands else "must be set"
            raise OperandInconsistent(
                f"{verb}: the first chunk of segment {layout.segments[index].name!r} decides",
                field=other.value,
                segment=layout.segments[index].name,
                element=part.element_offset,
            )
        for operand in Operand:
            if operand in operands:
                refuser = operand.refused_by(self._method, self._segment.regularizer)
                if refuser is not None:
                    text = f"is not taken by {refuser}"
                    raise OperandUnsupported(text, field=operand.value, segment=layout.segments[index].name)
        self._operands = operands

    def _check_values(self, part: Chunk) -> None:
        """Reject what is not finite, unless the call takes it, and what must not be negative."""
        arrays = part.arrays()
        if not self._propagate_non_finite:
            with borrowed_workspace() as workspace:
                for name, array in arrays.items():
                    finite = are_finite(array, workspace.array("finite", array.size, np.bool_))
                    if not finite.all():
                        first = int(np.argmin(finite))
                        text = f"must be finite, got {array[first]!s}"
                        raise ValueNotFinite(**self._place(text, name, part, first))
        for operand in part.operands:
            array = arrays[operand.value]
            if not operand.may_be_negative and (negative := array < 0).any():
                first = int(np.argmax(negative))
                text = f"must be >= 0, got {numbers_of(array)[first]!s}"
                raise OperandOutOfRange(**self._place(text, operand.value, part, first))

    def _place(self, text: str, name: str, part: Chunk, first: int) -> dict[str, Any]:
        """What an error says of the element at an index of a part."""
        element = part.element_offset + first
        return {
            "text": f"{text} at element {element}",
            "field": name,
            "segment": self._call.layout.name_at(element),
            "element": element,
        }
