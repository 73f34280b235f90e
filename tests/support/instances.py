"""From the kernels' table of cases to the contract's messages."""

from __future__ import annotations

import dataclasses
from typing import Any

from google.protobuf.message import Message
from regularization.v1.regularizers_pb2 import Regularizer


def message_of(regularizer: Any) -> Regularizer:
    """The message of a kernel's regularizer."""
    message = Regularizer()
    _fill(getattr(message, regularizer.name), regularizer)
    return message


def _fill(message: Any, instance: Any) -> None:
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        value = getattr(instance, field.name)
        if value is None:
            continue
        if isinstance(value, tuple):
            _extend(getattr(message, field.name), value)
        elif dataclasses.is_dataclass(value):
            _fill(getattr(message, field.name), value)
        else:
            setattr(message, field.name, value)


def _extend(listed: Any, values: tuple[Any, ...]) -> None:
    """Put values into a message that is a list of numbers, or into a list of messages."""
    if isinstance(listed, Message):
        listed.values.extend(values)
        return
    for value in values:
        _fill(listed.add(), value)
