"""How much memory a header's segments may take, counted in their bytes before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from regularization.fields import BYTES, GROUP, Field, fields
from regularization_kernels.engine import MAX_AXES
from regularization_kernels.errors import LayoutInvalid

from ..units import KIB
from .binding import is_list
from .refusals import FieldUnknown

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

MOST_FIELDS = 100
"""Fields that the bytes of a message in a header may have, apart from lists and the segments themselves."""

_SCANNED_AT_ONCE = 64 * KIB
"""Bytes of a list that are scanned at once."""

_SMALL_SEGMENT = 128
"""Bytes of a segment, or of a message in it, that is not scanned."""

# Measured, rounded up. A value of a list takes its place in protobuf, an object, its place in a tuple, and
# its place in the arrays that are made of it; a byte, what is made of messages of few bytes in a list.
_SEGMENT_BYTES, _BYTE_BYTES, _VALUE_BYTES = 1024, 32, 80

_MESSAGE_VALUES = 4
"""A message of a list takes as much as so many values: such as groups, and what is prepared of them."""

VALUE_BYTES_KEPT = 48
"""Of these, bytes that a value takes once a call is made."""

_NO_ENDINGS = bytes(range(0x80, 0x100))
"""The bytes that no varint ends with."""


class Memory(NamedTuple):
    """Bytes that messages may take."""

    at_first: int
    """Until a call is made of them."""
    kept: int
    """Bytes of these that the call may take."""

    def plus(self, other: Memory) -> Memory:
        """Those of both."""
        return Memory(self.at_first + other.at_first, self.kept + other.kept)


def memory_of(raw: memoryview, places: Sequence[Field], descriptor: Descriptor, name: str) -> Memory:
    """An upper bound for the memory of segments, of joint regularizers, or of a plan's rules.

    Args:
        raw: The bytes in which they lie.
        places: Where.
        descriptor: What they are.
        name: Path of their field in the layout.

    Raises:
        LayoutInvalid: If a shape has too many axes.
        FieldUnknown: If there is a group, which the schema has not.
    """
    fixed = values = 0
    for index, field in enumerate(places):
        length = field.end - field.content
        if length <= _SMALL_SEGMENT:
            fixed += _SEGMENT_BYTES + _BYTE_BYTES * length
        else:
            fixed += _SEGMENT_BYTES + 2 * length
            values += _most_values(raw, field, descriptor, f"{name}[{index}]")
    return Memory(fixed + _VALUE_BYTES * values, fixed + VALUE_BYTES_KEPT * values)


def _most_values(raw: memoryview, place: Field, descriptor: Descriptor, path: str) -> int:
    """An upper bound for the values in the lists of a message and of the messages inside it."""
    values = 0
    for field in fields(raw, place.content, place.end, MOST_FIELDS):
        refuse_group(field, path)
        known = _known(descriptor).get(field.number)
        if known is None or field.wire_type != BYTES:
            values += known is not None
            continue
        if known.message_type is not None and known.is_repeated:
            values += _MESSAGE_VALUES
        if known.message_type is None:
            values += _most_axes(raw, field, known, path)
        elif is_list(known.message_type):
            values += _most_in_list(raw, field, known.message_type.fields[0])
        elif field.end - field.content > _SMALL_SEGMENT:
            values += _most_values(raw, field, known.message_type, f"{path}.{known.name}")
        else:
            values += field.end - field.content
    return values


@cache
def _known(descriptor: Descriptor) -> dict[int, FieldDescriptor]:
    """The fields of a message, but for those of one number: their memory is counted by the byte."""
    return {
        field.number: field
        for field in descriptor.fields
        if field.is_repeated or field.message_type is not None
    }


def _most_axes(raw: memoryview, place: Field, field: FieldDescriptor, path: str) -> int:
    """An upper bound for the numbers of a shape, the only list that is not a message of its own."""
    if place.end - place.content <= MAX_AXES:
        return place.end - place.content
    axes = _most_in_list(raw, place, field)
    if axes > MAX_AXES:
        raise LayoutInvalid(f"must have at most {MAX_AXES} axes, got {axes}", field=f"{path}.{field.name}")
    return axes


def _most_in_list(raw: memoryview, place: Field, field: FieldDescriptor) -> int:
    if field.type == field.TYPE_DOUBLE:
        return (place.end - place.content) // 8
    # Each number ends with a byte below 0x80, and has no other.
    return sum(
        len(bytes(raw[begin : min(begin + _SCANNED_AT_ONCE, place.end)]).translate(None, _NO_ENDINGS))
        for begin in range(place.content, place.end, _SCANNED_AT_ONCE)
    )


def refuse_group(field: Field, path: str) -> None:
    """Refuse a field that is a group.

    Raises:
        FieldUnknown: If it is one.
    """
    # Where a group ends is not known without reading it, and the schema has none.
    if field.wire_type == GROUP:
        raise FieldUnknown.at(path, field.number)
