"""Numbers that a caller may choose so that they overflow, and where in a message they can go."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from google.protobuf.descriptor import Descriptor

Path = tuple[FieldDescriptor, ...]
"""Fields from a message down to a number."""

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
}

_BORDERS = (0, 1 << 18, 1 << 31, 1 << 32, 1 << 53, 1 << 60, 1 << 62, 1 << 63, 1 << 64)
NEAR = sorted({sign * (border + off) for border in _BORDERS for off in (-1, 0, 1) for sign in (1, -1)})
"""Where integers of some length end, doubles skip some, and vectors are too long; and next to it."""


REALS = (0.0, -0.0, 5e-324, 1e-308, 0.5, -1.0, 1e154, 1e200, 1e308, -1e308, math.inf, -math.inf, math.nan)
"""Where doubles end, and where their squares do."""


def integers(descriptor: Descriptor) -> Iterator[Path]:
    """Every integer field of a message, and of the messages in it."""
    return _paths(descriptor, set(_RANGES))


def reals(descriptor: Descriptor) -> Iterator[Path]:
    """Likewise of doubles."""
    return _paths(descriptor, {FieldDescriptor.CPPTYPE_DOUBLE})


def _paths(descriptor: Descriptor, types: set[int]) -> Iterator[Path]:
    for field in descriptor.fields:
        if field.cpp_type in types:
            yield (field,)
        elif field.message_type is not None:
            yield from ((field, *rest) for rest in _paths(field.message_type, types))


def near_values(field: FieldDescriptor) -> list[int]:
    """Those of the numbers that the field can hold."""
    low, high = _RANGES[field.cpp_type]
    return [value for value in NEAR if low <= value <= high]


def holder_of(message: Any, path: Path, random: Random) -> Any:
    """The message that holds the number at the end of a path; those on the way are made where they lack."""
    for field in path[:-1]:
        if not field.is_repeated:
            message = getattr(message, field.name)
            message.SetInParent()
            continue
        elements = getattr(message, field.name)
        message = elements[random.choice((0, 0, 0, -1))] if elements else elements.add()
    return message


def is_set(message: Any, path: Path) -> bool:
    """Whether there is a number at the end of a path."""
    for field in path[:-1]:
        value = getattr(message, field.name)
        if not (value if field.is_repeated else message.HasField(field.name)):
            return False
        message = value[0] if field.is_repeated else value
    field = path[-1]
    return bool(getattr(message, field.name)) if not field.has_presence else message.HasField(field.name)


def put(message: Any, path: Path, value: float, random: Random) -> None:
    """Put a number where a path leads: in a list, in another's place or beside the others."""
    field = path[-1]
    holder = holder_of(message, path, random)
    if not field.is_repeated:
        setattr(holder, field.name, value)
        return
    numbers = list(getattr(holder, field.name))
    at = random.randint(0, len(numbers))
    numbers[at : at + random.randint(0, 1)] = [value]
    getattr(holder, field.name)[:] = numbers


def put_wrapping(message: Any, path: Path, random: Random) -> None:
    """Put numbers into a list whose sum is what it was in 64 bits, or 32, and not in fact."""
    holder = holder_of(message, path, random)
    numbers = list(getattr(holder, path[-1].name))
    low, high = _RANGES[path[-1].cpp_type]
    others = [
        random.choice([value for value in NEAR if 0 < value <= high]) for _ in range(random.randint(1, 3))
    ]
    bits = random.choice((32, 64))
    rest = (sum(numbers) - sum(others)) % (1 << bits)
    wrapping = others
    while rest > high:  # at most twice: from nothing less 1, all bits are left
        wrapping.append(high)
        rest -= high
    wrapping.append(rest)
    random.shuffle(wrapping)
    assert all(low <= value <= high for value in wrapping)
    getattr(holder, path[-1].name)[:] = wrapping
