"""What is asked of a vector that is reduced, until it is known what becomes of each of its elements."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...errors import GradientUndefined
from ...reductions.resolved import Resolved
from ...reductions.rules import Rule, Same
from ...reductions.statistics import Question
from ...reductions.survey import Survey
from ..methods import Method

if TYPE_CHECKING:
    from ...arrays import Float64Array
    from ...reductions.reduction import Reduction
    from ...reductions.survey import Search
    from ..call import Call
    from ..joint import PreparedJoint
    from ..prepared_segment import PreparedSegment

ResultT = TypeVar("ResultT")


class Asked(NamedTuple):
    """A question, and of which numbers it is asked."""

    question: Question[Any]
    rule: Rule | None
    """Of the results of this rule, rounded; None for where the method begins: at the elements, and in a
    proximal step after the forward step."""


Resolution = Generator[Asked, Any, ResultT]
"""It asks, is sent the merged answer of all elements, and returns what it was to find. Given the same answers
it asks the same questions."""


@dataclass(frozen=True, slots=True)
class Vector:
    """What is reduced as one: a segment, or several, one after the other.

    Args:
        segments: One at least.
        reduction: How they are computed.
    """

    segments: tuple[PreparedSegment, ...]
    reduction: Reduction

    @property
    def size(self) -> int:
        """Number of its elements."""
        return sum(segment.size for segment in self.segments)

    @property
    def positions(self) -> list[int]:
        """Where each segment begins in it."""
        return list(accumulate((segment.size for segment in self.segments[:-1]), initial=0))

    def step_size_in(self, call: Call) -> float:
        """The step size of all its segments."""
        return self.segments[0].step_size_in(call.step_size) or 0.0

    @property
    def scale(self) -> float:
        """What the penalty's terms are multiplied by."""
        regularizer = self.segments[0].regularizer
        return 1.0 if regularizer is None else regularizer.scale

    def survey(self) -> Survey:
        """A new survey of it."""
        return Survey(self.reduction.order, self.size)

    def resolved(self, found: Resolved, forward: bool | None = None) -> dict[str, PreparedSegment]:
        """Its segments as ones that may be cut anywhere, by their names, for what was found of the whole.

        Args:
            found: That.
            forward: Whether it was found after a forward step, where all that follows must have one or none.
        """
        placed = [found.beginning_at(position) for position in self.positions]
        return {
            segment.name: segment.resolved(own, own.penalty, forward)
            for segment, own in zip(self.segments, placed, strict=True)
        }

    def place(self, error: GradientUndefined) -> None:
        """Say where in the layout's vector the element is that an error names."""
        position = error.element or 0
        segments = [segment for segment in self.segments if segment.size]
        positions = list(accumulate((segment.size for segment in segments[:-1]), initial=0))
        at = max(bisect_right(positions, position) - 1, 0)
        error.segment = segments[at].name
        error.element = segments[at].start + position - positions[at]
        error.text += f" at element {error.element}"
        error.field = "parameters"


def joint_vectors(segments: Iterable[PreparedSegment]) -> list[Vector]:
    """What is reduced as one for joint regularizers, of those segments of theirs that have elements."""
    members: dict[str, tuple[PreparedJoint, list[PreparedSegment]]] = {}
    for segment in segments:
        joint = segment.waiting_for
        if joint is not None:
            members.setdefault(joint.name, (joint, []))[1].append(segment)
    return [Vector(tuple(each), joint.reduction) for joint, each in members.values()]


def resolution(call: Call, vector: Vector, survey: Survey | None = None) -> Resolution[Resolved]:
    """What becomes of each element of a vector, and its penalty's term.

    Args:
        call: The call.
        vector: The vector.
        survey: Of where the method begins; None for one that knows nothing of it yet.

    Raises:
        GradientUndefined: If the penalty has no gradient there.
    """
    method, reduction, wants_penalty = call.method, vector.reduction, call.figures.penalty
    survey, term = survey or vector.survey(), None
    rule = reduction.unchanged
    if method is Method.PROXIMAL_STEP:
        rule = yield from _asked(reduction.step(survey, vector.step_size_in(call)))
        if wants_penalty:
            term = yield from _term_after(rule, vector)
    else:
        if wants_penalty:
            term = yield from _asked(reduction.term(survey))
        if method is Method.GRADIENT:
            rule = yield from _slope(call, vector, survey)
    return Resolved(rule, () if term is None else reduction.penalty(term, vector.scale))


def _asked(search: Search[ResultT], rule: Rule | None = None) -> Resolution[ResultT]:
    """A search's questions, of the results of a rule or of where the method begins."""
    try:
        question = next(search)
        while True:
            question = search.send((yield Asked(question, rule)))
    except StopIteration as done:
        result: ResultT = done.value
        return result


def _slope(call: Call, vector: Vector, survey: Survey) -> Resolution[Rule]:
    try:
        return (yield from _asked(vector.reduction.slope(survey)))
    except GradientUndefined as error:
        undefined = error
    try:
        facts = yield from _asked(survey.facts())
        if not call.propagate_non_finite and (facts.nan or facts.infinite):
            return Same()  # it is rejected where elements are looked at one by one
        vector.place(undefined)
        raise undefined
    finally:
        # The error knows this frame: if the frame knew the error, both would stay, with all they know.
        del undefined


def _term_after(rule: Rule, vector: Vector) -> Resolution[float | Float64Array]:
    """The penalty's term at the step's result."""
    known = vector.reduction.term_of_step(rule)
    if known is not None:
        return known
    return (yield from _asked(vector.reduction.term(vector.survey()), rule))
