"""Messages written and read by hand are those of protobuf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization.v1 import layout_pb2, summary_pb2, tensor_pb2
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import ProtocolError
from regularization_client._wire import (
    OPERANDS,
    decode_penalty_response,
    decode_response,
    encode_request,
)

OFFSETS = st.integers(0, 2**62)
BYTES = st.binary(max_size=300)


@given(OFFSETS, st.lists(BYTES.filter(len), min_size=1, max_size=3), st.sets(st.sampled_from(OPERANDS)))
def test_a_request_has_the_bytes_that_protobuf_writes(
    offset: int, pieces: list[bytes], given_operands: set[str]
) -> None:
    """For any offset, any pieces, any operands."""
    operands = {name: pieces for name in ("parameters", *OPERANDS) if name in given_operands | {"parameters"}}
    header = service.ProximalStepHeader(step_size=0.5)
    header.layout.data_type = layout_pb2.DATA_TYPE_FLOAT64
    chunk = tensor_pb2.TensorChunk(
        element_offset=offset, **{name: b"".join(parts) for name, parts in operands.items()}
    )
    whole = service.ProximalStepRequest(header=header, chunk=chunk).SerializeToString()
    assert encode_request(header.SerializeToString(), offset, operands) == whole
    later = service.ProximalStepRequest(chunk=chunk).SerializeToString()
    assert encode_request(b"", offset, operands) == later


def test_a_request_without_elements_is_the_header() -> None:
    """An empty vector is a message with a header and no chunk."""
    header = service.PenaltyHeader(non_finite_policy=service.NON_FINITE_POLICY_REJECT)
    message = service.PenaltyRequest.FromString(encode_request(header.SerializeToString(), 0, {}))
    assert message.header == header
    assert not message.HasField("chunk")


@given(OFFSETS, BYTES, st.booleans())
def test_an_answer_is_read_as_protobuf_reads_it(offset: int, values: bytes, last: bool) -> None:
    """Offset, values and summary, each where it is there."""
    message = service.GradientResponse(
        chunk=tensor_pb2.ResultChunk(element_offset=offset, values=values),
        summary=summary_pb2.Summary(total=summary_pb2.Figures(elements=7)) if last else None,
    )
    response = decode_response(message.SerializeToString())
    assert (response.element_offset, bytes(response.values)) == (offset, values)
    assert response.summary == (message.summary if last else None)


def test_fields_of_later_versions_are_passed_over() -> None:
    """Of every wire type, outside the chunk and inside it."""
    unknown = bytes([0x78, 0x05, 0x79, *range(8), 0x7D, *range(4), 0x7A, 0x02, 0x01, 0x02])
    chunk = unknown + tensor_pb2.ResultChunk(element_offset=3, values=b"abcd").SerializeToString()
    response = decode_response(unknown + bytes([0x0A, len(chunk)]) + chunk)
    assert (response.element_offset, bytes(response.values)) == (3, b"abcd")


@pytest.mark.parametrize(
    "damaged", [b"\x0a", b"\x0a\x05ab", b"\x0a\x02\x12\x05", b"\x13", b"\x12\x01\x0f", b"\xff" * 12]
)
def test_bytes_that_are_no_message_are_refused(damaged: bytes) -> None:
    """With the package's own error."""
    with pytest.raises(ProtocolError):
        decode_response(damaged)
    with pytest.raises(ProtocolError):
        decode_penalty_response(b"\x0a\x05ab")


def test_the_answer_to_penalty_is_a_summary() -> None:
    """Without one, there is none."""
    summary = summary_pb2.Summary(total=summary_pb2.Figures(elements=7))
    message = service.PenaltyResponse(summary=summary).SerializeToString()
    assert decode_penalty_response(message).summary == summary
    assert decode_penalty_response(b"").summary is None
