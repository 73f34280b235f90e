"""How a segment's elements wait until enough of them are there: one stage for each locality that waits.

A stage takes the parts of chunks that belong to its segment, in order, and passes on pieces that
can be computed by themselves, each a stretch of contiguous arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from ..formats import fraction_bits
from ..regularizer import SETTLING, Locality
from .chunk import Chunk
from .filling import filled_bytes, unfilled
from .workspace import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .budget import Reservation
    from .prepared_segment import PreparedSegment


PIECES = 16 << 20
"""Bytes that it takes to compute one piece after the other."""


OBJECT_BYTES = 192
"""Bytes of a chunk, or of an array of it, beside the elements: measured, rounded up."""


class Stage(ABC):
    """The elements of one segment that wait.

    Args:
        segment: The segment.
        reservation: Where the bytes that wait are accounted for, before they are allocated.
    """

    def __init__(self, segment: PreparedSegment, reservation: Reservation) -> None:
        self._segment = segment
        self._start = segment.start
        self._reservation = reservation

    def _bytes(self, size: int, like: Chunk) -> int:
        """What it takes to compute so many elements at once, with operands as those of a chunk."""
        # The arrays that come in and the one that goes out; in float64, the parameters before and after the
        # forward step and the result, and operands in fixed point; and the kernel's own.
        elements = (len(like.arrays()) + 1) * size * like.parameters.itemsize
        wide = 3 if fraction_bits(like.parameters.dtype) is None else 3 + len(like.operands)
        regularizer = self._segment.regularizer
        if like.reference is not None and regularizer is not None and regularizer.traits.indicator:
            wide += SETTLING  # rounded with the reference, a set may have to be rounded inwards
        if like.weights is not None and regularizer is not None:
            wide += regularizer.weighing
        if like.step_scales is not None and regularizer is not None:
            wide += regularizer.scaling
        return elements + (wide * size + self._segment.workspace(size)) * np.dtype(np.float64).itemsize

    @abstractmethod
    def add(self, part: Chunk) -> Iterator[Chunk]:
        """Take the next part; give the pieces that can be computed now.

        Raises:
            BudgetExceeded: If what has to wait does not fit the budget.
        """


class GroupStage(Stage):
    """Pieces end where groups end: the beginning of a group waits for its end."""

    def __init__(self, segment: PreparedSegment, reservation: Reservation) -> None:
        super().__init__(segment, reservation)
        self._waiting: list[Chunk] = []

    def add(self, part: Chunk) -> Iterator[Chunk]:
        """Give what is there up to the last end of a group; the rest waits."""
        cut = self._start + self._segment.cut(part.end - self._start)
        if cut > part.element_offset:
            done = part.part(part.element_offset, cut)
            if self._waiting:
                size = done.end - self._waiting[0].element_offset
                self._reservation.add(self._bytes(size, done))
                done = _joined([*self._waiting, done])
                self._waiting.clear()
            yield from self._pieces(done)
            self._reservation.reduce_to(0)
            part = part.part(cut, part.end)
        if part.parameters.size:
            self._reservation.add(part.nbytes + OBJECT_BYTES * (1 + len(part.arrays())))
            self._waiting.append(part.copied())

    def _pieces(self, done: Chunk) -> Iterator[Chunk]:
        """Whole groups, in pieces that stay in the cache where the groups are small enough."""
        begin = done.element_offset
        while begin < done.end:
            end = self._start + self._segment.cut(min(begin + PIECE, done.end) - self._start)
            if end <= begin:
                end = done.end
            yield done.part(begin, end)
            begin = end


class SegmentStage(Stage):
    """The whole segment is needed: everything waits for its last element.

    What has come is accounted for with all that it will take to compute it, so that nothing is missing once
    the last element is there. What has not come takes nothing.
    """

    def __init__(self, segment: PreparedSegment, reservation: Reservation) -> None:
        super().__init__(segment, reservation)
        self._whole: Chunk | None = None
        self._most = 0

    def add(self, part: Chunk) -> Iterator[Chunk]:
        """Give the segment once it is there."""
        size = self._segment.size
        if self._whole is None:
            self._most = self._bytes(size, part)
            self._reservation.check_fits(self._most)
            if part.parameters.size == size:
                self._reservation.add(self._most)
                yield part
                return
        self._account_for(part)
        if self._whole is None:
            arrays = {name: unfilled(size, array.dtype) for name, array in part.arrays().items()}
            self._whole = Chunk(self._start, **arrays)
        place = self._whole.part(part.element_offset, part.end)
        for name, array in part.arrays().items():
            getattr(place, name)[...] = array
        if part.end == self._start + size:
            yield self._whole
            self._whole = None

    def _account_for(self, part: Chunk) -> None:
        """Take from the budget what the segment takes up to the end of this part, in whole pages."""
        width = part.parameters.itemsize
        length = self._segment.size * width
        filled = filled_bytes((part.end - self._start) * width, length)
        self._reservation.raise_to(-(-self._most * filled // length))


class WaitingStage(SegmentStage):
    """The whole segment is needed, but as it came."""

    def _bytes(self, size: int, like: Chunk) -> int:
        """The arrays that come in and the one that goes out."""
        return (len(like.arrays()) + 1) * size * like.parameters.itemsize


class ReducedStage(WaitingStage):
    """Likewise, and it is computed a piece at a time."""

    def _bytes(self, size: int, like: Chunk) -> int:
        """The arrays, and what pieces take."""
        return super()._bytes(size, like) + PIECES


def _joined(chunks: list[Chunk]) -> Chunk:
    arrays = {name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in chunks[0].arrays()}
    return Chunk(chunks[0].element_offset, **arrays)


STAGES: dict[Locality, type[GroupStage | SegmentStage]] = {
    Locality.GROUP: GroupStage,
    Locality.SEGMENT: SegmentStage,
    Locality.REDUCTION: SegmentStage,
}
"""The stage of each locality; of ELEMENT nothing waits."""
