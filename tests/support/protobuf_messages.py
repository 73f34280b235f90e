"""Messages as protobuf has them, and what is compared of them."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import strategies as st
from regularization import wire
from regularization.fields import Unknown
from regularization.v1 import layout_pb2, summary_pb2, tensor_pb2
from regularization.v1 import regularization_service_pb2 as service

PAYLOADS = ("parameters", *wire.OPERANDS)
REQUESTS = (service.PenaltyRequest, service.GradientRequest, service.ProximalStepRequest)
RESPONSES = (service.GradientResponse, service.ProximalStepResponse)

offsets = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([0, 127, 128, (1 << 63) - 1, -1])
payloads = st.binary(max_size=300) | st.sampled_from([b"", b"\0" * 127, b"\1" * 128, b"\2" * 20_000])
chunks = st.builds(tensor_pb2.TensorChunk, element_offset=offsets, **dict.fromkeys(PAYLOADS, payloads))
results = st.builds(tensor_pb2.ResultChunk, element_offset=offsets, values=payloads, nonzero_bitmap=payloads)
summaries = st.builds(
    summary_pb2.Summary, total=st.builds(summary_pb2.Figures, elements=st.integers(0, 1 << 40))
)


def header_of(request: type[Any], name: str = "weight") -> Any:
    """A header of a method."""
    layout = layout_pb2.ParameterLayout(
        data_type=layout_pb2.DATA_TYPE_FLOAT16, segments=[layout_pb2.Segment(name=name, shape=[3])]
    )
    return type(request().header)(layout=layout)


def fields_of_request(message: Any, request: type[Any]) -> dict[str, Any]:
    """What a request says, be it protobuf's or not; or the field that the schema does not have."""
    if isinstance(message, wire.Request):
        if message.unknown is not None:
            return {"unknown": message.unknown}
        header, chunk = message.header, message.chunk
        header = None if header is None else type(request().header).FromString(header)
    else:
        if unknown := first_unknown(message):
            return {"unknown": unknown}
        header = message.header if message.HasField("header") else None
        chunk = message.chunk if message.HasField("chunk") else None
    return {"header": header, "chunk": chunk and _fields(chunk, ("element_offset", *PAYLOADS))}


def first_unknown(message: Any) -> Unknown | None:
    """The first field of a request or of its chunk that the schema does not have, as protobuf finds it."""
    for part, path in ((message, ""), (message.chunk, "chunk")):
        for field in UnknownFieldSet(part):
            return Unknown(path, field.field_number)
    return None


def fields_of_response(message: Any) -> dict[str, Any]:
    """What a response says, be it protobuf's or not."""
    if isinstance(message, wire.Response):
        chunk, summary = message
    else:
        chunk = message.chunk if message.HasField("chunk") else None
        summary = message.summary if message.HasField("summary") else None
    names = ("element_offset", "values", "nonzero_bitmap")
    return {"chunk": chunk and _fields(chunk, names), "summary": summary}


def _fields(chunk: Any, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(chunk, name) for name in names}
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in values.items()}


def outcome(read: Any, fields: Any, raw: bytes) -> Any:
    """What a reader makes of bytes: the fields, or that it takes them for no message."""
    try:
        return fields(read(raw))
    except DecodeError:
        return None


def varint(number: int, padding: int = 0) -> bytes:
    """A number as protobuf writes it, or longer than need be: valid all the same."""
    raw = bytearray()
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    raw.append(number)
    for _ in range(padding):
        raw[-1] |= 0x80
        raw.append(0)
    return bytes(raw)


def field(number: int, content: bytes | int, padding: int = 0) -> bytes:
    """A field's bytes, with numbers longer than need be."""
    if isinstance(content, int):
        return varint(number << 3, padding) + varint(content, padding)
    return varint(number << 3 | 2, padding) + varint(len(content), padding) + content


unknown_fields = st.sampled_from(
    [b"\x78\x05", b"\x79" + bytes(range(8)), b"\x7d" + bytes(range(4)), b"\x7a\x02\x01\x02"]
)


@st.composite
def odd_chunks(draw: st.DrawFn, most: int) -> bytes:
    """A valid chunk that nobody would write so: any order, repeated and unknown fields, long numbers."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        number = draw(st.integers(1, most))
        content = draw(st.integers(0, (1 << 64) - 1)) if number == 1 else draw(st.binary(max_size=40))
        parts.append(draw(unknown_fields | st.just(field(number, content, draw(st.integers(0, 2))))))
    return b"".join(parts)


@st.composite
def odd_messages(
    draw: st.DrawFn, chunk: int, other: int, others: st.SearchStrategy[bytes], most: int
) -> bytes:
    """A valid message that nobody would write so.

    Args:
        draw: Hypothesis's.
        chunk: Number of the field that has a chunk.
        other: Number of the other field.
        others: Contents of that.
        most: Largest field number of a chunk.
    """
    parts = (
        unknown_fields
        | st.builds(field, st.just(chunk), odd_chunks(most), st.integers(0, 2))
        | st.builds(field, st.just(other), others, st.integers(0, 2))
    )
    return b"".join(draw(st.lists(parts, max_size=4)))


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message's bytes, of which some have changed, gone or been cut off."""
    raw = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 3))):
        if raw:
            place = draw(st.integers(0, min(len(raw) - 1, 12)) | st.integers(0, len(raw) - 1))
            if draw(st.booleans()):
                raw[place] = draw(st.integers(0, 255) | st.sampled_from([0x80, 0xFF, 0x0A, 0x12, 0x1A]))
            else:
                del raw[place]
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)
