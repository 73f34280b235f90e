"""Long segments by statistics, gathered in passes over their elements until every element's rule is known."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..arrays import Float64Array
from ..errors import GradientUndefined
from ..formats import round_into, round_stochastically, widen_into
from ..interruption import go_on, interruptible
from ..reductions.reduction import Rule, Same
from ..reductions.resolved import Resolved
from ..reductions.survey import Survey
from .chunk import Chunk
from .methods import Method, Operand
from .workspace import PIECE, Workspace, borrowed_workspace

if TYPE_CHECKING:
    from ..reductions.reduction import Reduction
    from ..reductions.statistics import Question, Statistic
    from ..reductions.survey import Search
    from .call import Call
    from .joint import PreparedJoint
    from .layout import PreparedSegment

ResultT = TypeVar("ResultT")

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
class Stretch:
    """All elements of a segment, in the vector that is reduced.

    Args:
        segment: The segment.
        elements: Its elements.
        position: Where the first of them stands in the vector that is reduced.
    """

    segment: PreparedSegment
    elements: Chunk
    position: int = 0

    @property
    def end(self) -> int:
        """Where the vector goes on after them."""
        return self.position + self.elements.parameters.size

    def resolved(self, found: Resolved) -> PreparedSegment:
        """The segment as one that may be cut anywhere, for what was found of the whole vector."""
        return self.segment.resolved(found.beginning_at(self.position))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A few elements of the vector that is reduced, and where they stand there."""

    elements: Chunk
    position: int


Point = Callable[[_Piece, Workspace], Float64Array]
"""Numbers that are made of the elements of a piece."""


@dataclass(frozen=True, slots=True)
class Reducer:
    """Looks for the rule of a vector: of one segment, or of several, one after the other.

    Args:
        call: The call.
        reduction: How it is computed.
        stretches: The segments, none of them empty.
        threads: How many may gather at once.
        check: Called now and then by each of them.
    """

    call: Call
    reduction: Reduction
    stretches: tuple[Stretch, ...]
    threads: int = 1
    check: Callable[[], None] | None = None

    def resolved(self) -> dict[str, PreparedSegment]:
        """The segments as ones that may be cut anywhere, by their names.

        Raises:
            GradientUndefined: If the penalty has no gradient there.
        """
        found = self._resolution()
        return {stretch.segment.name: stretch.resolved(found) for stretch in self.stretches}

    def _resolution(self) -> Resolved:
        """What becomes of each element, and the penalty's term."""
        method, reduction, wants_penalty = self.call.method, self.reduction, self.call.figures.penalty
        survey, term = self._survey(), 0.0
        rule: Rule = Same()
        if method is Method.PROXIMAL_STEP:
            rule = self._found(reduction.step(survey, self._step_size), self._start)
            if wants_penalty:
                term = self._term_after(rule)
        else:
            if wants_penalty:
                term = self._found(reduction.term(survey), self._parameters)
            if method is Method.GRADIENT:
                rule = self._slope(survey)
        return Resolved(rule, term)

    @property
    def _step_size(self) -> float:
        return self.stretches[0].segment.step_size_in(self.call.step_size) or 0.0

    def _slope(self, survey: Survey) -> Rule:
        try:
            return self._found(self.reduction.slope(survey), self._parameters)
        except GradientUndefined as error:
            facts = self._found(survey.facts(), self._parameters)
            if not self.call.propagate_non_finite and (facts.nan or facts.infinite):
                return Same()  # it is rejected where elements are looked at one by one
            self._place(error)
            raise

    def _place(self, error: GradientUndefined) -> None:
        """Say where in the layout's vector the element is that an error names."""
        position = error.element or 0
        at = bisect_right([stretch.position for stretch in self.stretches], position) - 1
        stretch = self.stretches[at]
        error.segment = stretch.segment.name
        error.element = stretch.segment.start + position - stretch.position
        error.text += f" at element {error.element}"
        error.field = "parameters"

    def _term_after(self, rule: Rule) -> float:
        """The penalty's term at the step's result."""
        known = self.reduction.term_of_step(rule)
        if known is not None:
            return known

        def results(piece: _Piece, workspace: Workspace) -> Float64Array:
            return self._result(rule, piece, workspace)

        return self._found(self.reduction.term(self._survey()), results)

    def _survey(self) -> Survey:
        return Survey(
            self.reduction.order, sum(stretch.elements.parameters.size for stretch in self.stretches)
        )

    def _found(self, search: Search[ResultT], point: Point) -> ResultT:
        """What a search finds, which asks for statistics of points that are made of the elements."""
        try:
            question = next(search)
            while True:
                question = search.send(self._answer(question, point))
        except StopIteration as done:
            result: ResultT = done.value
            return result

    def _answer(self, question: Question[Any], point: Point) -> Statistic:
        places = [
            (stretch, begin)
            for stretch in self.stretches
            for begin in range(0, stretch.elements.parameters.size, PIECE)
        ]
        parts = min(self.threads, len(places))

        def gathered(part: int) -> Statistic:
            statistic: Statistic = question.of_nothing()
            with np.errstate(all="ignore"), interruptible(self.check), borrowed_workspace() as workspace:
                for stretch, begin in places[part::parts]:
                    go_on()
                    piece = _piece_of(stretch, begin)
                    statistic.add(point(piece, workspace), piece.position)
            return statistic

        if parts == 1:
            return gathered(0)
        others = [_gatherers().submit(gathered, part) for part in range(1, parts)]
        try:
            whole = gathered(0)
            while others:
                # No frame keeps the future: what failed would refer to itself, and hold on to the arrays.
                whole.merge(others.pop(0).result())
        finally:
            wait(others)  # whatever happens, nobody reads on once this returns
            others.clear()
        return whole

    def _parameters(self, piece: _Piece, workspace: Workspace) -> Float64Array:
        """The elements of a piece."""
        x = workspace.array("x", piece.elements.parameters.size)
        widen_into(piece.elements.parameters, x)
        return x

    def _start(self, piece: _Piece, workspace: Workspace) -> Float64Array:
        """Where the proximal step begins: the elements after the forward step."""
        x = self._parameters(piece, workspace)
        elements = piece.elements.with_operands_as_numbers()
        if elements.loss_gradients is not None:
            v = workspace.array("v", x.size)
            np.multiply(elements.loss_gradients, self._step_size, out=v, dtype=np.float64)
            np.subtract(x, v, out=x)
        return x

    def _result(self, rule: Rule, piece: _Piece, workspace: Workspace) -> Float64Array:
        """What becomes of the elements of a piece, rounded."""
        x = self._start(piece, workspace)
        rule.write(x, piece.position, x)
        out, seed = np.empty(x.size, piece.elements.parameters.dtype), self.call.rounding.stochastic_seed
        if seed is None:
            round_into(x, out)
        else:
            round_stochastically(x, out, seed, piece.elements.element_offset)
        widen_into(out, x)
        return x


