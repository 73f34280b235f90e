"""Statistics of the elements that are there, gathered in passes over them, on several threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import ElementArray, Float64Array
from ...formats import round_into, round_stochastically, widen_into
from ...interruption import go_on, interruptible
from ...reductions.exact_sums import OWN_TYPES
from ..chunk import Chunk
from ..helpers import on_threads
from ..methods import Method
from ..workspace import PIECE, Workspace, borrowed_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from ...reductions.rules import Rule
    from ...reductions.statistics import Statistic
    from ..call import Call
    from ..prepared_segment import PreparedSegment
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

    def every(self, stride: int) -> Stretch:
        """Its elements that stand at multiples of a stride; positions are not kept."""
        begin = -self.position % stride
        arrays = {name: array[begin::stride] for name, array in self.elements.arrays().items()}
        return Stretch(self.segment, Chunk(self.elements.element_offset, **arrays))


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
                addition.add(_numbers(call, asked, piece, workspace), piece.position)
            addition.finish()
        return own

    whole, *others = on_threads(of_part, parts)
    for other in others:
        whole.merge(other)
    return whole


def sampled(call: Call, stretches: Sequence[Stretch], size: int) -> ElementArray:
    """About so many of the numbers where the method begins, from everywhere.

    Args:
        call: The call.
        stretches: All elements of the vector, at least one.
        size: How many.
    """
    last = stretches[-1]
    # Odd, so that it is no multiple of a row's length.
    stride = max((last.position + last.elements.parameters.size) // size, 1) | 1
    with np.errstate(all="ignore"):
        samples = [_start(call, each.every(stride), Workspace()) for each in stretches]
    return np.concatenate(samples)


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

    def add(self, numbers: NDArray[Any], position: int) -> None:
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


def _numbers(call: Call, asked: Asked, piece: Stretch, workspace: Workspace) -> NDArray[Any]:
    """The numbers that are asked about, of the elements of a piece."""
    if asked.rule is not None:
        return _result(call, asked.rule, _start(call, piece, workspace), piece)
    if asked.question.in_own_type and _begins_at_numbers(call, piece):
        return piece.elements.parameters
    return _start(call, piece, workspace)


def _begins_at_numbers(call: Call, piece: Stretch) -> bool:
    """Whether the method begins at the elements, which are numbers that loops take as they are."""
    elements = piece.elements
    steps = call.method is Method.PROXIMAL_STEP and elements.loss_gradients is not None
    return not steps and elements.parameters.dtype in OWN_TYPES


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
