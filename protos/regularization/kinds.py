"""The schema's regularizers and the kinds of their fields, for whatever people write of them."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from .v1 import regularizers_pb2

NAMES = tuple(field.name for field in regularizers_pb2.Regularizer.DESCRIPTOR.oneofs_by_name["kind"].fields)
"""Names of the regularizers, in the order of the schema."""

FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
WHOLE_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}
BOOL, ENUM = FieldDescriptor.CPPTYPE_BOOL, FieldDescriptor.CPPTYPE_ENUM


def wrapped_list(message: Descriptor) -> str | None:
    """Name of the list that a message only wraps, and that people write for it; else None."""
    return message.fields[0].name if len(message.fields) == 1 and message.fields[0].is_repeated else None
