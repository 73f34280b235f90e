"""One segment of a call as it runs: check what arrives, let it wait, compute it, deliver it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import ElementArray
from ..errors import OperandInconsistent, OperandOutOfRange, ValueNotFinite
from ..formats import are_finite, numbers_of
from ..interruption import go_on
from .budget import MemoryBudget, Reservation
from .buffering import STAGES
from .call import Call, Method, Operand
from .chunk import Chunk
from .figures import SegmentFigures
from .operator import SegmentOperator
from .workspace import PIECE

if TYPE_CHECKING:
    from .results import ResultAssembly
    from .workspace import Workspace

_NOT_NEGATIVE = (Operand.WEIGHTS, Operand.STEP_SCALES)


class SegmentRun:
    """The way of one segment's elements through the engine.

    Args:
        call: The call.
        index: Which segment of its layout.
        budget: Where bytes that wait are taken from.
        results: Where results are delivered.
        volatile: Whether others may write to elements and results meanwhile.
    """

    def __init__(
        self, call: Call, index: int, budget: MemoryBudget, results: ResultAssembly, *, volatile: bool = False
    ) -> None:
        self._call = call
        self._segment = call.layout.segments[index]
        self._start = call.layout.starts[index]
        self._results = results
        self._operator = SegmentOperator(call, self._segment, volatile=volatile)
        self._operands: frozenset[Operand] | None = None
        self.end = self._start + self._segment.size
        self.reservation = Reservation(budget)
        stage = STAGES.get(self._segment.locality)
        self._stage = None if stage is None else stage(self._segment, self._start, self.reservation)

    def add(self, part: Chunk, workspace: Workspace) -> None:
        """Take the next part of a chunk, at least one element, and deliver what can be computed now."""
        self._check_operands(part)
        if self._stage is None:
            self._compute(part, workspace)
            return
        self._check_values(part, workspace)
        for piece in self._stage.add(part):
            go_on()
            self._compute(piece, workspace)

    def _compute(self, piece: Chunk, workspace: Workspace) -> None:
        out = None
        if self._call.method is not Method.PENALTY:
            out = self._results.destination(piece.element_offset, piece.end)
        if self._stage is None:
            self._compute_elements(piece, out, workspace)
        else:
            self._operator.compute(piece, piece.element_offset - self._start, out, workspace)
        if out is not None:
            self._results.deliver(piece.element_offset, out)

    def _compute_elements(self, part: Chunk, out: ElementArray | None, workspace: Workspace) -> None:
        """Compute a stretch that may be cut anywhere: all at once, or in pieces that stay in the cache."""
        begin = part.element_offset
        done = self._operator.compute_compiled(part, begin - self._start, out)
        if done == part.parameters.size:
            return
        if done is not None:
            self._check_values(part.part(begin + done, part.end), workspace)
        for first in range(begin - (begin - self._start) % PIECE, part.end, PIECE):
            piece = part.part(max(first, begin), min(first + PIECE, part.end))
            place = None if out is None else out[piece.element_offset - begin : piece.end - begin]
            self._check_values(piece, workspace)
            self._operator.compute(piece, piece.element_offset - self._start, place, workspace)

    def figures(self) -> SegmentFigures:
        """The segment's figures, as far as the call had its elements."""
        return SegmentFigures(self._segment.name, self._operator.figures(), self._segment.convex)

    def _check_operands(self, part: Chunk) -> None:
        operands = part.operands
        if self._operands is None:
            self._operator.check_operands(operands)
            self._operands = operands
        elif operands != self._operands:
            odd = next(operand for operand in Operand if operand in operands ^ self._operands)
            verb = "must not be set" if odd in operands else "must be set"
            raise OperandInconsistent(
                f"{verb}: the first chunk of segment {self._segment.name!r} decides",
                field=f"chunk.{odd.value}",
                segment=self._segment.name,
                element=part.element_offset,
            )

    def _check_values(self, part: Chunk, workspace: Workspace) -> None:
        if not self._call.propagate_non_finite:
            for name, array in part.arrays().items():
                finite = are_finite(array, workspace.array("finite", array.size, np.bool_))
                if not finite.all():
                    first = int(np.argmin(finite))
                    raise ValueNotFinite(
                        f"must be finite, got {array[first]!s} at element {part.element_offset + first}",
                        field=f"chunk.{name}",
                        segment=self._segment.name,
                        element=part.element_offset + first,
                    )
        for operand in _NOT_NEGATIVE:
            array = getattr(part, operand.value)
            if array is not None and (negative := array < 0).any():
                first = int(np.argmax(negative))
                number = numbers_of(array)[first]
                raise OperandOutOfRange(
                    f"must be >= 0, got {number!s} at element {part.element_offset + first}",
                    field=f"chunk.{operand.value}",
                    segment=self._segment.name,
                    element=part.element_offset + first,
                )
