"""Statistics of the elements that are there, gathered in passes over them, on several threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import Float64Array
from ...formats import round_into, round_stochastically, widen_into
from ...interruption import go_on, interruptible
from ..chunk import Chunk
from ..helpers import on_threads
from ..methods import Method
from ..workspace import PIECE, Workspace, borrowed_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...reductions.rules import Rule
    from ...reductions.statistics import Statistic
    from ..call import Call
    from ..layout import PreparedSegment
    from .resolution import Asked


_FEW = PIECE // 16
"""So many numbers are worth a statistic's cost by themselves."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Elements of a segment, in the vector that is reduced.

    Args:
        segment: The segment.
        elements: Its elements, or some of them.
        position: Where the first of these stands in the vector that is reduced.
    """

    segment: PreparedSegment
    elements: Chunk
    position: int = 0

    def pieces(self) -> Iterator[Stretch]:
        """Its elements, a piece after the other."""
        start, size = self.elements.element_offset, self.elements.parameters.size
        for begin in range(0, size, PIECE):
            elements = self.elements.part(start + begin, start + min(begin + PIECE, size))
            yield Stretch(self.segment, elements, self.position + begin)


def gathered(
    call: Call,
    asked: Asked,
    stretches: Sequence[Stretch],
    statistic: Statistic | None = None,
    threads: int = 1,
    check: Callable[[], None] | None = None,
    inspect: Callable[[Chunk], None] | None = None,
) -> Statistic:
    """What the elements of stretches have to answer.

    Args:
        call: The call.
        asked: What is asked of them.
        stretches: The elements.
        statistic: The answer of others so far, to which theirs is added; None for none.
        threads: How many may gather at once.
        check: Called now and then by each of them.
        inspect: Called with each piece of the elements, before it is looked at.
    """
    pieces = [piece for stretch in stretches for piece in stretch.pieces()]
    parts = max(min(threads, len(pieces)), 1)
    first: Statistic = asked.question.of_nothing() if statistic is None else statistic

    def of_part(part: int) -> Statistic:
        own: Statistic = first if part == 0 else asked.question.of_nothing()
        with np.errstate(all="ignore"), interruptible(check), borrowed_workspace() as workspace:
            addition = _Addition(own, workspace)
            for piece in pieces[part * len(pieces) // parts : (part + 1) * len(pieces) // parts]:
                go_on()
                if inspect is not None:
                    inspect(piece.elements)
                addition.add(_numbers(call, asked.rule, piece, workspace), piece.position)
            addition.finish()
        return own

    whole, *others = on_threads(of_part, parts)
    for other in others:
        whole.merge(other)
    return whole


class _Addition:
    """Adds numbers to a statistic, those of short segments together: a few cost it as much as many.

    Args:
        statistic: The statistic.
        workspace: Where numbers wait for those that follow.
    """

    def __init__(self, statistic: Statistic, workspace: Workspace) -> None:
        self._statistic = statistic
        self._workspace = workspace
        self._begin = self._end = 0

    def add(self, numbers: Float64Array, position: int) -> None:
        """Add numbers, the first of which stands at a position of the vector."""
        if position != self._end or self._end - self._begin + numbers.size > PIECE:
            self.finish()
            self._begin = self._end = position
        if self._begin == self._end and numbers.size >= _FEW:
            self._statistic.add(numbers, position)
            self._begin = self._end = position + numbers.size
            return
        self._end += numbers.size
        self._waiting(numbers.size)[:] = numbers

    def finish(self) -> None:
        """Add those that wait."""
        size = self._end - self._begin
        if size:
            self._statistic.add(self._waiting(size), self._begin)
        self._begin = self._end

    def _waiting(self, last: int) -> Float64Array:
        """The last few of those that wait."""
        size = self._end - self._begin
        numbers: Float64Array = self._workspace.array("waiting", PIECE)
        return numbers[size - last : size]


def _numbers(call: Call, rule: Rule | None, piece: Stretch, workspace: Workspace) -> Float64Array:
    """The numbers that are asked about, of the elements of a piece."""
    x = _start(call, piece, workspace)
    return x if rule is None else _result(call, rule, x, piece)


def _start(call: Call, piece: Stretch, workspace: Workspace) -> Float64Array:
    """Where the method begins: at the elements, or where the forward step has put them."""
    x: Float64Array = workspace.array("x", piece.elements.parameters.size)
    widen_into(piece.elements.parameters, x)
    if call.method is not Method.PROXIMAL_STEP:
        return x
    elements = piece.elements.with_operands_as_numbers()
    if elements.loss_gradients is not None:
        v = workspace.array("v", x.size)
        step_size = piece.segment.step_size_in(call.step_size) or 0.0
        np.multiply(elements.loss_gradients, step_size, out=v, dtype=np.float64)
        if piece.segment.specification.keeps_zeros:
            v[x == 0] = 0.0
        np.subtract(x, v, out=x)
    return x


def _result(call: Call, rule: Rule, x: Float64Array, piece: Stretch) -> Float64Array:
    """What becomes of x, rounded; it is written over it."""
    rule.write(x, piece.position, x)
    out, seed = np.empty(x.size, piece.elements.parameters.dtype), call.rounding.stochastic_seed
    if seed is None:
        round_into(x, out)
    else:
        round_stochastically(x, out, seed, piece.elements.element_offset)
    widen_into(out, x)
    return x
