"""Regularizers and step sizes, as written on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from google.protobuf import descriptor
from google.protobuf.message import Message
from regularization.kinds import BOOL, ENUM, FLOATS, NAMES, WHOLE_NUMBERS, wrapped_list
from regularization.patterns import EVERYTHING
from regularization.suggestions import unknown
from regularization.v1 import regularizers_pb2

_NONE = "none"
_TRUTHS = {"true": True, "false": False}

SYNTAX = """\
A regularizer is written NAME:FIELD=VALUE,FIELD=VALUE, with the names of the schema ("regularize
regularizers" lists them); a dot leads into a field, brackets hold a list. With PATTERN= before it, it is
for the tensor of that name, or for those whose names match that pattern (*, ?, [abc]); "none" exempts them.
The first that fits counts, exact names before patterns, and one without a pattern last, for all that is
left; every tensor needs one."""

T = TypeVar("T")


class RegularizerType(click.ParamType):  # type: ignore[type-arg] # not generic in all releases
    """[PATTERN=]NAME:FIELD=VALUE,… as a pair of pattern and message, or None."""

    name = "regularizer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        if isinstance(value, tuple):
            return value
        name = value.partition(":")[0]
        pattern, rest = (EVERYTHING, value) if name in {*NAMES, _NONE} else _split_pattern(value)
        try:
            return pattern, parse_regularizer(rest)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class StepSizeType(click.ParamType):  # type: ignore[type-arg] # not generic in all releases
    """[PATTERN=]NUMBER as a pair of pattern and number."""

    name = "step size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        if isinstance(value, tuple):
            return value
        pattern, _, number = value.rpartition("=")
        try:
            step_size = float(number)
        except ValueError:
            self.fail(f"{value!r}: must end in a number, got {number!r}", param, ctx)
        if not 0 <= step_size < math.inf:
            self.fail(f"{value!r}: must be finite and >= 0, got {step_size}", param, ctx)
        return pattern or EVERYTHING, step_size


def as_rules(pairs: Iterable[tuple[str, T]], what: str) -> dict[str, T]:
    """Return pairs of pattern and setting as a mapping; what is for everything comes last.

    Raises:
        click.UsageError: If two are for the same pattern.
    """
    rules: dict[str, T] = {}
    for pattern, setting in pairs:
        if pattern in rules:
            for_what = "everything" if pattern == EVERYTHING else repr(pattern)
            raise click.UsageError(f"{what} is given twice for {for_what}")
        rules[pattern] = setting
    if EVERYTHING in rules:
        rules[EVERYTHING] = rules.pop(EVERYTHING)
    return rules


def parse_regularizer(text: str) -> Message | None:
    """Return the message that a specification without a pattern stands for; None for "none".

    Raises:
        ValueError: If there is no such regularizer or field, or the value is not of the field's type.
    """
    name, _, fields = text.partition(":")
    if name == _NONE:
        if fields:
            raise ValueError(f"{_NONE} has no fields, got {fields!r}")
        return None
    if name not in NAMES:
        raise ValueError(unknown(name, [*NAMES, _NONE], "regularizer"))
    message: Message = getattr(regularizers_pb2.Regularizer(), name)
    assigned: set[str] = set()
    for assignment in re.split(r",(?![^\[]*\])", fields) if fields else []:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} must be FIELD=VALUE")
        if path.strip() in assigned:
            raise ValueError(f"{path.strip()} is given twice")
        assigned.add(path.strip())
        _assign(message, path.strip().split("."), value.strip())
    return message


def _split_pattern(text: str) -> tuple[str, str]:
    """Split at the first equals sign that a regularizer's name follows, or else at the first of all."""
    match = re.match(rf"(.+?)=((?:{'|'.join([*NAMES, _NONE])})(?::.*)?)$", text)
    if match:
        return match[1], match[2]
    pattern, equals, rest = text.partition("=")
    return (pattern, rest) if equals and ":" not in pattern else (EVERYTHING, text)


def _assign(message: Any, path: list[str], value: str) -> None:
    field = message.DESCRIPTOR.fields_by_name.get(path[0])
    if field is None:
        raise ValueError(unknown(path[0], message.DESCRIPTOR.fields_by_name, "field"))
    choice = field.containing_oneof
    chosen = message.WhichOneof(choice.name) if choice is not None else None
    if chosen not in {None, field.name}:
        raise ValueError(f"{field.name} and {chosen} exclude each other")
    if field.message_type is not None and field.is_repeated:
        raise ValueError(f"{field.name} is a list of tables, which a plan file has room for (--plan)")
    if field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        inner_fields = field.message_type.fields
        if len(path) == 1 and (wrapped := wrapped_list(field.message_type)) is not None:
            path = [path[0], wrapped]
        if len(path) == 1:
            raise ValueError(f"{field.name} has fields of its own: {field.name}.{inner_fields[0].name}=…")
        _assign(inner, path[1:], value)
    elif len(path) > 1:
        raise ValueError(f"{field.name} has no fields")
    elif field.is_repeated:
        if not (value.startswith("[") and value.endswith("]")):
            raise ValueError(f"{field.name} must be a list, [1,2,3], got {value!r}")
        items = value[1:-1].split(",") if value[1:-1].strip() else []
        scalars = [_scalar(field, item.strip()) for item in items]
        _within_range(field, value, lambda: getattr(message, field.name).extend(scalars))
    else:
        scalar = _scalar(field, value)
        _within_range(field, value, lambda: setattr(message, field.name, scalar))


def _within_range(field: descriptor.FieldDescriptor, value: str, assign: Callable[[], object]) -> None:
    try:
        assign()
    except ValueError as error:
        raise ValueError(f"{field.name} is out of its type's range, got {value}") from error


def _scalar(field: descriptor.FieldDescriptor, text: str) -> Any:
    kind, what = field.cpp_type, field.name
    try:
        if kind in FLOATS:
            what += " must be a number"
            return float(text)
        if kind in WHOLE_NUMBERS:
            what += " must be a whole number"
            return int(text)
        if kind == BOOL:
            what += " must be true or false"
            return _TRUTHS[text]
        if kind == ENUM and field.enum_type is not None:
            what += f" must be one of {', '.join(field.enum_type.values_by_name)}"
            return field.enum_type.values_by_name[text].number
    except (ValueError, KeyError):
        raise ValueError(f"{what}, got {text!r}") from None
    return text
