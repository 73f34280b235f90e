"""Messages with chunks as bytes: written and read without taking the payload through protobuf objects.

Written by hand, for both ends. Protobuf copies a payload several times on its way, into memory that is
new each time. What is written here are the bytes that protobuf writes, with one copy; what is read here are
views of the message that came in. Only the plain form is read by hand, as every protobuf library writes it:
fields in their order, each once, numbers as short as they can be. Any other bytes are protobuf's to read,
so a message means here what it means there, and is as invalid.

Of a request nothing is left out in silence: a field that the schema does not have is something that the
caller wants and would not get. And its header is bytes here, for whoever reads them must know what they may
cost first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import Message

from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.summary_pb2 import Summary
from regularization.v1.tensor_pb2 import ResultChunk as ResultChunkMessage
from regularization.v1.tensor_pb2 import TensorChunk

from .fields import BYTES, VARINT, Unknown, fields, unknown_fields

Buffer = bytes | memoryview
"""The bytes of elements."""

_NOTHING = memoryview(b"")
_LONGEST_LENGTH = 5
"""Bytes of the largest length that protobuf takes."""

MOST_FIELDS = 100
"""Fields that the bytes of a request may have: header and chunk may come in pieces, as protobuf has it."""


def tag_of(number: int, wire_type: int) -> int:
    """The tag of a field with a number of at most 15, which takes one byte."""
    return number << 3 | wire_type


_HEADER = tag_of(service.GradientRequest.HEADER_FIELD_NUMBER, BYTES)
_CHUNK = tag_of(service.GradientRequest.CHUNK_FIELD_NUMBER, BYTES)
_STATISTICS = tag_of(service.CombineRequest.STATISTICS_FIELD_NUMBER, BYTES)
_RESULT = tag_of(service.GradientResponse.CHUNK_FIELD_NUMBER, BYTES)
_SUMMARY = tag_of(service.GradientResponse.SUMMARY_FIELD_NUMBER, BYTES)
_OFFSET = tag_of(TensorChunk.ELEMENT_OFFSET_FIELD_NUMBER, VARINT)
_PAYLOADS = tuple(field.name for field in TensorChunk.DESCRIPTOR.fields if field.type == field.TYPE_BYTES)
_PAYLOAD_TAGS = {
    name: tag_of(TensorChunk.DESCRIPTOR.fields_by_name[name].number, BYTES) for name in _PAYLOADS
}
_PAYLOAD_NAMES = {tag: name for name, tag in _PAYLOAD_TAGS.items()}
_VALUES = tag_of(ResultChunkMessage.VALUES_FIELD_NUMBER, BYTES)
_BITMAP = tag_of(ResultChunkMessage.NONZERO_BITMAP_FIELD_NUMBER, BYTES)
_RESULT_NAMES = {_VALUES: "values", _BITMAP: "nonzero_bitmap"}

OPERANDS = tuple(name for name in _PAYLOADS if name != "parameters")
"""The optional operands of a chunk, in the order of the schema."""


@dataclass(slots=True)
class Chunk:
    """A ``TensorChunk`` whose payloads are views of its message; one that is empty is unset."""

    element_offset: int = 0
    parameters: Buffer = _NOTHING
    loss_gradients: Buffer = _NOTHING
    reference: Buffer = _NOTHING
    weights: Buffer = _NOTHING
    step_scales: Buffer = _NOTHING


class Request(NamedTuple):
    """A request message that may have a chunk; None stands for what is unset."""

    header: memoryview | None
    """The header's bytes, which are still to be read."""
    chunk: Chunk | None
    unknown: Unknown | None = None
    """A field that the schema does not have, of the message or of its chunk; the others are then not read."""


class CombineRequest(NamedTuple):
    """A request message of ``Combine``; None stands for what is unset."""

    header: memoryview | None
    """The header's bytes, which are still to be read."""
    statistics: bytes | None
    unknown: Unknown | None = None
    """A field that the schema does not have."""


