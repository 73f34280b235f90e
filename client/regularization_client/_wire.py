"""Messages of the schema as bytes, the payload copied once on its way out and not at all on its way in.

The bytes are those that protobuf writes, which a test compares; a protobuf object would cost two more
copies of every payload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2, tensor_pb2

from regularization_client._errors import ProtocolError

Buffer = bytes | memoryview

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_HEADER = service.GradientRequest.HEADER_FIELD_NUMBER
_CHUNK = service.GradientRequest.CHUNK_FIELD_NUMBER
_CHUNK_FIELDS = tensor_pb2.TensorChunk.DESCRIPTOR.fields_by_name
OPERANDS = tuple(name for name in _CHUNK_FIELDS if name not in ("element_offset", "parameters"))
"""The optional operands of a chunk, in the order of the wire."""


class Response(NamedTuple):
    """What one message of the answer holds."""

    element_offset: int
    values: memoryview
    """Little-endian elements; empty where the message has no chunk."""
    summary: summary_pb2.Summary | None


def encode_request(header: bytes, element_offset: int, operands: Mapping[str, Sequence[Buffer]]) -> bytes:
    """Return a request message.

    Args:
        header: The header's bytes; empty in every message but the first.
        element_offset: Where the chunk begins.
        operands: Pieces of the chunk's bytes fields, by name, "parameters" among them, in the order of the
            schema; without any, the message has no chunk.
    """
    pieces: list[Buffer] = [_prefix(_HEADER, len(header)), header] if header else []
    chunk: list[Buffer] = []
    if element_offset and operands:
        chunk.append(_tag(_CHUNK_FIELDS["element_offset"].number, _VARINT) + _varint(element_offset))
    for name, buffers in operands.items():
        chunk.append(_prefix(_CHUNK_FIELDS[name].number, sum(map(len, buffers))))
        chunk += buffers
    if chunk:
        pieces.append(_prefix(_CHUNK, sum(map(len, chunk))))
    return b"".join(pieces + chunk)


def decode_response(message: bytes) -> Response:
    """Return what a message of the answer to Gradient or ProximalStep holds; the values are a view of it.

    Raises:
        ProtocolError: If the bytes are no such message.
    """
    offset, values, summary = 0, memoryview(b""), None
    try:
        for number, field in _fields(memoryview(message)):
            if number == service.GradientResponse.CHUNK_FIELD_NUMBER and isinstance(field, memoryview):
                offset, values = _result_chunk(field)
            elif number == service.GradientResponse.SUMMARY_FIELD_NUMBER and isinstance(field, memoryview):
                summary = summary_pb2.Summary.FromString(bytes(field))
    except (IndexError, DecodeError) as error:
        raise ProtocolError("a message of the answer is not one of the schema") from error
    return Response(offset, values, summary)


def decode_penalty_response(message: bytes) -> Response:
    """Return what the answer to Penalty holds: no values, and the summary.

    Raises:
        ProtocolError: If the bytes are no such message.
    """
    try:
        response = service.PenaltyResponse.FromString(message)
    except DecodeError as error:
        raise ProtocolError("the answer is not a message of the schema") from error
    return Response(0, memoryview(b""), response.summary if response.HasField("summary") else None)


def _result_chunk(chunk: memoryview) -> tuple[int, memoryview]:
    offset, values = 0, memoryview(b"")
    for number, field in _fields(chunk):
        if number == tensor_pb2.ResultChunk.ELEMENT_OFFSET_FIELD_NUMBER and isinstance(field, int):
            offset = field
        elif number == tensor_pb2.ResultChunk.VALUES_FIELD_NUMBER and isinstance(field, memoryview):
            values = field
    return offset, values


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and content of every field, unknown ones too; IndexError where the bytes end early."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            length, position = _read_varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise IndexError(kind)
        if length > len(message) - position:
            raise IndexError(length)
        yield tag >> 3, message[position : position + length]
        position += length


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _prefix(number: int, length: int) -> bytes:
    return _tag(number, _LENGTH) + _varint(length)
