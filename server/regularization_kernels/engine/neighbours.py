"""Short segments side by side that are computed alike: the engine takes them as one, and counts for each.

What a segment costs by itself, whatever its length, is more than a short one's elements cost. A model has
hundreds of those.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..regularizer import Locality
from ..short_sums import ShortSums
from .figures import Figures, Tally
from .workspace import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..summation import ExactSum
    from .call import Call
    from .layout import PreparedSegment

SHORT = 1 << 14
"""Elements of a segment up to which it goes along with its neighbours."""

MOST = 256
"""Segments that are taken as one: so many that their own costs are small, and a few hundred KiB of sums."""


def side_by_side(spans: Iterable[list[PreparedSegment]]) -> Iterator[list[PreparedSegment]]:
    """Spans in their order, those of one segment together that can be computed as one, up to a piece."""
    together: list[PreparedSegment] = []
    size = 0
    for span in spans:
        first = span[0]
        if together and not (
            len(together) < MOST and size + first.size <= PIECE and _are_alike(together[-1], first)
        ):
            yield together
            together = []
            size = 0
        together += span
        size += first.size
    if together:
        yield together


def _are_alike(one: PreparedSegment, other: PreparedSegment) -> bool:
    """Whether every element of both is computed by itself, and in the same way."""
    step_size, other_step_size = one.specification.step_size, other.specification.step_size
    return (
        one.regularizer is other.regularizer
        and one.prepared is other.prepared
        and one.locality is Locality.ELEMENT
        and max(one.size, other.size) <= SHORT
        # Equal zeros may differ in their signs.
        and (step_size is other_step_size or step_size == other_step_size != 0.0)
        and one.specification.keeps_zeros is other.specification.keeps_zeros
        and not one.is_resolved
        and one.joint is other.joint is None
    )


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

    can_take_over = False

    def __init__(self, call: Call, segments: tuple[PreparedSegment, ...]) -> None:
        regularizer = segments[0].regularizer
        super().__init__(call.figures, call.method, regularizer)
        start = segments[0].start
        self._edges = [0, *(segment.end - start for segment in segments)]
        edges = np.array(self._edges, np.int64)
        self._penalties = self._penalty = ShortSums(edges, 1.0 if regularizer is None else regularizer.scale)
        self._distances = self._squared_distance = ShortSums(edges)
        self._nonzeros_of = [0] * len(segments)
        # Of the first and the last one, an element range may have a part.
        self._ends = max(call.begin - start, 0), min(call.end - start, self._edges[-1])

    def figures(self) -> list[Figures]:
        """What was counted, of each segment."""
        count = len(self._nonzeros_of)
        nothing: list[ExactSum | None] = [None] * count
        choice, (begin, end) = self._choice, self._ends
        return [
            Figures(max(min(last, end) - max(first, begin), 0), penalty, nonzeros, distance)
            for (first, last), penalty, nonzeros, distance in zip(
                pairwise(self._edges),
                self._penalties.sums() if choice.penalty else nothing,
                self._nonzeros_of if choice.nonzeros else [None] * count,
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