@dataclass(slots=True)
class Result:
    """A ``ResultChunk`` whose payloads are views of its message; one that is empty is unset."""

    element_offset: int = 0
    values: Buffer = _NOTHING
    nonzero_bitmap: Buffer = _NOTHING


class Response(NamedTuple):
    """A response message of ``Gradient`` or ``ProximalStep``; None stands for what is unset."""

    chunk: Result | None
    summary: Summary | None


class _NotPlainError(Exception):
    """The bytes are something else, or nothing valid; protobuf decides."""


def encode_request(
    header: bytes, element_offset: int = 0, payloads: Mapping[str, Sequence[Buffer]] | None = None
) -> bytes:
    """The bytes of a request message, as protobuf writes them.

    Args:
        header: The header's bytes; empty in every message but the first.
        element_offset: Index of the chunk's first element.
        payloads: The bytes of the chunk's fields by name, each in pieces; without any, the message
            has no chunk.
    """
    parts: list[Buffer] = [lead_of(_HEADER, len(header)), header] if header else []
    if payloads:
        fields = [
            (tag, payloads[name], length)
            for name, tag in _PAYLOAD_TAGS.items()
            if name in payloads and (length := sum(map(len, payloads[name])))
        ]
        parts += _chunk_parts(_CHUNK, element_offset, fields)
    return b"".join(parts)


def encode_response(result: Result | None, summary: Message | None) -> bytes:
    """The bytes of a response message of ``Gradient`` or ``ProximalStep``, as protobuf writes them.

    Or of ``Augment``, which has other messages than summaries in the place of these.
    """
    parts: list[Buffer] = []
    if result is not None:
        payloads = ((_VALUES, result.values), (_BITMAP, result.nonzero_bitmap))
        fields = [(tag, [payload], len(payload)) for tag, payload in payloads if payload]
        parts += _chunk_parts(_RESULT, result.element_offset, fields)
    if summary is not None:
        raw = summary.SerializeToString()
        parts += (lead_of(_SUMMARY, len(raw)), raw)
    return b"".join(parts)


def decode_request(raw: bytes) -> Request:
    """What a request message of ``Penalty``, ``Gradient``, ``ProximalStep`` or ``Measure`` holds.

    Raises:
        google.protobuf.message.DecodeError: If the bytes are no such message.
    """
    try:
        header, chunk = _pair(raw, _HEADER, _CHUNK)
        read_chunk = None if chunk is None else _chunk(raw, *chunk, Chunk(), _PAYLOAD_NAMES)
    except _NotPlainError:
        return _request_in_pieces(raw)
    return Request(None if header is None else memoryview(raw)[slice(*header)], read_chunk)


def decode_combine_request(raw: bytes) -> CombineRequest:
    """What a request message of ``Combine`` holds.

    Raises:
        google.protobuf.message.DecodeError: If the bytes are no such message.
    """
    header: list[bytes] = []
    statistics = None
    for field in fields(raw, 0, len(raw), MOST_FIELDS):
        tag, content = tag_of(field.number, field.wire_type), raw[field.content : field.end]
        if tag == _HEADER:
            header.append(content)
        elif tag == _STATISTICS:
            statistics = content
        else:
            return CombineRequest(None, None, Unknown("", field.number))
    return CombineRequest(_joined(header), statistics)


def decode_response(raw: bytes) -> Response:
    """What a response message of ``Gradient`` or ``ProximalStep`` holds.

    Raises:
        google.protobuf.message.DecodeError: If the bytes are no such message.
    """
    try:
        chunk, summary = _pair(raw, _RESULT, _SUMMARY)
        result = None if chunk is None else _chunk(raw, *chunk, Result(), _RESULT_NAMES)
    except _NotPlainError:
        return _response_of(service.GradientResponse.FromString(raw))
    return Response(result, None if summary is None else Summary.FromString(raw[slice(*summary)]))


