"""Ranges of elements, each in one of them at most: which there are, and which are missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, pairwise

from ...errors import StatisticsOverlap

Range = tuple[int, int]
"""First element, and one past the last."""


class Coverage:
    """The elements that are there, in as few ranges as there can be."""

    def __init__(self) -> None:
        self._edges: list[int] = []
        self._sizes: list[int] | None = None

    @property
    def ranges(self) -> list[Range]:
        """The ranges, in order."""
        return list(zip(self._edges[::2], self._edges[1::2], strict=True))

    def add(self, begin: int, end: int) -> None:
        """Take a range in; one without elements is none.

        Raises:
            StatisticsOverlap: If one of its elements is there.
        """
        if begin >= end:
            return
        edges = self._edges
        at = bisect_right(edges, begin)
        if at % 2 and edges[at] > begin:
            raise self._overlap(begin)
        at = bisect_left(edges, begin)
        touches_before = at < len(edges) and edges[at] == begin and at % 2 == 1
        first = at + 1 if touches_before else at
        if first < len(edges) and edges[first] < end:
            raise self._overlap(edges[first])
        touches_after = first < len(edges) and edges[first] == end
        edges[at : first + touches_after] = [] if touches_before else [begin]
        if not touches_after:
            edges.insert(at if touches_before else at + 1, end)
        self._sizes = None

    def count(self, begin: int, end: int) -> int:
        """How many elements from ``begin`` to before ``end`` are there."""
        return self._before(end) - self._before(begin)

    def missing(self, begin: int, end: int) -> list[Range]:
        """The elements from ``begin`` to before ``end`` that are not there."""
        first, last = bisect_right(self._edges, begin), bisect_left(self._edges, end)
        edges = [begin, *self._edges[first:last], end]
        return [edge for edge in list(pairwise(edges))[first % 2 :: 2] if edge[0] < edge[1]]

    def _before(self, element: int) -> int:
        """How many elements before this one are there."""
        if self._sizes is None:
            self._sizes = list(accumulate((end - begin for begin, end in self.ranges), initial=0))
        at = bisect_right(self._edges, element)
        inside = element - self._edges[at - 1] if at % 2 else 0
        return self._sizes[at // 2] + inside

    @staticmethod
    def _overlap(element: int) -> StatisticsOverlap:
        text = f"must be of elements that no other part has, got element {element} again"
        return StatisticsOverlap(text, field="statistics", element=element)


def joined(ranges: list[Range], most: int) -> list[Range]:
    """At most so many ranges that cover these: those with the smallest gaps between them are joined.

    Args:
        ranges: In order.
        most: >= 1.
    """
    gaps = sorted((second[0] - first[1] for first, second in pairwise(ranges)), reverse=True)
    # Gaps that are as large as the last that would stay are joined, too, so that there are never too many.
    least = gaps[most - 1] if len(gaps) >= most else 0
    joined: list[Range] = []
    for begin, end in ranges:
        if joined and begin - joined[-1][1] <= least:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((begin, end))
    return joined
