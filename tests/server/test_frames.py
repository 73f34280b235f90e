from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from regularization.v1.regularization_service_pb2 import (
    GradientHeader,
    GradientRequest,
    GradientResponse,
    ProximalStepResponse,
)
from regularization.v1.summary_pb2 import Figures, Summary
from regularization.v1.tensor_pb2 import ResultChunk as ResultChunkMessage
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_kernels.engine import MemoryBudget, ResultChunk
from regularization_server.frames import Answer, ChunkRequest, reader
from regularization_server.service import SERVICE, RegularizationService

if TYPE_CHECKING:
    from collections.abc import Callable

OFFSETS = st.integers(-(1 << 63), (1 << 63) - 1)
PAYLOADS = ("parameters", "loss_gradients", "reference", "weights", "step_scales")
read = reader(GradientRequest)


def parsed(read_message: Callable[[bytes], Any], raw: bytes) -> Any:
    """What a reader makes of bytes: the fields of the chunk, a message, or that it takes them for none."""
    try:
        message = read_message(raw)
    except DecodeError:
        return None
    if message.HasField("header"):
        return message
    chunk = message.chunk
    payloads = {name: bytes(getattr(chunk, name)) for name in PAYLOADS}
    return {"chunk": message.HasField("chunk"), "element_offset": chunk.element_offset, **payloads}


@given(OFFSETS, st.fixed_dictionaries(dict.fromkeys(PAYLOADS, st.binary(max_size=300))))
def test_chunk_reads_as_protobuf_reads_it(offset: int, payloads: dict[str, bytes]) -> None:
    """A message with a chunk alone is read without protobuf, and has the same fields."""
    raw = GradientRequest(chunk=TensorChunk(element_offset=offset, **payloads)).SerializeToString()
    assert isinstance(read(raw), ChunkRequest)
    assert parsed(read, raw) == parsed(GradientRequest.FromString, raw)


@given(st.binary(max_size=40))
def test_any_bytes_read_as_protobuf_reads_them(raw: bytes) -> None:
    """Whatever the bytes are, they have the fields that protobuf finds, or are as invalid."""
    for body in (raw, b"\x12" + bytes((len(raw),)) + raw):
        assert parsed(read, body) == parsed(GradientRequest.FromString, body)


@given(st.data())
def test_damaged_chunks_read_as_protobuf_reads_them(data: st.DataObject) -> None:
    """A chunk that is cut short, or has a byte changed, reads as protobuf reads it."""
    chunk = TensorChunk(element_offset=data.draw(OFFSETS), parameters=b"abcd" * 40, weights=b"efgh" * 40)
    raw = bytearray(GradientRequest(chunk=chunk).SerializeToString())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    assert parsed(read, damaged) == parsed(GradientRequest.FromString, damaged)


@pytest.mark.parametrize(
    "request_message",
    [
        GradientRequest(),
        GradientRequest(header=GradientHeader()),
        GradientRequest(header=GradientHeader(), chunk=TensorChunk(parameters=b"abcd")),
    ],
)
def test_other_messages_are_read_by_protobuf(request_message: GradientRequest) -> None:
    """A message that has more than a chunk, or none, is protobuf's."""
    assert read(request_message.SerializeToString()) == request_message


@pytest.mark.parametrize("message", [GradientResponse, ProximalStepResponse])
@pytest.mark.parametrize("data_type", ["<f4", "<f8", ">f4"])
@given(
    offset=st.integers(0, (1 << 63) - 1),
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=100),
    with_summary=st.booleans(),
)
def test_answer_is_written_as_protobuf_writes_it(
    message: Any, data_type: str, offset: int, values: list[int], with_summary: bool
) -> None:
    """An answer has the bytes that protobuf writes, whatever the byte order of its array."""
    summary = Summary(total=Figures(elements=len(values))) if with_summary else None
    answer = Answer(ResultChunk(offset, np.array(values, dtype=data_type)), summary)
    raw = np.array(values, dtype=data_type.replace(">", "<")).tobytes()
    expected = message(chunk=ResultChunkMessage(element_offset=offset, values=raw), summary=summary)
    assert answer.to_bytes() == expected.SerializeToString()


def test_answer_with_a_summary_alone() -> None:
    """An answer may have nothing but the summary, which is set even if it is empty."""
    assert Answer(summary=Summary()).to_bytes() == GradientResponse(summary=Summary()).SerializeToString()


def test_every_method_of_the_schema_is_served() -> None:
    """The service has a handler for each method of the schema, of its kind."""
    descriptor = GradientRequest.DESCRIPTOR.file.services_by_name["RegularizationService"]
    handlers: Any = RegularizationService(MemoryBudget(0)).handlers()
    for method in descriptor.methods:
        handler = handlers.service(Details(f"/{SERVICE}/{method.name}"))
        assert (handler.request_streaming, handler.response_streaming) == (
            method.client_streaming,
            method.server_streaming,
        )


class Details:
    """What a handler is found by."""

    invocation_metadata = ()

    def __init__(self, method: str) -> None:
        self.method = method
