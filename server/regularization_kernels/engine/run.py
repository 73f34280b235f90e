"""A call as it runs: ordered chunks in, result chunks and a summary out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from ..arrays import ElementArray
from ..errors import ChunkOutOfOrder, OperandSizeMismatch, StreamTooLong, StreamTooShort
from ..interruption import go_on, interruptible
from .call import Call, Method
from .chunk import Chunk, ResultChunk
from .figures import Figures, SegmentFigures, Summary
from .results import ResultAssembly
from .segment import SegmentRun
from .workspace import borrowed_workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .budget import MemoryBudget, Reservation


class Run:
    """One call on a stream of chunks.

    Memory is bounded by the chunk, and beyond that by the group or segment that a regularizer
    needs whole; that part is taken from the budget before it is allocated. Close it, or use it as a
    context, to give everything back.

    Args:
        call: What is asked for.
        budget: Where buffered bytes are taken from.
        out: An array for all results of the call's elements, contiguous and of one axis; None to
            make one for each chunk. It may be the very array that the parameters, or an operand, come from.
        check: Called now and then by the thread that feeds, and between the steps of what takes long; what it
            raises ends the call. None to go on in any case.
        volatile: Whether others may write to chunks and ``out`` meanwhile. What comes out is then anything,
            but it comes, and nothing else suffers.

    Raises:
        ValueError: If ``out`` has more or fewer elements than the call: compiled loops check no index.
    """

    def __init__(
        self,
        call: Call,
        budget: MemoryBudget,
        out: ElementArray | None = None,
        check: Callable[[], None] | None = None,
        *,
        volatile: bool = False,
    ) -> None:
        if out is not None and out.size != call.end - call.begin:
            raise ValueError(f"out must have {call.end - call.begin} elements, got {out.size}")
        self._call = call
        self._volatile = volatile
        self._budget = budget
        self._check = check
        self._results = ResultAssembly(call.layout.data_type, out, call.begin)
        self._position = call.begin
        self._upcoming = iter(call.segments_in_range())
        self._current: SegmentRun | None = None
        self._figures: list[SegmentFigures] = []
        self._undelivered: list[Reservation] = []

    def feed(self, chunk: Chunk) -> list[ResultChunk]:
        """Take the next chunk.

        Returns:
            The answers that are complete by now: one for each chunk that had elements, of the same
            offset and length, in order. None for Method.PENALTY. Their bytes count towards
            the budget until the next call of this run.

        Raises:
            RegularizationError: If the chunk breaks a rule; the run is then of no further use.
            Exception: What the check raises; likewise.
        """
        self._release_delivered()
        self._check_place(chunk)
        _check_sizes(chunk)
        if not chunk.parameters.size:
            return []
        if self._call.method is not Method.PENALTY:
            self._results.expect(chunk)
        with np.errstate(all="ignore"), borrowed_workspace() as workspace, interruptible(self._check):
            while self._position < chunk.end:
                go_on()
                segment = self._segment_at_position()
                end = min(chunk.end, segment.end)
                segment.add(chunk.part(self._position, end), workspace)
                self._position = end
        return self._results.completed()

    def finish(self) -> Summary:
        """Say that the stream is over.

        Returns:
            The figures of the call.

        Raises:
            StreamTooShort: If elements are missing.
        """
        self._release_delivered()
        end = self._call.end
        if self._position < end:
            layout = self._call.layout
            raise StreamTooShort(
                f"stream must go on to element {end}, but ended at {self._position}",
                segment=layout.segments[layout.segment_at(self._position)].name,
                element=self._position,
                expected=end,
                received=self._position,
            )
        with np.errstate(all="ignore"):
            while self._current is not None or self._advance():
                self._leave()
        figures = [segment.figures for segment in self._figures]
        total = Figures.combined(figures, self._call.figures, self._call.method)
        return Summary(total, tuple(self._figures))

    def close(self) -> None:
        """Give back everything that is held."""
        self._release_delivered()
        if self._current is not None:
            self._current.reservation.close()
            self._current = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _segment_at_position(self) -> SegmentRun:
        while self._current is None or self._current.end <= self._position:
            self._leave()
            self._advance()
        return self._current

    def _advance(self) -> bool:
        index = next(self._upcoming, None)
        if index is not None:
            self._current = SegmentRun(
                self._call, index, self._budget, self._results, volatile=self._volatile
            )
        return index is not None

    def _leave(self) -> None:
        if self._current is not None:
            self._figures.append(self._current.figures())
            self._undelivered.append(self._current.reservation)
            self._current = None

    def _release_delivered(self) -> None:
        for reservation in self._undelivered:
            reservation.close()
        self._undelivered.clear()

    def _check_place(self, chunk: Chunk) -> None:
        if chunk.element_offset != self._position:
            raise ChunkOutOfOrder(
                f"must be {self._position}, where the last chunk ended, got {chunk.element_offset}",
                field="chunk.element_offset",
                element=chunk.element_offset,
                expected=self._position,
                received=chunk.element_offset,
            )
        if chunk.end > self._call.end:
            raise StreamTooLong(
                f"stream must end at element {self._call.end}, but the chunk goes on to {chunk.end}",
                field="chunk.parameters",
                element=self._call.end,
                expected=self._call.end,
                received=chunk.end,
            )


def _check_sizes(chunk: Chunk) -> None:
    for name, array in chunk.arrays().items():
        if array.size != chunk.parameters.size:
            raise OperandSizeMismatch(
                f"must have as many elements as parameters, {chunk.parameters.size}, got {array.size}",
                field=f"chunk.{name}",
                element=chunk.element_offset,
            )
