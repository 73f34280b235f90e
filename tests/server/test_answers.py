from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization.v1.regularization_service_pb2 import (
    GradientRequest,
    GradientResponse,
    ProximalStepResponse,
)
from regularization.v1.summary_pb2 import Figures, Summary
from regularization.v1.tensor_pb2 import ResultChunk as ResultChunkMessage
from regularization_kernels.engine import MemoryBudget, ResultChunk
from regularization_server.calls.admission import Calls
from regularization_server.calls.arrivals import Arrivals
from regularization_server.calls.drain import Drain
from regularization_server.calls.handlers import handlers_of
from regularization_server.calls.progress import Limits, Watchdog
from regularization_server.calls.quotas import quotas_of
from regularization_server.calls.service import SERVICE, RegularizationService
from regularization_server.calls.stack import Stack
from regularization_server.contract.answers import Answer
from regularization_server.process.line_limit import LineLimit
from regularization_server.process.logs import library_logger
from regularization_server.settings import Settings


@pytest.mark.parametrize("message", [GradientResponse, ProximalStepResponse])
@pytest.mark.parametrize("data_type", ["<f2", "<f4", "<f8", ">f4", ml_dtypes.bfloat16])
@given(
    offset=st.integers(0, (1 << 63) - 1),
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=100),
    with_summary=st.booleans(),
)
def test_answer_is_written_as_protobuf_writes_it(
    message: Any, data_type: Any, offset: int, values: list[int], with_summary: bool
) -> None:
    """An answer has the bytes that protobuf writes, whatever the data type and byte order of its array."""
    summary = Summary(total=Figures(elements=len(values))) if with_summary else None
    array = np.array(values, dtype=data_type)
    answer = Answer(ResultChunk(offset, array), summary)
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    expected = message(chunk=ResultChunkMessage(element_offset=offset, values=raw), summary=summary)
    assert answer.to_bytes() == expected.SerializeToString()


def test_answer_with_a_summary_alone() -> None:
    """An answer may have nothing but the summary, which is set even if it is empty."""
    assert Answer(summary=Summary()).to_bytes() == GradientResponse(summary=Summary()).SerializeToString()


@pytest.mark.parametrize("nonzeros", [0, 1, 50, 96, 97, 100])
def test_a_sparse_answer_is_never_larger(nonzeros: int) -> None:
    """Where it may be sparse it is so if that is smaller, and the dense one, to the byte, if not."""
    values = np.zeros(100, np.float32)
    values[:nonzeros] = 1.0
    dense = Answer(ResultChunk(7, values)).to_bytes()
    either = Answer(ResultChunk(7, values), None, may_be_sparse=True).to_bytes()
    chunk = GradientResponse.FromString(either).chunk
    assert chunk.element_offset == 7
    if chunk.nonzero_bitmap:
        assert len(either) < len(dense)
        assert len(chunk.values) == 4 * nonzeros
    else:
        assert either == dense
    assert bool(chunk.nonzero_bitmap) == (nonzeros < 96)


def test_every_method_of_the_schema_is_served() -> None:
    """The service has a handler for each method of the schema; each reads a stream, if only of one."""
    descriptor = GradientRequest.DESCRIPTOR.file.services_by_name["RegularizationService"]
    log, watchdog = library_logger(), Watchdog(Limits(1), Arrivals(1, 1))
    quotas, failures = quotas_of(Settings(), MemoryBudget(0)), LineLimit(log, "failed calls")
    stack = Stack(log, failures, None, quotas, Calls(1), Drain(), watchdog, window=0)
    handlers: Any = handlers_of(RegularizationService(), stack)
    for method in descriptor.methods:
        handler = handlers.service(Details(f"/{SERVICE}/{method.name}"))
        assert handler.request_streaming
        assert handler.response_streaming == method.server_streaming


class Details:
    """What a handler is found by."""

    invocation_metadata = ()

    def __init__(self, method: str) -> None:
        self.method = method
