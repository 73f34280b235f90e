"""The errors of the mathematics and of the engine.

A small tree: ``RegularizationError``, and below it one class for each kind of mistake, with the name of
its reason in the contract. The transport has further ones of its own, and maps all of them to statuses in
one table.
"""

from __future__ import annotations

from typing import Self


class RegularizationError(Exception):
    """What a caller did wrong, or what the process cannot give; says rule, value and place.

    Attributes:
        text: The rule and the value that breaks it, without the place.
        field: Dotted path of the field at fault, relative to what was being read.
        segment: Name of the segment concerned.
        element: Index of the element concerned; of the whole vector once the engine has let it out.
        metadata: Further figures by name, for programs.
    """

    def __init__(
        self,
        text: str,
        *,
        field: str | None = None,
        segment: str | None = None,
        element: int | None = None,
        **metadata: int | str,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.field = field
        self.segment = segment
        self.element = element
        self.metadata = metadata

    def within(self, path: str) -> Self:
        """Put ``path`` before the field's, as the error climbs out of a nested message."""
        self.field = path if not self.field else f"{path}.{self.field}"
        return self

    def __str__(self) -> str:
        return f"{self.field} {self.text}" if self.field else self.text


class FieldMissing(RegularizationError):
    """A required field is unset."""


class FieldOutOfRange(RegularizationError):
    """A number is outside its field's range."""


class DataTypeUnsupported(RegularizationError):
    """The data type is not one that is computed."""


class LayoutInvalid(RegularizationError):
    """A segment's name or shape breaks a rule, or its shape does not fit its regularizer."""


class GroupsInvalid(RegularizationError):
    """Groups do not fill the segment, or their weights do not match them."""


class JointInvalid(RegularizationError):
    """A joint regularizer breaks a rule, or the segments that name it do."""


class ElementRangeInvalid(RegularizationError):
    """An element range leaves the layout or cuts where it must not."""


class ChunkOutOfOrder(RegularizationError):
    """A chunk does not start where the last one ended."""


class StreamTooShort(RegularizationError):
    """The chunks ended before the last element."""


class StreamTooLong(RegularizationError):
    """A chunk goes past the last element."""


class OperandSizeMismatch(RegularizationError):
    """An operand has another length than the parameters."""


class OperandUnsupported(RegularizationError):
    """The method or the regularizer does not take the operand."""


class OperandInconsistent(RegularizationError):
    """A chunk has other operands for a segment than the segment's first chunk."""


class OperandOutOfRange(RegularizationError):
    """A weight or a step scale is negative."""


class ValueNotFinite(RegularizationError):
    """NaN or an infinity in the data."""


class GradientUndefined(RegularizationError):
    """No subgradient exists at these parameters."""


class MethodUnsupported(RegularizationError):
    """The regularizer has no such method."""


class ModifierUnsupported(RegularizationError):
    """The regularizer or the method does not take the modifier."""


class MeasurementInvalid(RegularizationError):
    """The bytes are no measurement, or that of another call."""


class MeasurementIncomplete(RegularizationError):
    """The measurement does not answer everything yet."""


class StatisticsInvalid(RegularizationError):
    """The bytes are no statistics, or those of another call or round."""


class StatisticsOverlap(RegularizationError):
    """Two parts have the same element."""


class BudgetExceeded(RegularizationError):
    """What must be buffered does not fit the memory budget."""
