"""Segments that wait for each other, from the first of a joint regularizer to its last, and other units."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OperandInconsistent
from ..interruption import current_check, go_on
from ..regularizer import Locality
from .budget import MemoryBudget, Reservation
from .buffering import PIECES, WaitingStage
from .chunk import Chunk
from .methods import Method, Operand
from .neighbours import NeighboursRun
from .segment import SegmentRun
from .whole_vectors.reduced import resolved_joints
from .workspace import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .call import Call
    from .figures import SegmentFigures
    from .prepared_segment import PreparedSegment
    from .results import ResultAssembly
    from .units import Unit


def run_of(
    call: Call,
    unit: Unit,
    budget: MemoryBudget,
    results: ResultAssembly,
    *,
    volatile: bool = False,
) -> SegmentRun | SpanRun | NeighboursRun:
    """The way of a unit's elements through the engine: a span's, neighbours', or one segment's."""
    if unit.is_joint:
        return SpanRun(call, unit, budget, results, volatile=volatile)
    if len(unit) > 1:
        return NeighboursRun(call, unit, budget, results, volatile=volatile)
    return SegmentRun(call, unit[0], budget, results, volatile=volatile)


class SpanRun:
    """The way of a span's elements through the engine: all wait, as they came, for the last of them.

    Args:
        call: The call.
        segments: The segments, of the call's layout.
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
        self._segments = segments
        self._budget = budget
        self._results = results
        self._volatile = volatile
        self._upcoming = (segment for segment in segments if segment.size)
        self._waiting: _Waiting | None = None
        self._wholes: dict[str, Chunk] = {}
        self._forward: dict[str, bool] = {}
        self._figures: list[SegmentFigures] = []
        self.end = segments[-1].end
        self.reservation = ExitStack()
        self._pieces = self._reserved(Reservation(budget))

    def add(self, part: Chunk) -> None:
        """Take the next part of a chunk, and deliver everything with the last."""
        position = part.element_offset
        if position == self._segments[0].start:
            self._pieces.add(PIECES)
        while position < part.end:
            if self._waiting is None:
                self._waiting = self._next()
            end = min(part.end, self._waiting.segment.end)
            piece = part.part(position, end)
            self._check_forward(self._waiting.segment, piece)
            whole = self._waiting.add(piece)
            if whole is not None:
                self._wholes[self._waiting.segment.name] = whole
                self._waiting = None
            position = end
        if position == self.end:
            self._compute()

    def figures(self) -> list[SegmentFigures]:
        """The segments' figures, once all are computed."""
        return self._figures

    def _check_forward(self, segment: PreparedSegment, part: Chunk) -> None:
        """Check that all segments of a joint regularizer have loss gradients to step along, or none."""
        if segment.joint is None or self._call.method is not Method.PROXIMAL_STEP:
            return
        forward = Operand.LOSS_GRADIENTS in part.operands
        if self._forward.setdefault(segment.joint.name, forward) is not forward:
            raise OperandInconsistent(
                f"must {'not ' if forward else ''}be set, as in the segments that are reduced together",
                field=Operand.LOSS_GRADIENTS.value,
                segment=segment.name,
                element=part.element_offset,
            )

    def _next(self) -> _Waiting:
        segment = next(self._upcoming)
        checks = self._run_of(segment)
        return _Waiting(segment, checks, self._reserved(Reservation(self._budget)))

    def _run_of(self, segment: PreparedSegment) -> SegmentRun:
        run = SegmentRun(self._call, segment, self._budget, self._results, volatile=self._volatile)
        self._reserved(run.reservation)
        return run

    def _reserved(self, reservation: Reservation) -> Reservation:
        """A reservation that is closed with the span's."""
        self.reservation.callback(reservation.close)
        return reservation

    def _compute(self) -> None:
        """Compute the segments, one after the other, whose elements are all there."""
        wholes = self._wholes
        resolved = resolved_joints(
            self._call, self._segments, lambda segment: wholes[segment.name], check=current_check()
        )
        for segment in self._segments:
            run = self._run_of(resolved.get(segment.name, segment))
            whole = wholes.pop(segment.name, None)
            if whole is not None:
                for piece in _pieces(whole, resolved.get(segment.name, segment)):
                    go_on()
                    run.add(piece)
            self._figures += run.figures()


class _Waiting:
    """The elements of one segment that wait, checked as they come."""

    def __init__(self, segment: PreparedSegment, checks: SegmentRun, reservation: Reservation) -> None:
        self.segment = segment
        self._checks = checks
        self._stage = WaitingStage(segment, reservation)

    def add(self, part: Chunk) -> Chunk | None:
        """Take the next part; give all elements once they are there."""
        self._checks.check(part)
        for whole in self._stage.add(part):
            # What is there at once is the caller's, who may use that memory again.
            return whole.copied() if np.may_share_memory(whole.parameters, part.parameters) else whole
        return None


def _pieces(whole: Chunk, segment: PreparedSegment) -> Iterator[Chunk]:
    """The elements of a segment, a few at a time where it does not want them all at once."""
    stride = PIECE if segment.locality in (Locality.ELEMENT, Locality.GROUP) else whole.parameters.size
    for begin in range(whole.element_offset, whole.end, stride):
        yield whole.part(begin, min(begin + stride, whole.end))
