"""Requests written and read by hand are those of protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from regularization import wire
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import tensor_pb2

from tests.support.protobuf_messages import (
    PAYLOADS,
    REQUESTS,
    chunks,
    damaged,
    field,
    fields_of_request,
    header_of,
    odd_messages,
    offsets,
    outcome,
)

REQUEST = service.ProximalStepRequest
HEADER = header_of(REQUEST)
read = wire.decode_request
every_request = pytest.mark.parametrize("message", REQUESTS)
plain_messages = chunks.map(lambda chunk: REQUEST(chunk=chunk).SerializeToString())
odd = odd_messages(2, 1, st.just(HEADER.SerializeToString()), 6)


def fields(message: Any) -> dict[str, Any]:
    """What a message of the method says."""
    return fields_of_request(message, REQUEST)


def same_for_protobuf(raw: bytes) -> bool:
    """Whether bytes are read as protobuf reads them, or are as invalid.

    What lies behind a field that the schema does not have is not read, so it may be invalid to protobuf.
    """
    own, protobuf = outcome(read, fields, raw), outcome(REQUEST.FromString, fields, raw)
    if own is not None and "unknown" in own and protobuf is None:
        return True
    return bool(own == protobuf)


@every_request
@given(
    offset=offsets,
    pieces=st.lists(st.binary(max_size=200), max_size=3),
    names=st.sets(st.sampled_from(PAYLOADS)),
)
def test_a_request_has_the_bytes_that_protobuf_writes(
    message: Any, offset: int, pieces: list[bytes], names: set[str]
) -> None:
    """For any offset, any pieces, any operands, with a header and without."""
    payloads = dict.fromkeys(names | {"parameters"}, pieces)
    whole = {name: b"".join(parts) for name, parts in payloads.items()}
    chunk = tensor_pb2.TensorChunk(element_offset=offset, **whole)
    header = header_of(message)
    first = message(header=header, chunk=chunk).SerializeToString()
    assert wire.encode_request(header.SerializeToString(), offset, payloads) == first
    assert wire.encode_request(b"", offset, payloads) == message(chunk=chunk).SerializeToString()


@every_request
def test_a_request_without_elements_is_the_header(message: Any) -> None:
    """An empty vector is a message with a header and no chunk."""
    raw = header_of(message).SerializeToString()
    assert wire.encode_request(raw) == wire.encode_request(raw, 7, {})
    assert wire.encode_request(raw) == message(header=header_of(message)).SerializeToString()


@every_request
@given(chunk=chunks, with_header=st.booleans())
def test_a_request_is_read_as_protobuf_reads_it(message: Any, chunk: Any, with_header: bool) -> None:
    """Header and chunk, together or alone."""
    whole = message(header=header_of(message) if with_header else None, chunk=chunk)
    request = read(whole.SerializeToString())
    assert fields_of_request(request, message) == fields_of_request(whole, message)
    alone = message(header=header_of(message)) if with_header else message()
    request = read(alone.SerializeToString())
    assert fields_of_request(request, message) == fields_of_request(alone, message)


@given(chunks)
def test_payloads_are_views_of_the_message(chunk: Any) -> None:
    """As protobuf libraries write it, a chunk is read without copies."""
    raw = REQUEST(header=HEADER, chunk=chunk).SerializeToString()
    request = read(raw)
    assert request.chunk is not None
    for name in PAYLOADS:
        payload = getattr(request.chunk, name)
        assert isinstance(payload, memoryview)
        assert not payload or payload.obj is raw


@given(odd)
def test_any_valid_encoding_is_read_as_protobuf_reads_it(raw: bytes) -> None:
    """Fields in any order, repeated, unknown, with numbers longer than need be."""
    assert same_for_protobuf(raw)


@pytest.mark.parametrize(
    ("raw", "unknown"),
    [
        (b"\x1a\x00", ("", 3)),
        (b"\x12\x02\x38\x01", ("chunk", 7)),
        (b"\x12\x02\x08\x01\x20\x05", ("", 4)),
        (b"\x08\x01", ("", 1)),
        (b"\x12\x03\x0a\x01a", ("chunk", 1)),
        (b"\x1b\x1c", ("", 3)),
    ],
    ids=["message", "chunk", "behind_a_chunk", "of_another_type", "of_another_type_in_a_chunk", "group"],
)
def test_fields_that_the_schema_does_not_have_are_told(raw: bytes, unknown: tuple[str, int]) -> None:
    """Of the message and of its chunk, where protobuf would leave them out."""
    assert read(raw).unknown == unknown
    assert same_for_protobuf(raw)


def test_a_message_in_pieces_is_one() -> None:
    """Headers behind each other are merged as protobuf merges them, and so are chunks; up to a number."""
    header, part = HEADER.SerializeToString(), tensor_pb2.TensorChunk(weights=b"12").SerializeToString()
    first = field(1, header) + field(2, part)
    again = field(1, b"") + field(2, b"\x08\x07")
    assert same_for_protobuf(first + again)
    assert same_for_protobuf(again * (wire.MOST_FIELDS // 2))
    with pytest.raises(DecodeError, match="at most 100 fields"):
        read(again * (wire.MOST_FIELDS // 2) + first)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_protobuf_reads_them(raw: bytes) -> None:
    """Whatever they are, alone or as a chunk: the fields that protobuf finds, or as invalid."""
    assert same_for_protobuf(raw)
    assert same_for_protobuf(b"\x12" + bytes((len(raw),)) + raw)


@given(damaged(plain_messages | odd))
def test_damaged_requests_are_read_as_protobuf_reads_them(raw: bytes) -> None:
    """With bytes changed, gone or cut off."""
    assert same_for_protobuf(raw)


@pytest.mark.parametrize("number", [1, 2])
def test_no_field_goes_on_in_the_next_piece(number: int) -> None:
    """Header or chunk in two pieces, each cut in a field: joined they would be one, and are none."""
    content = HEADER.SerializeToString() if number == 1 else field(2, bytes(8))
    raw = field(number, content[:4]) + field(number, content[4:])
    assert same_for_protobuf(raw)
    assert outcome(read, fields, raw) is None
