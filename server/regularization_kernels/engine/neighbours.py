"""Short segments side by side that are computed alike: the engine takes them as one, and counts for each."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..short_sums import ShortSums
from .figures import Figures, Tally

if TYPE_CHECKING:
    from ..summation import ExactSum
    from .call import Call
    from .prepared_segment import PreparedSegment


def as_one(segments: tuple[PreparedSegment, ...]) -> PreparedSegment:
    """Neighbours as one segment, which has the first one's name; one alone as it is."""
    first, last = segments[0], segments[-1]
    if first is last:
        return first
    size = last.end - first.start
    return replace(first, specification=replace(first.specification, shape=(size,)), size=size)


def tally_of(call: Call, segments: tuple[PreparedSegment, ...]) -> Tally:
    """Where the figures of some neighbours are counted, or of one segment alone."""
    if len(segments) == 1:
        return Tally(call.figures, call.method, segments[0].regularizer)
    return NeighboursTally(call, segments)


class NeighboursTally(Tally):
    """The running figures of neighbours that are computed as one.

    Args:
        call: The call.
        segments: The neighbours.
    """

    of_neighbours = True

    def __init__(self, call: Call, segments: tuple[PreparedSegment, ...]) -> None:
        regularizer = segments[0].regularizer
        super().__init__(call.figures, call.method, regularizer)
        start = segments[0].start
        self._edges = [0, *(segment.end - start for segment in segments)]
        edges = np.array(self._edges, np.int64)
        self._penalties = self._penalty = ShortSums(edges, 1.0 if regularizer is None else regularizer.scale)
        self._distances = self._squared_distance = ShortSums(edges)
        self._nonzeros_of = np.zeros(len(segments), np.int64)
        # Of the first and the last one, an element range may have a part.
        self._ends = max(call.begin - start, 0), min(call.end - start, self._edges[-1])

    def running(self, position: int, size: int) -> tuple[int, tuple[npt.NDArray[Any], ...]]:
        """What a compiled loop counts in.

        Returns:
            The position of the first element in its segment; and of each segment that has some of these
            elements the lanes of penalty and squared distance, where among them it ends, and its nonzeros.
        """
        end, edges = position + size, self._edges
        first, last = bisect_right(edges, position) - 1, bisect_left(edges, end)
        ends = np.minimum(np.array(edges[first + 1 : last + 1], np.int64), end) - position
        sums = self._penalties.rows(first, last), self._distances.rows(first, last)
        return position - edges[first], (*sums, ends, self._nonzeros_of[first:last])

    def take_over(
        self, position: int, size: int, nonzeros: int, running: tuple[npt.NDArray[Any], ...]
    ) -> None:
        """What is counted elsewhere is counted in its own memory."""

    def figures(self) -> list[Figures]:
        """What was counted, of each segment."""
        count = self._nonzeros_of.size
        nothing: list[ExactSum | None] = [None] * count
        choice, (begin, end) = self._choice, self._ends
        return [
            Figures(max(min(last, end) - max(first, begin), 0), penalty, nonzeros, distance)
            for (first, last), penalty, nonzeros, distance in zip(
                pairwise(self._edges),
                self._penalties.sums() if choice.penalty else nothing,
                self._nonzeros_of.tolist() if choice.nonzeros else [None] * count,
                self._distances.sums() if self._has_distance else nothing,
                strict=True,
            )
        ]

    def _count_nonzeros(self, nonzero: npt.NDArray[np.bool_], position: int) -> None:
        begin, end = position, position + nonzero.size
        index = bisect_right(self._edges, begin) - 1
        while begin < end:
            last = min(self._edges[index + 1], end)
            inside = nonzero[begin - position : last - position]
            self._nonzeros_of[index] += int(np.count_nonzero(inside))
            begin, index = last, index + 1
