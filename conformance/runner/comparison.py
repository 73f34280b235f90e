"""Whether messages say the same, once decoded: numbers to the bit where a vector has no tolerance."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

SHOWN = 3
"""Differences of elements that are listed."""
_CODES = {"DATA_TYPE_FLOAT16": "e", "DATA_TYPE_FLOAT32": "f", "DATA_TYPE_FLOAT64": "d"}
_FIXED = {"DATA_TYPE_Q7": 1, "DATA_TYPE_Q15": 2, "DATA_TYPE_Q31": 4}


def decoded(data_type: str, raw: bytes) -> list[float]:
    """The numbers that elements are.

    Raises:
        ValueError: If the bytes are no whole elements.
    """
    if width := _FIXED.get(data_type):
        _whole(raw, width)
        parts = (raw[at : at + width] for at in range(0, len(raw), width))
        return [int.from_bytes(part, "little", signed=True) / 2 ** (8 * width - 1) for part in parts]
    if data_type == "DATA_TYPE_BFLOAT16":
        _whole(raw, 2)
        return [struct.unpack("<f", b"\0\0" + raw[at : at + 2])[0] for at in range(0, len(raw), 2)]
    code = _CODES[data_type]
    _whole(raw, struct.calcsize(code))
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))


def _whole(raw: bytes, width: int) -> None:
    if len(raw) % width:
        raise ValueError(f"{len(raw)} bytes are no whole elements")


def same(expected: float, got: float, allowed: float = 0.0) -> bool:
    """Whether two numbers are the same bits, both NaN, or no farther apart than is allowed."""
    if math.isnan(expected) or math.isnan(got):
        return math.isnan(expected) and math.isnan(got)
    if struct.pack("<d", expected) == struct.pack("<d", got):
        return True
    return allowed > 0 and math.isfinite(expected) and abs(expected - got) <= allowed


@dataclass(frozen=True)
class Comparison:
    """How messages of a vector are compared.

    Attributes:
        data_type: The elements'.
        values: What elements may be off by, of the largest of their chunk.
        sums: What sums may be off by, relatively.
        unspecified: Paths of fields whose values the schema leaves open.
    """

    data_type: str = ""
    values: float = 0.0
    sums: float = 0.0
    unspecified: tuple[str, ...] = field(default=())

    def differences(self, expected: list[Any], got: list[Any]) -> list[str]:
        """All differences of two lists of messages."""
        if len(expected) != len(got):
            return [f"{len(got)} response messages in place of {len(expected)}"]
        pairs = enumerate(zip(expected, got, strict=True))
        return [
            text for at, (one, other) in pairs for text in self._messages(one, other, f"responses[{at}]", "")
        ]

    def _messages(self, expected: Any, got: Any, path: str, short: str) -> Iterator[str]:
        if expected.DESCRIPTOR.name == "ExactSum" and self.sums:
            yield from self._sums(expected, got, path)
            return
        for of in expected.DESCRIPTOR.fields:
            here, name = f"{path}.{of.name}", f"{short}.{of.name}".lstrip(".")
            if name in self.unspecified:
                continue
            if of.has_presence and expected.HasField(of.name) != got.HasField(of.name):
                yield f"{here} is {'missing' if expected.HasField(of.name) else 'there'}"
            elif not of.has_presence or expected.HasField(of.name):
                yield from self._fields(of, getattr(expected, of.name), getattr(got, of.name), here, name)

    def _fields(self, of: FieldDescriptor, expected: Any, got: Any, path: str, short: str) -> Iterator[str]:
        if not of.is_repeated:
            yield from self._single(of, expected, got, path, short)
            return
        if len(expected) != len(got):
            yield f"{path} has {len(got)} entries in place of {len(expected)}"
            return
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from self._single(of, one, other, f"{path}[{index}]", short)

    def _single(self, of: FieldDescriptor, expected: Any, got: Any, path: str, short: str) -> Iterator[str]:
        if of.message_type is not None:
            yield from self._messages(expected, got, path, short)
        elif of.full_name == "regularization.v1.ResultChunk.values":
            yield from self._elements(expected, got, path)
        elif not (same(expected, got) if isinstance(expected, float) else expected == got):
            yield f"{path} is {got!r} in place of {expected!r}"

    def _sums(self, expected: Any, got: Any, path: str) -> Iterator[str]:
        finite = [value for value in got.expansion if math.isfinite(value)]
        if finite and (finite[0] != got.value or math.fsum(finite) != got.value):
            yield f"{path}.expansion does not add up to {got.value!r}"
        if not same(expected.value, got.value, self.sums * abs(expected.value)):
            yield f"{path}.value is {got.value!r} in place of {expected.value!r}"

    def _elements(self, expected: bytes, got: bytes, path: str) -> Iterator[str]:
        if expected == got:
            return
        try:
            numbers = decoded(self.data_type, got)
        except ValueError as error:
            yield f"{path}: {error}"
            return
        yield from self.elements(decoded(self.data_type, expected), numbers, path)

    def elements(self, expected: list[float], got: list[float], path: str) -> Iterator[str]:
        """The differences of elements."""
        if len(expected) != len(got):
            yield f"{path} has {len(got)} elements in place of {len(expected)}"
            return
        allowed = self.values * max((abs(each) for each in expected if math.isfinite(each)), default=0.0)
        pairs = zip(expected, got, strict=True)
        wrong = [(i, one, other) for i, (one, other) in enumerate(pairs) if not same(one, other, allowed)]
        for index, one, other in wrong[:SHOWN]:
            yield f"{path}: element {index} is {other!r} in place of {one!r}"
        if len(wrong) > SHOWN:
            yield f"{path}: {len(wrong) - SHOWN} more elements differ"


def status_differences(expected: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """How a status differs: code, reason, fields, and the metadata expected; others may be there too.

    Metadata of ``null`` are expected with any value.
    """
    wrong = [
        f"{key} is {got.get(key)!r} in place of {expected[key]!r}"
        for key in ("code", "domain", "reason", "fields")
        if key in expected and got.get(key) != expected[key]
    ]
    metadata = got.get("metadata", {})
    for name, value in expected.get("metadata", {}).items():
        if name not in metadata:
            wrong.append(f"metadata {name!r} is missing")
        elif value is not None and metadata[name] != value:
            wrong.append(f"metadata {name!r} is {metadata[name]!r} in place of {value!r}")
    return wrong
