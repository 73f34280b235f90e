"""The schema's own messages, as users of this package write them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.message import Message
from regularization.suggestions import did_you_mean
from regularization.v1 import layout_pb2, regularizers_pb2

from ._errors import ArgumentError, DataTypeError

REGULARIZERS = {
    field.message_type.full_name: field.name
    for field in regularizers_pb2.Regularizer.DESCRIPTOR.oneofs_by_name["kind"].fields
    if field.message_type is not None
}
"""The name of a regularizer (its field in ``Regularizer``) by the full name of its message."""

FIXED_POINT = {"int8": "q7", "int16": "q15", "int32": "q31"}
"""What NumPy's integers stand for: the number times 2^7, 2^15 or 2^31."""

_OF_FIXED_POINT = {name: integer for integer, name in FIXED_POINT.items()}

DATA_TYPES = {
    _OF_FIXED_POINT.get(name, name): number
    for name, number in (
        (name.removeprefix("DATA_TYPE_").lower(), number) for name, number in layout_pb2.DataType.items()
    )
    if number
}
"""The schema's data types by the names that NumPy has for them, bfloat16 by the package ``ml_dtypes``."""

BFLOAT16_BITS = np.dtype("<u2")
"""Stands for bfloat16 where nobody computes with it, as in files: so ``ml_dtypes`` need not be there."""


def wrap(regularizer: Message | None) -> regularizers_pb2.Regularizer | None:
    """Return the choice message around a regularizer's own; a choice, or None, stays what it is.

    Raises:
        ArgumentError: If it is none of the schema's regularizers.
    """
    if regularizer is None or isinstance(regularizer, regularizers_pb2.Regularizer):
        return regularizer
    name = REGULARIZERS.get(regularizer.DESCRIPTOR.full_name) if isinstance(regularizer, Message) else None
    if name is None:
        text = f"a regularizer must be made as L1Norm(strength=0.1) is, or be None, got {_told(regularizer)}"
        raise ArgumentError(text)
    choice = regularizers_pb2.Regularizer()
    # Copying alone would leave the choice unmade where every field is unset: the server is to name the field.
    getattr(choice, name).SetInParent()
    getattr(choice, name).CopyFrom(regularizer)
    return choice


def _told(given: object) -> str:
    """What somebody gave for a regularizer, and what they may have meant."""
    if isinstance(given, type):
        return f"the class {given.__name__}, not one of it"
    if not isinstance(given, str):
        return type(given).__name__
    messages = {name: full_name.rpartition(".")[2] for full_name, name in REGULARIZERS.items()}
    meant = f": that is {messages[given]}(...)" if given in messages else ""
    return f"{given!r}{meant or did_you_mean(given, messages.values())}"


def wire_type(data_type: np.dtype[np.generic], what: str) -> np.dtype[np.generic]:
    """Return a data type as it travels: the same, little-endian.

    Raises:
        DataTypeError: If the schema has no such data type.
    """
    little = _little_endian(data_type)
    if little is None:
        known = " or ".join(
            f"{name} ({FIXED_POINT[name].upper()})" if name in FIXED_POINT else name for name in DATA_TYPES
        )
        raise DataTypeError(f"{what} must be of data type {known}, got {data_type}")
    return little


@lru_cache
def _little_endian(data_type: np.dtype[Any]) -> np.dtype[Any] | None:
    # NumPy puts the name together anew each time, which takes longer than all else here.
    return data_type.newbyteorder("<") if data_type.name in DATA_TYPES else None


def schema_type(wire_type: np.dtype[Any]) -> layout_pb2.DataType.ValueType:
    """Return what the schema calls a data type that travels."""
    name = "bfloat16" if wire_type == BFLOAT16_BITS else wire_type.name
    return DATA_TYPES[name]
