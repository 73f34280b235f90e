"""Results, put together so that each answers one chunk: same offset, same length, same order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import ElementArray
from .chunk import Chunk, ResultChunk

if TYPE_CHECKING:
    from ..arrays import DataType


ANSWER_BYTES = 256
"""Bytes that an answer takes while it waits for its elements, beside these: measured, rounded up."""


class _Pending:
    """The answer to one chunk, as far as it is known."""

    __slots__ = ("begin", "end", "filled", "values")

    def __init__(self, chunk: Chunk, values: ElementArray | None) -> None:
        self.begin = chunk.element_offset
        self.end = chunk.end
        self.filled = 0
        self.values = values


class ResultAssembly:
    """Answers to chunks that are not complete yet.

    Args:
        data_type: Of the elements.
        out: Where all results go, if the caller has a place for them, and the element of the vector that
            stands first in it; None to make an array for each answer.
    """

    def __init__(self, data_type: DataType, out: ElementArray | None = None, first: int = 0) -> None:
        self._data_type = data_type
        self._out = out
        self._first = first
        self._pending: deque[_Pending] = deque()

    @property
    def waiting(self) -> int:
        """Number of the answers that are not complete."""
        return len(self._pending)

    def expect(self, chunk: Chunk) -> None:
        """An answer to this chunk will come; chunks are contiguous."""
        values = None
        if self._out is not None:
            values = self._out[chunk.element_offset - self._first : chunk.end - self._first]
        self._pending.append(_Pending(chunk, values))

    def destination(self, begin: int, end: int) -> ElementArray:
        """An array for the results of these elements: a part of an answer where one has them all."""
        for answer in self._answers(begin, end):
            if answer.begin <= begin and end <= answer.end:
                if answer.values is None:
                    answer.values = np.empty(answer.end - answer.begin, self._data_type)
                return answer.values[begin - answer.begin : end - answer.begin]
        return np.empty(end - begin, self._data_type)

    def deliver(self, begin: int, values: ElementArray) -> None:
        """The results from ``begin`` on are there; ``values`` is what ``destination`` gave."""
        end = begin + values.size
        for answer in self._answers(begin, end):
            first, last = max(begin, answer.begin), min(end, answer.end)
            part = values[first - begin : last - begin]
            answer.filled += last - first
            if answer.values is None and part.size == answer.end - answer.begin:
                answer.values = part
                continue
            if answer.values is None:
                answer.values = np.empty(answer.end - answer.begin, self._data_type)
            place = answer.values[first - answer.begin : last - answer.begin]
            if not np.may_share_memory(place, part):
                place[...] = part

    def completed(self) -> list[ResultChunk]:
        """The answers that are complete by now, in order; each is given once."""
        done = []
        while self._pending:
            answer = self._pending[0]
            if answer.values is None or answer.filled < answer.end - answer.begin:
                break
            self._pending.popleft()
            done.append(ResultChunk(answer.begin, answer.values))
        return done

    def _answers(self, begin: int, end: int) -> list[_Pending]:
        return [answer for answer in self._pending if answer.begin < end and begin < answer.end]
