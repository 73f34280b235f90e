"""Short segments side by side: the engine takes them as one, and counts for each.

Those that are computed alike are computed in one go, wherever they lie among the others: in a network weights
and biases alternate, and the biases are often exempt.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..short_sums import ShortSums
from ..summation import ExactSum
from .budget import Reservation
from .figures import Figures, SegmentFigures, Tally
from .fused import FusedOperator
from .inspection import Inspection
from .methods import Method
from .operator import SegmentOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .budget import MemoryBudget
    from .call import Call
    from .chunk import Chunk
    from .results import ResultAssembly
    from .units import Kind, Unit


class NeighboursRun:
    """The way of neighbours' elements through the engine.

    Args:
        call: The call.
        unit: The neighbours, of the call's layout.
        budget: Where bytes that wait would be taken from; none do.
        results: Where results are delivered.
        volatile: Whether others may write to elements and results meanwhile.
    """

    def __init__(
        self,
        call: Call,
        unit: Unit,
        budget: MemoryBudget,
        results: ResultAssembly,
        *,
        volatile: bool = False,
    ) -> None:
        self._unit = unit
        self._start = unit[0].start
        self._has_results = call.method is not Method.PENALTY
        self._results = results
        self._counts = _Counts(call, unit)
        self._ways = [_Way(call, kind, self._counts, volatile=volatile) for kind in unit.kinds]
        self.end = unit[-1].end
        self.reservation = Reservation(budget)

    def add(self, part: Chunk) -> None:
        """Take the next part of a chunk, at least one element, and deliver its results."""
        first, last = self._counts.touched(part.element_offset - self._start, part.parameters.size)
        ways = [way for way in self._ways if way.is_for(first, last)]
        operands = part.operands
        if any(way.inspection.operands != operands for way in ways):
            self._inspect(part, ways, first)
        out = self._results.destination(part.element_offset, part.end) if self._has_results else None
        # Of each way that is left, how many elements of the part are done.
        left = {}
        for way in ways:
            done = way.fused.compute(part, out)
            if done != part.parameters.size:
                left[way] = done or 0
        for way, piece in self._pieces(part, first, last) if left else ():
            if way not in left:
                continue
            begin = max(piece.element_offset, part.element_offset + left[way])
            if begin < piece.end:
                rest = piece.part(begin, piece.end)
                way.inspection.check_values(rest)
                here = slice(begin - part.element_offset, piece.end - part.element_offset)
                way.operator.compute(rest, None if out is None else out[here])
        if out is not None:
            self._results.deliver(part.element_offset, out)

    def figures(self) -> list[SegmentFigures]:
        """Each segment's figures, as far as the call had its elements."""
        return [
            SegmentFigures(segment.name, figures, segment.convex)
            for segment, figures in zip(self._unit, self._counts.figures(), strict=True)
        ]

    def _inspect(self, part: Chunk, ways: list[_Way], first: int) -> None:
        """Have operands that have changed looked at, in the order of the segments that get them."""
        operands = part.operands
        for way in sorted(ways, key=lambda way: way.first_from(first)):
            if way.inspection.operands != operands:
                begin = max(self._start + self._counts.edges[way.first_from(first)], part.element_offset)
                way.inspection.take(operands, part.part(begin, part.end))

    def _pieces(self, part: Chunk, first: int, last: int) -> Iterator[tuple[_Way, Chunk]]:
        """The elements of segments in a row that are computed alike, and how."""
        edges, kinds = self._counts.edges, self._unit.kind_of
        begin = first
        for index in range(first, last):
            if index + 1 == last or kinds[index + 1] != kinds[begin]:
                start = max(self._start + edges[begin], part.element_offset)
                end = min(self._start + edges[index + 1], part.end)
                if start < end:
                    yield self._ways[kinds[begin]], part.part(start, end)
                begin = index + 1


class _Way:
    """How neighbours of one kind are computed."""

    def __init__(self, call: Call, kind: Kind, counts: _Counts, *, volatile: bool) -> None:
        self._places = kind.places
        tally = _KindTally(call, kind, counts)
        self.inspection = Inspection(call, kind.segment)
        self.fused = FusedOperator(call, kind.segment, tally)
        self.operator = SegmentOperator(call, kind.segment, tally, volatile=volatile)

    def is_for(self, first: int, last: int) -> bool:
        """Whether any of these neighbours is of the kind."""
        return self.first_from(first) < last

    def first_from(self, first: int) -> int:
        """The first neighbour of the kind, from one on; the largest number where there is none."""
        at = int(self._places.searchsorted(first))
        return int(self._places[at]) if at < self._places.size else sys.maxsize


