"""A call as it runs: ordered chunks in, result chunks and a summary out."""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Self

import numpy as np

from ..arrays import ElementArray
from ..interruption import go_on, interruptible
from .budget import Reservation
from .call import Call
from .chunk import Chunk, ResultChunk
from .figures import Figures, SegmentFigures, Summary
from .methods import Method
from .results import ANSWER_BYTES, ResultAssembly
from .span import run_of
from .succession import Succession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from types import TracebackType

    from .budget import MemoryBudget
    from .neighbours import NeighboursRun
    from .segment import SegmentRun
    from .span import SpanRun


class State(Enum):
    """What may be asked of a run."""

    OPEN = "open"
    """Anything: it takes chunks until it is finished."""
    FINISHED = "finished"
    """Nothing: the stream is over, and its summary given."""
    FAILED = "failed"
    """Nothing: an error has left it halfway."""
    CLOSED = "closed"
    """Nothing: what it held is given back."""


class Run:
    """One call on a stream of chunks.

    Memory is bounded by the chunk, and beyond that by what has come of the group or segment that a
    regularizer needs whole; that part is taken from the budget before it is allocated. Close it, or use
    it as a context, to give everything back.

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
        self._state = State.OPEN
        self._succession = Succession(call.layout, call.begin, call.end)
        self._upcoming = iter(call.units_in_range())
        self._current: SegmentRun | SpanRun | NeighboursRun | None = None
        self._figures: list[SegmentFigures] = []
        self._undelivered: list[Reservation | ExitStack] = []
        self._waiting = Reservation(budget)
        self._summary: Summary | None = None

    @property
    def state(self) -> State:
        """What may be asked of it now."""
        return self._state

    def feed(self, chunk: Chunk) -> list[ResultChunk]:
        """Take the next chunk.

        Returns:
            The answers that are complete by now: one for each chunk that had elements, of the same
            offset and length, in order. None for Method.PENALTY. Their bytes count towards
            the budget until the next call of this run.

        Raises:
            RegularizationError: If the chunk breaks a rule; its field is named as in ``Chunk``. The run has
                then failed.
            Exception: What the check raises. The run has then failed, too.
            RuntimeError: If the run is not open.
        """
        with self._while_open():
            self._release_delivered()
            self._succession.check(chunk)
            if chunk.parameters.size:
                self._compute(chunk)
            results = self._results.completed()
            self._account_for_waiting()
            return results

    def summary(self) -> Summary:
        """The figures of the call, as soon as all its elements are there; the run stays open.

        Raises:
            StreamTooShort: If elements are missing. The run has then failed.
            RuntimeError: If the run is not open.
        """
        with self._while_open():
            return self._combined()

    def finish(self) -> Summary:
        """Say that the stream is over.

        Returns:
            The figures of the call.

        Raises:
            StreamTooShort: If elements are missing. The run has then failed.
            RuntimeError: If the run is not open.
        """
        with self._while_open(then=State.FINISHED):
            return self._combined()

    def close(self) -> None:
        """Give back everything that is held; nothing can be asked of it any more."""
        self._state = State.CLOSED
        self._release_delivered()
        self._waiting.close()
        if self._current is not None:
            self._current.reservation.close()
            self._current = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _while_open(self, then: State = State.OPEN) -> Iterator[None]:
        """What only an open run does. Where it raises, the run has failed; else ``then`` is its state."""
        if self._state is not State.OPEN:
            raise RuntimeError(f"run must be open, and is {self._state.value}")
        self._state = State.FAILED
        yield
        self._state = then

    def _compute(self, chunk: Chunk) -> None:
        """Let the segments have their parts of a chunk."""
        if self._call.method is not Method.PENALTY:
            self._results.expect(chunk)
        with np.errstate(all="ignore"), interruptible(self._check):
            position = chunk.element_offset
            while position < chunk.end:
                go_on()
                segment = self._segment_at(position)
                end = min(chunk.end, segment.end)
                segment.add(chunk.part(position, end))
                position = self._succession.position = end

    def _account_for_waiting(self) -> None:
        """Take from the budget what is remembered of chunks whose answers are not complete."""
        size = self._results.waiting * ANSWER_BYTES
        self._waiting.reduce_to(size)
        self._waiting.raise_to(size)

    def _combined(self) -> Summary:
        self._release_delivered()
        if self._summary is None:
            self._succession.check_complete()
            with np.errstate(all="ignore"):
                while self._current is not None or self._advance():
                    self._leave()
            figures = [segment.figures for segment in self._figures]
            total = Figures.combined(figures, self._call.figures, self._call.method)
            self._summary = Summary(total, tuple(self._figures) if self._call.figures.segments else ())
        return self._summary

    def _segment_at(self, position: int) -> SegmentRun | SpanRun | NeighboursRun:
        while self._current is None or self._current.end <= position:
            self._leave()
            self._advance()
        return self._current

    def _advance(self) -> bool:
        unit = next(self._upcoming, None)
        if unit is not None:
            self._current = run_of(self._call, unit, self._budget, self._results, volatile=self._volatile)
        return unit is not None

    def _leave(self) -> None:
        if self._current is not None:
            self._figures += self._current.figures()
            self._undelivered.append(self._current.reservation)
            self._current = None

    def _release_delivered(self) -> None:
        for reservation in self._undelivered:
            reservation.close()
        self._undelivered.clear()
