"""Plan files: what is done with the tensors of a model, in TOML, a table for each name or pattern."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor
from google.protobuf.message import Message
from regularization.v1 import regularizers_pb2

from .._errors import ArgumentError
from .._joint import Joint
from .._modified import Modified
from .._request.layout import Regularizer
from .._request.names import resolve
from .._suggestions import unknown
from .fields import BOOL, FLOATS, NAMES, WHOLE_NUMBERS, wrapped_list
from .settings import Setting

KEYS = ("regularizer", "exempt", "step_size", "box", "smoothing", "joint")
"""The keys of a table, beside the fields of its regularizer."""

_LEFT = 'add ["*"] with exempt = true to leave alone what no other fits'

SYNTAX = """\
A plan file says the same in TOML: a table for each name or pattern, with the regularizer's name, its fields
as keys, and maybe a step_size, bounds (box) and a smoothing; with joint = true it is of all tensors of the
table together, as one vector. A tensor's own name comes before patterns, and the first pattern that fits
counts; every tensor needs a table.

\b
  ["layers.*.weight"]
  regularizer = "group_lasso"
  strength = 0.01
  groups = {axis = 0, sqrt_size = true}
  step_size = 0.1
\b
  [head]
  regularizer = "l1_norm"
  strength = 1e-4
  box = {lower = 0, upper = 1}
\b
  ["embedding.*"]
  regularizer = "top_k"
  fraction = 0.1
  joint = true
\b
  ["*.bias"]
  exempt = true"""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """Settings by a plan file."""

    path: Path
    rules: Mapping[str, Setting]
    """By name or pattern of tensors, in the file's order."""
    step_size: float | None
    """The step size of tensors whose table has none."""

    def of(self, names: Collection[str], *, stepping: Collection[str] = ()) -> Mapping[str, Setting]:
        """See ``Settings.of``; a plan may leave any step size open."""
        return resolve(self.rules, names, str(self.path), hint=_LEFT)


def read_plan(path: Path, step_size: float | None) -> PlanFile:
    """Read a plan file.

    Args:
        path: The file.
        step_size: The step size of tensors whose table has none.

    Raises:
        ArgumentError: If it is no TOML, or says what cannot be; with pattern and key.
        OSError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: {error}") from error
    rules = {}
    for pattern, table in tables.items():
        try:
            rules[pattern] = _setting(table)
        except ValueError as error:
            raise ArgumentError(f"{path}: [{pattern!r}]: {error}") from error
    return PlanFile(path, rules, step_size)


def _setting(table: Any) -> Setting:
    if not isinstance(table, dict):
        raise ValueError(f"must be a table with regularizer = or exempt = true, got {table!r}")  # noqa: TRY004
    message = _regularizer(table)
    box = _box(table["box"]) if "box" in table else None
    smoothing = _number(table, "smoothing", "> 0", lambda value: 0 < value < math.inf)
    plain = box is None and smoothing is None
    regularizer: Regularizer = message if plain else Modified(message, box, smoothing)
    if _is_joint(table):
        if message is None or not plain:
            raise ValueError("joint = true goes with a regularizer, without box and smoothing")
        regularizer = Joint(message)
    step_size = _number(table, "step_size", ">= 0", lambda value: 0 <= value < math.inf)
    return Setting(regularizer, step_size)


def _is_joint(table: Mapping[str, Any]) -> bool:
    joint = table.get("joint", False)
    if not isinstance(joint, bool):
        raise ValueError(f"joint must be true or false, got {joint!r}")  # noqa: TRY004
    return joint


def _number(table: Mapping[str, Any], key: str, rule: str, is_right: Callable[[float], bool]) -> float | None:
    value = table.get(key)
    if value is not None and not (_is_number(value) and is_right(value)):
        raise ValueError(f"{key} must be a number, finite and {rule}, got {value!r}")
    return None if value is None else _as_float(value, key)


def _box(table: Any) -> regularizers_pb2.Box:
    box = regularizers_pb2.Box()
    if not isinstance(table, dict):
        raise ValueError(f"box must be a table of {_listed(box.DESCRIPTOR)}, got {table!r}")  # noqa: TRY004
    _fill(box, table, "box.")
    return box


def _regularizer(table: Mapping[str, Any]) -> Message | None:
    name, exempt = table.get("regularizer"), table.get("exempt", False)
    if not isinstance(exempt, bool):
        raise ValueError(f"exempt must be true or false, got {exempt!r}")  # noqa: TRY004
    if name is not None and name not in NAMES:
        raise ValueError(unknown(name, NAMES, "regularizer"))
    message: Message | None = None if name is None else getattr(regularizers_pb2.Regularizer(), name)
    fields = {key: value for key, value in table.items() if key not in KEYS}
    known = [*KEYS, *(message.DESCRIPTOR.fields_by_name if message is not None else ())]
    for key, value in fields.items():
        if key not in known:
            nested = "; a name that has dots needs quotes around it" if isinstance(value, dict) else ""
            raise ValueError(unknown(key, known, "key") + nested)
    if exempt is (message is not None):
        raise ValueError("must have either regularizer = or exempt = true")
    if message is not None:
        _fill(message, fields, "")
    return message


def _fill(message: Any, table: Mapping[str, Any], path: str) -> None:
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


def _set(message: Any, field: descriptor.FieldDescriptor, value: Any, path: str) -> None:
    if field.message_type is not None:
        if isinstance(value, list) and (wrapped := wrapped_list(field.message_type)) is not None:
            value = {wrapped: value}
        if not isinstance(value, dict):
            raise ValueError(f"{path} must be a table of {_listed(field.message_type)}, got {value!r}")
        inner = getattr(message, field.name)
        inner.SetInParent()
        _fill(inner, value, path + ".")
    elif field.is_repeated:
        if not isinstance(value, list):
            raise ValueError(f"{path} must be a list, got {value!r}")
        getattr(message, field.name).extend(_scalar(field, item, path) for item in value)
    else:
        _assign(message, field, _scalar(field, value, path), path)


def _assign(message: Any, field: descriptor.FieldDescriptor, value: Any, path: str) -> None:
    try:
        setattr(message, field.name, value)
    except ValueError as error:
        raise ValueError(f"{path} is out of its type's range, got {value!r}") from error


def _scalar(field: descriptor.FieldDescriptor, value: Any, path: str) -> Any:
    kind = field.cpp_type
    if kind in FLOATS:
        if not _is_number(value):
            raise ValueError(f"{path} must be a number, got {value!r}")
        return _as_float(value, path)
    if kind in WHOLE_NUMBERS:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{path} must be a whole number, got {value!r}")
    elif kind == BOOL and not isinstance(value, bool):
        raise ValueError(f"{path} must be true or false, got {value!r}")
    return value


def _as_float(value: float, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{path} is out of its type's range") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(message: descriptor.Descriptor) -> str:
    return ", ".join(message.fields_by_name)