class _Counts:
    """The running figures of neighbours, whatever their kinds.

    Args:
        call: The call.
        unit: The neighbours.
    """

    def __init__(self, call: Call, unit: Unit) -> None:
        self._unit = unit
        self._choice = call.figures
        self._has_distance = self._choice.squared_distance and call.method is Method.PROXIMAL_STEP
        self.edges: list[int] = unit.edges.tolist()
        self.distances = ShortSums(unit.edges)
        self.nonzeros = np.zeros(len(unit), np.int64)
        self._penalties = _penalty_sums(unit)
        # Of the first and the last one, an element range may have a part.
        start = unit[0].start
        self._ends = max(call.begin - start, 0), min(call.end - start, self.edges[-1])

    def penalties_of(self, kind: Kind) -> ShortSums:
        """Where the penalties of a kind are added."""
        return self._penalties[self._unit.kinds.index(kind)]

    def touched(self, position: int, size: int) -> tuple[int, int]:
        """The first and one past the last of the neighbours that have some of these elements."""
        return bisect_right(self.edges, position) - 1, bisect_left(self.edges, position + size)

    def figures(self) -> list[Figures]:
        """What was counted, of each segment."""
        count = len(self._unit)
        nothing: list[ExactSum | None] = [None] * count
        choice, (begin, end) = self._choice, self._ends
        return [
            Figures(max(min(last, end) - max(first, begin), 0), penalty, nonzeros, distance)
            for (first, last), penalty, nonzeros, distance in zip(
                pairwise(self.edges),
                self._sums_of_penalties() if choice.penalty else nothing,
                self.nonzeros.tolist() if choice.nonzeros else [None] * count,
                self.distances.sums() if self._has_distance else nothing,
                strict=True,
            )
        ]

    def _sums_of_penalties(self) -> list[ExactSum]:
        sums = {id(each): each.sums() for each in self._penalties}
        if len(sums) == 1:
            return next(iter(sums.values()))
        if not sums:
            return [ExactSum.of(())] * len(self._unit)
        by_kind = [sums[id(each)] for each in self._penalties]
        return [by_kind[kind][index] for index, kind in enumerate(self._unit.kind_of)]


def _penalty_sums(unit: Unit) -> list[ShortSums]:
    """Sums for each kind of the neighbours. What is exempt adds nothing, so it needs none of its own."""
    own = [
        None if kind.segment.regularizer is None else ShortSums(unit.edges, kind.segment.regularizer.scale)
        for kind in unit.kinds
    ]
    anyone = next(filter(None, own), None) or ShortSums(unit.edges)
    return [each or anyone for each in own]


class _KindTally(Tally):
    """The running figures of neighbours of one kind, counted among those of all."""

    of_neighbours = True

    def __init__(self, call: Call, kind: Kind, counts: _Counts) -> None:
        super().__init__(call.figures, call.method, kind.segment.regularizer)
        self._counts = counts
        self._places = kind.places
        self._edges = counts.edges
        self._edges_at = counts.distances.edges
        self._penalty = self._penalties = counts.penalties_of(kind)
        self._squared_distance = counts.distances

    def running(self, position: int, size: int) -> tuple[int, tuple[npt.NDArray[Any], ...]]:
        """What a compiled loop counts in.

        Returns:
            The position of the first element in its segment; and of each segment that has some of these
            elements the lanes of penalty and squared distance, where among them it begins and the last one
            ends, which of them are of the kind, and the nonzeros of each.
        """
        first, last = self._counts.touched(position, size)
        edges = self._edges_at[first : last + 1] - position
        edges[0], edges[-1] = 0, size
        among = slice(*self._places.searchsorted((first, last)).tolist())
        counts = self._counts
        sums = self._penalties.rows(first, last), counts.distances.rows(first, last)
        chosen = self._places[among] - first
        return position - self._edges[first], (*sums, edges, chosen, counts.nonzeros[first:last])

    def take_over(
        self, position: int, size: int, nonzeros: int, running: tuple[npt.NDArray[Any], ...]
    ) -> None:
        """What is counted elsewhere is counted in its own memory."""

    def _count_nonzeros(self, nonzero: npt.NDArray[np.bool_], position: int) -> None:
        begin, end = position, position + nonzero.size
        index = bisect_right(self._edges, begin) - 1
        while begin < end:
            last = min(self._edges[index + 1], end)
            inside = nonzero[begin - position : last - position]
            self._counts.nonzeros[index] += int(np.count_nonzero(inside))
            begin, index = last, index + 1
