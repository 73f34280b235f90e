"""From tables, as TOML has them, to messages of the schema: keys are fields, and tables in them messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from .kinds import BOOL, FLOATS, WHOLE_NUMBERS, wrapped_list
from .suggestions import unknown


def fill(message: Any, table: Mapping[str, Any], path: str = "") -> None:
    """Set the fields of a message that a table names.

    Args:
        message: The message.
        table: Values by name of field.
        path: What stands before a field's name in errors.

    Raises:
        ValueError: If the message has no such field, or the value is not of its type.
    """
    known = message.DESCRIPTOR.fields_by_name
    for key, value in table.items():
        field = known.get(key)
        if field is None:
            raise ValueError(unknown(key, known, "key", path))
        choice = field.containing_oneof
        chosen = message.WhichOneof(choice.name) if choice is not None else None
        if chosen is not None:
            raise ValueError(f"{path + key!r} and {path + chosen!r} exclude each other")
        _set(message, field, value, path + key)


def truth(table: Mapping[str, Any], key: str) -> bool:
    """Whether a key is true; it is not where it is not there.

    Raises:
        ValueError: If it is neither true nor false.
    """
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, got {value!r}")  # noqa: TRY004 - what a file says
    return value


def number(table: Mapping[str, Any], key: str, least: float, *, is_above: bool) -> float | None:
    """The number of a key; None where it is not there.

    Args:
        table: The table.
        key: The key.
        least: The least number that it may be.
        is_above: Whether it must be more than that.

    Raises:
        ValueError: If it is no finite number in its range.
    """
    value = table.get(key)
    if value is None:
        return None
    rule = f"{'>' if is_above else '>='} {least:g}"
    if not (_is_number(value) and value < math.inf and (value > least if is_above else value >= least)):
        raise ValueError(f"{key} must be a number, finite and {rule}, got {value!r}")
    return _as_float(value, key)


def listed(message: Descriptor) -> str:
    """The names of a message's fields."""
    return ", ".join(message.fields_by_name)


def _set(message: Any, field: FieldDescriptor, value: Any, path: str) -> None:
    if field.message_type is not None and field.is_repeated:
        if not isinstance(value, list):
            raise ValueError(f"{path} must be a list, got {value!r}")
        for index, each in enumerate(value):
            _fill_one(getattr(message, field.name).add(), field.message_type, each, f"{path}[{index}]")
    elif field.message_type is not None:
        if isinstance(value, list) and (wrapped := wrapped_list(field.message_type)) is not None:
            value = {wrapped: value}
        _fill_one(getattr(message, field.name), field.message_type, value, path)
    elif field.is_repeated:
        if not isinstance(value, list):
            raise ValueError(f"{path} must be a list, got {value!r}")
        getattr(message, field.name).extend(_scalar(field, item, path) for item in value)
    else:
        scalar = _scalar(field, value, path)
        try:
            setattr(message, field.name, scalar)
        except ValueError as error:
            raise ValueError(f"{path} is out of its type's range, got {value!r}") from error


def _fill_one(message: Any, kind: Descriptor, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{path} must be a table of {listed(kind)}, got {value!r}")  # noqa: TRY004
    message.SetInParent()
    fill(message, value, path + ".")


def _scalar(field: FieldDescriptor, value: Any, path: str) -> Any:
    kind = field.cpp_type
    if kind in FLOATS:
        if not _is_number(value):
            raise ValueError(f"{path} must be a number, got {value!r}")
        return _as_float(value, path)
    if kind in WHOLE_NUMBERS:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{path} must be a whole number, got {value!r}")
    elif kind == BOOL:
        if not isinstance(value, bool):
            raise ValueError(f"{path} must be true or false, got {value!r}")
    elif not isinstance(value, str):
        raise ValueError(f"{path} must be a text, got {value!r}")
    return value


def _as_float(value: float, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{path} is out of its type's range") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
