"""What a segment's elements and operands must be, and the errors that say where they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OperandInconsistent, OperandOutOfRange, OperandUnsupported, ValueNotFinite
from ..formats import are_finite, numbers_of
from .methods import Operand
from .workspace import borrowed_workspace

if TYPE_CHECKING:
    from .call import Call
    from .chunk import Chunk
    from .prepared_segment import PreparedSegment


class Inspection:
    """The rules for one segment in one call, or for neighbours that are computed as one.

    Args:
        call: The call.
        segment: The segment.
        measured: Whether it is measured, or was: then loss gradients are all that it takes.

    Attributes:
        operands: Those of its elements; None until the first came.
    """

    def __init__(self, call: Call, segment: PreparedSegment, *, measured: bool = False) -> None:
        self._call = call
        self._segment = segment
        self._measured = measured
        self.operands: frozenset[Operand] | None = None

    def take(self, operands: frozenset[Operand], part: Chunk) -> None:
        """Take the operands of a part of a chunk, which differ from those so far.

        Raises:
            OperandInconsistent: If there were others before in the same segment.
            OperandUnsupported: If method or regularizer do not take them.
        """
        layout = self._call.layout
        index = layout.segment_at(part.element_offset)
        name = layout.segments[index].name
        if self.operands is not None and part.element_offset != layout.starts[index]:
            other = next(operand for operand in Operand if operand in operands ^ self.operands)
            verb = "must not be set" if other in operands else "must be set"
            raise OperandInconsistent(
                f"{verb}: the first chunk of segment {name!r} decides",
                field=other.value,
                segment=name,
                element=part.element_offset,
            )
        for operand in Operand:
            refuser = self._refuser(operand) if operand in operands else None
            if refuser is not None:
                text = f"is not taken by {refuser}"
                raise OperandUnsupported(text, field=operand.value, segment=name)
        forward = self._segment.forward
        if forward is not None and forward is not (Operand.LOSS_GRADIENTS in operands):
            raise OperandInconsistent(
                f"must {'' if forward else 'not '}be set: so segment {name!r} was measured",
                field=Operand.LOSS_GRADIENTS.value,
                segment=name,
                element=part.element_offset,
            )
        self.operands = operands

    def check_values(self, part: Chunk) -> None:
        """Check the elements of a part of a chunk.

        Raises:
            ValueNotFinite: If one is not finite, unless the call takes it.
            OperandOutOfRange: If one is negative that must not be.
        """
        arrays = part.arrays()
        if not self._call.propagate_non_finite:
            with borrowed_workspace() as workspace:
                for name, array in arrays.items():
                    finite = are_finite(array, workspace.array("finite", array.size, np.bool_))
                    if not finite.all():
                        first = int(np.argmin(finite))
                        text = f"must be finite, got {array[first]!s}"
                        raise ValueNotFinite(**self._place(text, name, part, first))
        for operand in part.operands:
            array = arrays[operand.value]
            if not operand.may_be_negative and (negative := array < 0).any():
                first = int(np.argmax(negative))
                text = f"must be >= 0, got {numbers_of(array)[first]!s}"
                raise OperandOutOfRange(**self._place(text, operand.value, part, first))

    def _refuser(self, operand: Operand) -> str | None:
        """The name of what does not take an operand; None where all do."""
        refuser = operand.refused_by(self._call.method, self._segment.regularizer)
        if refuser is not None or operand is Operand.LOSS_GRADIENTS:
            return refuser
        if self._segment.specification.keeps_zeros and operand is Operand.REFERENCE:
            return "a segment whose zeros stay zero"
        if self._segment.joint is not None:
            return f"joint regularizers, as {self._segment.joint.name!r} is"
        return "a segment that is measured" if self._measured else None

    def _place(self, text: str, name: str, part: Chunk, first: int) -> dict[str, Any]:
        """What an error says of the element at an index of a part."""
        element = part.element_offset + first
        return {
            "text": f"{text} at element {element}",
            "field": name,
            "segment": self._call.layout.name_at(element),
            "element": element,
        }
