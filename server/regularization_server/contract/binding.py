"""From a regularizer's message to its kernel: one generic reader for all of them.

A kernel's constructor has its message's field names. An unset field is not passed on, so the constructor's
default decides; where it has none the field is missing.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import regularization_kernels
from regularization_kernels.errors import FieldMissing, RegularizationError
from regularization_kernels.regularizer import REGULARIZERS

from .refusals import RegularizerUnknown

if TYPE_CHECKING:
    from types import TracebackType

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message
    from regularization.v1.regularizers_pb2 import Regularizer as RegularizerMessage
    from regularization_kernels.regularizer import Regularizer


class within:  # noqa: N801 - it reads as a function, as ``contextlib.suppress`` does
    """Put ``path`` before the field of an error that leaves the block, and name the segment it concerns.

    A class, for a small call enters many of these: a generator would take three times as long.
    """

    __slots__ = ("_path", "_segment")

    def __init__(self, path: str, segment: str | None = None) -> None:
        self._path = path
        self._segment = segment

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RegularizationError):
            error.segment = error.segment or self._segment
            error.within(self._path)


def regularizer_of(message: RegularizerMessage) -> Regularizer:
    """The regularizer that a message chooses.

    Raises:
        RegularizerUnknown: If it chooses none, or one that is not known here.
        RegularizationError: If the kernel rejects the parameters.
    """
    name = message.WhichOneof("kind")
    if name is None or name not in REGULARIZERS:
        known = ", ".join(REGULARIZERS)
        raise RegularizerUnknown(f"must have one of {known}, got {name or 'none that this server knows'}")
    with within(name):
        regularizer: Regularizer = construct(REGULARIZERS[name], getattr(message, name))
    return regularizer


def construct(cls: type[Any], message: Message, **converted: Any) -> Any:
    """An object of the dataclass ``cls`` from the fields of a message that are set.

    Args:
        cls: The dataclass, which has the message's field names.
        message: The message.
        converted: Values of fields that are no numbers, messages or lists of these.

    Raises:
        FieldMissing: If a field that ``cls`` has no default for is unset.
        RegularizationError: If ``cls`` rejects a value.
    """
    arguments = {
        field.name: converted[field.name] if field.name in converted else _value(message, field)
        for field in _set_fields(message)
    }
    for name in required_fields(cls):  # type: ignore[arg-type] # classes are hashable
        if name not in arguments:
            raise FieldMissing("is required and unset", field=name)
    try:
        return cls(**arguments)
    except RegularizationError as error:
        error.field = error.field and _path_in(message.DESCRIPTOR, error.field)
        raise


@cache
def required_fields(cls: Any) -> tuple[str, ...]:
    """Names of a dataclass's fields that have no default."""
    return tuple(
        field.name
        for field in fields(cls)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    )


@cache
def is_list(descriptor: Descriptor) -> bool:
    """Whether a message is nothing but a list, so that an empty one can be told from an unset one."""
    names = [(field.name, field.is_repeated) for field in descriptor.fields]
    return names == [("values", True)]


def _path_in(descriptor: Any, path: str) -> str:
    """The path of a kernel's field in its message, where the elements of a list are one level deeper."""
    name, bracket, rest = path.partition("[")
    field = descriptor.fields_by_name.get(name)
    if bracket and field is not None and field.message_type is not None and is_list(field.message_type):
        return f"{name}.values[{rest}"
    return path


def _set_fields(message: Message) -> list[Any]:
    """The fields that are set: of lists, those with something in them; a number that cannot be unset is."""
    return [
        field
        for field in message.DESCRIPTOR.fields
        if (message.HasField(field.name) if field.has_presence else _has_value(message, field))
    ]


def _has_value(message: Message, field: Any) -> bool:
    return not field.is_repeated or len(getattr(message, field.name)) > 0


def _value(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.message_type is None:
        return tuple(value) if field.is_repeated else value
    if is_list(field.message_type):
        return tuple(value.values)
    cls = getattr(regularization_kernels, field.message_type.name)
    if field.is_repeated:
        return tuple(_constructed(cls, each, f"{field.name}[{index}]") for index, each in enumerate(value))
    return _constructed(cls, value, field.name)


def _constructed(cls: type[Any], message: Message, path: str) -> Any:
    with within(path):
        return construct(cls, message)
