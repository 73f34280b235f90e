"""The fields of a message as they lie in its bytes, and those that the schema does not have.

A message that protobuf has read can take fifty times its bytes: two bytes are enough for a message inside it.
So what is large is looked over first, field by field, without making anything of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
"""Wire types."""

_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_LARGEST_TAG, _LARGEST_LENGTH, _LARGEST_VARINT = (1 << 32) - 1, (1 << 31) - 1, (1 << 70) - 1
_LONGEST, _LONGEST_VARINT = 5, 10
"""Bytes of the longest tag or length, and of the longest number, that protobuf takes."""


class Field(NamedTuple):
    """A field of a message: its number, its wire type, and where its bytes lie."""

    number: int
    wire_type: int
    begin: int
    """Of its tag."""
    content: int
    """Of what stands behind tag and length."""
    end: int
    """Of the whole field; of a group, which the schema has none of, where its own fields begin."""


class Unknown(NamedTuple):
    """A field that the schema does not have."""

    message: str
    """Path of the message that has it, from the message that was read; empty for that itself."""
    number: int
    """The field's number."""


def fields(raw: bytes | memoryview, begin: int, end: int, most: int) -> Iterator[Field]:
    """The fields of the message that lies there, in the order of its bytes.

    Args:
        raw: The bytes.
        begin: Where the message begins.
        end: Where it ends.
        most: How many fields it may have.

    Raises:
        google.protobuf.message.DecodeError: If there is no message, or one of more fields.
    """
    at = begin
    for _ in range(most):
        if at >= end:
            return
        # Nearly all tags and lengths are of one byte.
        tag, content = raw[at], at + 1
        if tag >= 0x80:
            tag, content = _number(raw, at, min(end, at + _LONGEST), _LARGEST_TAG)
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or wire_type > FIXED32 or wire_type == GROUP_END:
            raise DecodeError(f"no field begins with {tag}")
        if wire_type == BYTES:
            if content < end and (length := raw[content]) < 0x80:
                content += 1
            else:
                length, content = _number(raw, content, min(end, content + _LONGEST), _LARGEST_LENGTH)
            after = content + length
        elif wire_type == VARINT:
            _, after = _number(raw, content, min(end, content + _LONGEST_VARINT), _LARGEST_VARINT)
        else:
            after = content + _FIXED_BYTES.get(wire_type, 0)
        if after > end:
            raise DecodeError("a field goes past the end of its message")
        yield Field(number, wire_type, at, content, after)
        at = after
    if at < end:
        raise DecodeError(f"a message must have at most {most} fields in its bytes")


def _number(raw: bytes | memoryview, at: int, end: int, largest: int) -> tuple[int, int]:
    """The number that stands there, and where it ends."""
    number = 0
    for shift in range(end - at):
        byte = raw[at + shift]
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            if number > largest:
                break
            return number, at + shift + 1
    raise DecodeError("a number is too long, or cut off")


def has_unknown_fields(message: Message) -> bool:
    """Whether a message has fields that the schema does not have, at any depth; they are dropped from it."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return message.ByteSize() != size


def unknown_fields(message: Message, path: str = "") -> Iterator[Unknown]:
    """The fields that the schema does not have of a message and of all inside it.

    Args:
        message: The message.
        path: Its own path.
    """
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined] # its stubs forget that it is a sequence
        yield Unknown(path, unknown.field_number)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner = f"{path}.{field.name}" if path else field.name
        if field.is_repeated:
            for index, each in enumerate(value):
                yield from unknown_fields(each, f"{inner}[{index}]")
        else:
            yield from unknown_fields(value, inner)
