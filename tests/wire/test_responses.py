"""Responses written and read by hand are those of protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization import wire
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2

from tests.support.protobuf_messages import (
    RESPONSES,
    damaged,
    fields_of_response,
    odd_messages,
    outcome,
    results,
    summaries,
)

RESPONSE = service.ProximalStepResponse
every_response = pytest.mark.parametrize("message", RESPONSES)
plain_messages = st.builds(RESPONSE, chunk=results | st.none(), summary=summaries | st.none()).map(
    lambda message: message.SerializeToString()
)
odd = odd_messages(1, 2, summaries.map(lambda summary: summary.SerializeToString()), 3)


def same_for_protobuf(raw: bytes) -> bool:
    """Whether bytes are read as protobuf reads them, or are as invalid."""
    own = outcome(wire.decode_response, fields_of_response, raw)
    return bool(own == outcome(RESPONSE.FromString, fields_of_response, raw))


@every_response
@given(chunk=results | st.none(), summary=summaries | st.none())
def test_a_response_has_the_bytes_that_protobuf_writes(message: Any, chunk: Any, summary: Any) -> None:
    """Offset, values and bitmap, and a summary beside them or alone."""
    whole = message(chunk=chunk, summary=summary)
    own = None
    if chunk is not None:
        own = wire.Result(chunk.element_offset, memoryview(chunk.values), memoryview(chunk.nonzero_bitmap))
    assert wire.encode_response(own, summary) == whole.SerializeToString()


def test_a_summary_without_figures_is_set() -> None:
    """An empty message is not the same as none."""
    raw = wire.encode_response(None, summary_pb2.Summary())
    assert raw == RESPONSE(summary=summary_pb2.Summary()).SerializeToString()
    assert wire.decode_response(raw) == (None, summary_pb2.Summary())
    assert wire.decode_response(b"") == (None, None)


@given(plain_messages)
def test_a_response_is_read_as_protobuf_reads_it(raw: bytes) -> None:
    """Chunk and summary, together, alone, or neither; payloads are views of the message."""
    assert same_for_protobuf(raw)
    chunk = wire.decode_response(raw).chunk
    for payload in () if chunk is None else (chunk.values, chunk.nonzero_bitmap):
        assert isinstance(payload, memoryview)
        assert not payload or payload.obj is raw


@given(odd)
def test_any_valid_encoding_is_read_as_protobuf_reads_it(raw: bytes) -> None:
    """Fields in any order, repeated, unknown, with numbers longer than need be."""
    assert same_for_protobuf(raw)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_protobuf_reads_them(raw: bytes) -> None:
    """Whatever they are, alone or as a chunk: the fields that protobuf finds, or as invalid."""
    assert same_for_protobuf(raw)
    assert same_for_protobuf(b"\x0a" + bytes((len(raw),)) + raw)


@given(damaged(plain_messages | odd))
def test_damaged_responses_are_read_as_protobuf_reads_them(raw: bytes) -> None:
    """With bytes changed, gone or cut off."""
    assert same_for_protobuf(raw)


def test_the_responses_of_both_methods_are_alike() -> None:
    """One reader does for both: their fields have the same numbers and types."""
    fields = [
        [(field.number, field.name, field.message_type) for field in message.DESCRIPTOR.fields]
        for message in RESPONSES
    ]
    assert fields[0] == fields[1]