def _piece_of(stretch: Stretch, begin: int) -> _Piece:
    """The elements of a stretch from its element ``begin`` on, a piece at most."""
    start, size = stretch.elements.element_offset, stretch.elements.parameters.size
    elements = stretch.elements.part(start + begin, start + min(begin + PIECE, size))
    return _Piece(elements, stretch.position + begin)


def resolved_call(call: Call, whole: Chunk, threads: int, check: Callable[[], None] | None) -> Call:
    """A call whose long segments may be cut anywhere, for all their elements are there.

    Args:
        call: The call.
        whole: All elements of its range.
        threads: How many may gather at once.
        check: Called now and then by each of them.
    """
    operands, segments = whole.operands, call.segments_in_range()

    def elements_of(segment: PreparedSegment) -> Chunk:
        return whole.part(segment.start, segment.end)

    known = resolved_joints(call, segments, elements_of, threads, check)
    for segment in segments:
        reduction = reduction_of(segment, operands)
        if reduction is not None:
            stretch = Stretch(segment, elements_of(segment))
            known |= Reducer(call, reduction, (stretch,), threads, check).resolved()
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
    members: dict[str, tuple[PreparedJoint, list[Stretch]]] = {}
    for segment in segments:
        joint = segment.waiting_for
        if joint is not None:
            stretches = members.setdefault(joint.name, (joint, []))[1]
            position = stretches[-1].end if stretches else 0
            stretches.append(Stretch(segment, elements_of(segment), position))
    known: dict[str, PreparedSegment] = {}
    for joint, stretches in members.values():
        known |= Reducer(call, joint.reduction, tuple(stretches), threads, check).resolved()
    return known


@cache
def _gatherers() -> ThreadPoolExecutor:
    """Threads that gather, and wait for nobody."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="gather")
