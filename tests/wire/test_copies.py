"""How often a payload is copied."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from regularization import wire
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import tensor_pb2
from regularization_kernels.compilation import wait_until_compiled

from tests.support.protobuf_messages import header_of

PAYLOAD = bytes(1 << 22)
SPARE = 1 << 14
"""Bytes for everything but payloads."""


def peak(function: Callable[[], object]) -> int:
    """The most memory that a call has taken at once."""
    # What other tests left to be compiled in the background would count.
    wait_until_compiled()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_copies_no_payload() -> None:
    """Of a request, with a header too, and of a response."""
    chunk = tensor_pb2.TensorChunk(parameters=PAYLOAD, weights=PAYLOAD)
    request = service.GradientRequest(header=header_of(service.GradientRequest), chunk=chunk)
    raw = request.SerializeToString()
    assert peak(lambda: wire.decode_request(raw)) < SPARE
    result = tensor_pb2.ResultChunk(values=PAYLOAD, nonzero_bitmap=PAYLOAD)
    answer = service.GradientResponse(chunk=result).SerializeToString()
    assert peak(lambda: wire.decode_response(answer)) < SPARE


def test_writing_copies_a_payload_once() -> None:
    """Into the message."""
    view = memoryview(PAYLOAD)
    size = len(PAYLOAD) + SPARE
    assert peak(lambda: wire.encode_request(b"", 5, {"parameters": [view[:9], view[9:]]})) < size
    assert peak(lambda: wire.encode_response(wire.Result(5, view), None)) < size
