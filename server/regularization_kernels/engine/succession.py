"""Chunks that follow each other through a range of the vector, without gap or overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ChunkOutOfOrder, OperandSizeMismatch, StreamTooLong, StreamTooShort

if TYPE_CHECKING:
    from .chunk import Chunk
    from .layout import Layout


class Succession:
    """How far a stream has come.

    Args:
        layout: The whole vector's.
        begin: First element of the stream.
        end: One past the last.

    Attributes:
        position: The element that comes next.
        end: One past the last.
    """

    def __init__(self, layout: Layout, begin: int, end: int) -> None:
        self._layout = layout
        self.position = begin
        self.end = end

    def check(self, chunk: Chunk) -> None:
        """Check that a chunk comes next, and that its arrays have one length.

        Raises:
            ChunkOutOfOrder: If another element comes next.
            StreamTooLong: If it goes past the end.
            OperandSizeMismatch: If an operand has another length than the parameters.
        """
        if chunk.element_offset != self.position:
            raise ChunkOutOfOrder(
                f"must be {self.position}, where the last chunk ended, got {chunk.element_offset}",
                field="element_offset",
                element=chunk.element_offset,
                expected=self.position,
                received=chunk.element_offset,
            )
        if chunk.end > self.end:
            raise StreamTooLong(
                f"stream must end at element {self.end}, but the chunk goes on to {chunk.end}",
                field="parameters",
                element=self.end,
                expected=self.end,
                received=chunk.end,
            )
        for name, array in chunk.arrays().items():
            if array.size != chunk.parameters.size:
                raise OperandSizeMismatch(
                    f"must have as many elements as parameters, {chunk.parameters.size}, got {array.size}",
                    field=name,
                    element=chunk.element_offset,
                )

    def check_complete(self) -> None:
        """Check that all elements have come.

        Raises:
            StreamTooShort: If not.
        """
        if self.position < self.end:
            raise StreamTooShort(
                f"stream must go on to element {self.end}, but ended at {self.position}",
                segment=self._layout.name_at(self.position),
                element=self.position,
                expected=self.end,
                received=self.position,
            )
