"""Messages with chunks as bytes: read and written without taking the payload through protobuf objects.

Protobuf copies a payload several times on its way, into memory that is new each time. What is read and
written here are the same bytes. Whatever is not plainly a message with a chunk alone is protobuf's to read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from google.protobuf.message import Message
from regularization.v1.tensor_pb2 import ResultChunk as ResultChunkMessage
from regularization.v1.tensor_pb2 import TensorChunk

from .tensors import bytes_of

if TYPE_CHECKING:
    from regularization.v1.summary_pb2 import Summary
    from regularization_kernels.engine import ResultChunk

_VARINT, _BYTES = 0, 2
_NOTHING = memoryview(b"")


def _tag(number: int, wire_type: int) -> int:
    return number << 3 | wire_type


_REQUEST_CHUNK = _tag(2, _BYTES)
_OFFSET = _tag(TensorChunk.ELEMENT_OFFSET_FIELD_NUMBER, _VARINT)
_PAYLOADS = {
    _tag(field.number, _BYTES): field.name
    for field in TensorChunk.DESCRIPTOR.fields
    if field.type == field.TYPE_BYTES
}
_RESPONSE_CHUNK = _tag(1, _BYTES)
_RESPONSE_SUMMARY = _tag(2, _BYTES)
_RESULT_OFFSET = _tag(ResultChunkMessage.ELEMENT_OFFSET_FIELD_NUMBER, _VARINT)
_RESULT_VALUES = _tag(ResultChunkMessage.VALUES_FIELD_NUMBER, _BYTES)


@dataclass(slots=True)
class ChunkFrame:
    """A ``TensorChunk`` whose payloads are views of the message that came in."""

    element_offset: int = 0
    parameters: memoryview = _NOTHING
    loss_gradients: memoryview = _NOTHING
    reference: memoryview = _NOTHING
    weights: memoryview = _NOTHING
    step_scales: memoryview = _NOTHING


@dataclass(slots=True)
class ChunkRequest:
    """A request message that has a chunk and no header."""

    chunk: ChunkFrame

    def HasField(self, name: Literal["header", "chunk"]) -> bool:  # noqa: N802 - as messages have it
        """Whether a field is set."""
        return name == "chunk"


@dataclass(slots=True)
class Answer:
    """A response message of ``Gradient`` or ``ProximalStep``."""

    chunk: ResultChunk | None = None
    summary: Summary | None = None

    def to_bytes(self) -> bytes:
        """The message's bytes, as protobuf writes them."""
        parts: list[bytes | memoryview] = []
        if self.chunk is not None:
            parts.extend(_result_parts(self.chunk))
        if self.summary is not None:
            raw = self.summary.SerializeToString()
            parts.extend((_lead(_RESPONSE_SUMMARY, len(raw)), raw))
        return b"".join(parts)


def reader(message: type[Message]) -> Callable[[bytes], Any]:
    """What reads the request messages of a method.

    Args:
        message: The method's request message.
    """

    def read(raw: bytes) -> Any:
        try:
            chunk = _chunk_alone(raw)
        except _NotPlainError:
            return message.FromString(raw)
        return ChunkRequest(chunk)

    return read


class _NotPlainError(Exception):
    """The bytes are something else, or nothing valid; protobuf decides."""


def _chunk_alone(raw: bytes) -> ChunkFrame:
    if not raw or raw[0] != _REQUEST_CHUNK:
        raise _NotPlainError
    view = memoryview(raw)
    size, at = _varint(raw, 1)
    if size != len(raw) - at:
        raise _NotPlainError
    chunk = ChunkFrame()
    while at < len(raw):
        tag = raw[at]
        number, at = _varint(raw, at + 1)
        if tag == _OFFSET:
            chunk.element_offset = number - (1 << 64) if number >> 63 else number
        elif tag in _PAYLOADS and number <= len(raw) - at:
            setattr(chunk, _PAYLOADS[tag], view[at : at + number])
            at += number
        else:
            raise _NotPlainError
    return chunk


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number that starts there, and where it ends."""
    number = 0
    for shift, byte in enumerate(raw[at : at + 10]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80 and number < 1 << 64:
            return number, at + shift + 1
    raise _NotPlainError


def _result_parts(result: ResultChunk) -> tuple[bytes, memoryview]:
    values = bytes_of(result.values)
    place = _lead(_RESULT_OFFSET, result.element_offset) if result.element_offset else b""
    inner = place + _lead(_RESULT_VALUES, values.nbytes)
    return _lead(_RESPONSE_CHUNK, len(inner) + values.nbytes) + inner, values


def _lead(tag: int, number: int) -> bytes:
    """A tag and the number behind it: a value, or a length."""
    raw = bytearray((tag,))
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    raw.append(number)
    return bytes(raw)
