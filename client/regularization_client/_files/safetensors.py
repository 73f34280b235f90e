"""Hugging Face's .safetensors: named tensors behind a JSON header."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import ArgumentError
from .._messages import BFLOAT16_BITS
from .raw import RawFile

_LARGEST_HEADER = 100_000_000
_MOST_AXES, _LARGEST = 64, (1 << 63) - 1
"""NumPy has no more axes, and no array more elements; products of many large numbers take very long."""
_DATA_TYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16_BITS,
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


def open_safetensors(path: Path) -> RawFile:
    """Open a .safetensors file.

    Raises:
        ArgumentError: If it is none, or damaged.
    """
    raw = RawFile(path)
    try:
        _read_header(raw)
    except BaseException:
        raw.close()
        raise
    return raw


def _read_header(raw: RawFile) -> None:
    size = int.from_bytes(raw.read(0, 8), "little") if raw.size >= 8 else 0
    if not 2 <= size <= min(_LARGEST_HEADER, raw.size - 8):
        raise ArgumentError(
            f"{raw.path}: is no .safetensors file, or a damaged one: a header of {size} bytes"
        )
    try:
        header = json.loads(raw.read(8, 8 + size), object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{raw.path}: is no .safetensors file, or a damaged one: {error}") from error
    if not isinstance(header, dict):
        raise ArgumentError(f"{raw.path}: the header must be a JSON object")
    header.pop("__metadata__", None)
    entries = [_entry(raw.path, name, value) for name, value in header.items()]
    position = 0
    for (begin, end), name, type_name, shape in sorted(entries):
        if begin != position:
            raise ArgumentError(
                f"{raw.path}: tensor {name!r} must begin at byte {position}, begins at {begin}"
            )
        place = (8 + size + begin, 8 + size + end)
        raw.add(name, shape, place, _DATA_TYPES.get(type_name), type_name)
        position = end
    if 8 + size + position != raw.size:
        raise ArgumentError(
            f"{raw.path}: must have {8 + size + position} bytes by its header, has {raw.size}"
        )


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object of which no name is lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    for name in found:
        name.encode()  # half a character would be none on the wire
    return found


def _entry(path: Path, name: str, value: Any) -> tuple[tuple[int, int], str, str, tuple[int, ...]]:
    """Check one entry of the header, and return place, name, data type and shape."""
    try:
        type_name, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        numbers = (begin, end, *shape)
    except (TypeError, KeyError, ValueError) as error:
        raise ArgumentError(f"{path}: tensor {name!r} must have dtype, shape and data_offsets") from error
    are_numbers = all(type(each) is int and 0 <= each <= _LARGEST for each in numbers)
    if not (isinstance(type_name, str) and are_numbers and len(shape) <= _MOST_AXES):
        raise ArgumentError(f"{path}: tensor {name!r} has a dtype, shape or data_offsets of the wrong kind")
    known = _DATA_TYPES.get(type_name)
    if end < begin or (known is not None and end - begin != math.prod(shape) * known.itemsize):
        raise ArgumentError(
            f"{path}: tensor {name!r} of {type_name} {list(shape)} cannot take {end - begin} bytes"
        )
    return (begin, end), name, type_name, shape
