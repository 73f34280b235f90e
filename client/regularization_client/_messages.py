"""The schema's own messages, as users of this package write them."""

from __future__ import annotations

import numpy as np
from google.protobuf.message import Message
from regularization.v1 import layout_pb2, regularizers_pb2

from regularization_client._errors import ArgumentError, DataTypeError

REGULARIZERS = {
    field.message_type.full_name: field.name
    for field in regularizers_pb2.Regularizer.DESCRIPTOR.oneofs_by_name["kind"].fields
    if field.message_type is not None
}
"""The name of a regularizer (its field in `Regularizer`) by the full name of its message."""

DATA_TYPES = {
    np.dtype("<f4"): layout_pb2.DATA_TYPE_FLOAT32,
    np.dtype("<f8"): layout_pb2.DATA_TYPE_FLOAT64,
}
"""What the schema calls the data types on the wire."""


def wrap(regularizer: Message | None) -> regularizers_pb2.Regularizer | None:
    """Return the choice message around a regularizer's own; a choice, or None, stays what it is.

    Raises:
        ArgumentError: If it is none of the schema's regularizers.
    """
    if regularizer is None or isinstance(regularizer, regularizers_pb2.Regularizer):
        return regularizer
    name = REGULARIZERS.get(regularizer.DESCRIPTOR.full_name) if isinstance(regularizer, Message) else None
    if name is None:
        raise ArgumentError(
            f"a regularizer must be one of {', '.join(sorted(REGULARIZERS.values()))} or None, "
            f"got {type(regularizer).__name__}"
        )
    choice = regularizers_pb2.Regularizer()
    # Copying alone would leave the choice unmade where every field is unset: the server is to name the field.
    getattr(choice, name).SetInParent()
    getattr(choice, name).CopyFrom(regularizer)
    return choice


def wire_type(data_type: np.dtype[np.generic], what: str) -> np.dtype[np.generic]:
    """Return a data type as it travels: the same, little-endian.

    Raises:
        DataTypeError: If the schema has no such data type.
    """
    little = data_type.newbyteorder("<")
    if little not in DATA_TYPES:
        supported = " and ".join(str(known) for known in DATA_TYPES)
        raise DataTypeError(f"{what} must be of data type {supported}, got {data_type}")
    return little