def _request_in_pieces(raw: bytes) -> Request:
    pieces: dict[int, list[bytes]] = {_HEADER: [], _CHUNK: []}
    for field in fields(raw, 0, len(raw), MOST_FIELDS):
        found = pieces.get(tag_of(field.number, field.wire_type))
        if found is None:
            return Request(None, None, Unknown("", field.number))
        found.append(raw[field.content : field.end])
    header = _joined(pieces[_HEADER])
    if not pieces[_CHUNK]:
        return Request(header, None)
    message = TensorChunk()
    for piece in pieces[_CHUNK]:
        message.MergeFromString(piece)
    unknown = next(unknown_fields(message, "chunk"), None)
    if unknown is not None:
        return Request(None, None, unknown)
    # Each reading of a message's bytes makes a new object, so each is read once.
    payloads = {name: getattr(message, name) for name in _PAYLOADS}
    return Request(header, Chunk(message.element_offset, **payloads))


def _joined(pieces: Sequence[bytes]) -> memoryview | None:
    """A header of its pieces: to protobuf, messages one behind the other are one with the fields of both.

    Raises:
        google.protobuf.message.DecodeError: If one is no message: no field goes on in the next.
    """
    if len(pieces) > 1:
        for piece in pieces:
            for _ in fields(piece, 0, len(piece), MOST_FIELDS):
                pass
    return memoryview(b"".join(pieces)) if pieces else None


def _response_of(message: service.GradientResponse) -> Response:
    summary = message.summary if message.HasField("summary") else None
    if not message.HasField("chunk"):
        return Response(None, summary)
    chunk = message.chunk
    return Response(Result(chunk.element_offset, chunk.values, chunk.nonzero_bitmap), summary)


Ends = tuple[int, int]
"""Where a field's bytes begin and end."""


def _pair(raw: bytes, first: int, second: int) -> tuple[Ends | None, Ends | None]:
    """Where the two fields lie of a message that has nothing else."""
    found: list[Ends | None] = []
    at = 0
    for tag in (first, second):
        if at < len(raw) and raw[at] == tag:
            begin, at = _length(raw, at + 1, len(raw))
            found.append((begin, at))
        else:
            found.append(None)
    if at < len(raw):
        raise _NotPlainError
    return found[0], found[1]


def _chunk(raw: bytes, begin: int, end: int, chunk: Any, names: Mapping[int, str]) -> Any:
    """A chunk with the fields that lie there; ``names`` are those of its payloads, by tag."""
    view = memoryview(raw)
    at, last = begin, -1
    while at < end:
        tag = raw[at]
        if tag <= last:
            raise _NotPlainError
        last = tag
        if tag == _OFFSET:
            number, at = _varint(raw, at + 1, end)
            chunk.element_offset = number - (1 << 64) if number >> 63 else number
        elif tag in names:
            first, at = _length(raw, at + 1, end)
            setattr(chunk, names[tag], view[first:at])
        else:
            raise _NotPlainError
    return chunk


def _length(raw: bytes, at: int, end: int) -> Ends:
    """Where the bytes of a field begin and end whose length stands there."""
    length, begin = _varint(raw, at, min(end, at + _LONGEST_LENGTH))
    if length > end - begin:
        raise _NotPlainError
    return begin, begin + length


def _varint(raw: bytes, at: int, end: int) -> Ends:
    """The number that stands there, and where it ends."""
    number = 0
    for shift, byte in enumerate(raw[at : min(end, at + 10)]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            if number >> 64 or (shift and not byte):
                break
            return number, at + shift + 1
    raise _NotPlainError


def _chunk_parts(
    tag: int, element_offset: int, fields: Sequence[tuple[int, Sequence[Buffer], int]]
) -> list[Buffer]:
    """A chunk's bytes in parts: its fields are tag, pieces and length."""
    parts: list[Buffer] = [lead_of(_OFFSET, element_offset)] if element_offset else []
    size = sum(map(len, parts))
    for field, pieces, length in fields:
        lead = lead_of(field, length)
        parts.append(lead)
        parts += pieces
        size += len(lead) + length
    return [lead_of(tag, size), *parts]


def lead_of(tag: int, number: int) -> bytes:
    """A tag and the number behind it: a value, or a length."""
    raw = bytearray((tag,))
    number &= (1 << 64) - 1
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    raw.append(number)
    return bytes(raw)
