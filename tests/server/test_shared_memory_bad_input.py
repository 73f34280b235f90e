"""The rows of the table of bad input that can be said in shared memory: the same errors as over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization.v1.shared_memory_pb2 import SharedTensor

from tests.support.bad_input import Row
from tests.support.bad_input.headers import HEADERS, LAYOUTS, RANGES, STEP_SIZES
from tests.support.bad_input.regularizers import GROUPS, REGULARIZERS
from tests.support.bad_input.streams import CHUNKS, OPERANDS, VALUES
from tests.support.messages import good_call
from tests.support.shared_memory import OK, HandOffClient, failed, in_memory

if TYPE_CHECKING:
    from tests.support.processes import ServerProcess

NAMES = ("parameters", "loss_gradients", "reference", "weights", "step_scales")
WIDTH = 4
"""Bytes of an element of the rows' layouts."""


def operands_in(stream: list[Any]) -> dict[str, bytes] | None:
    """The operands that a stream's chunks have, put together; None where only chunks can say that."""
    chunks = [message.chunk for message in stream if message.HasField("chunk")]
    position, operands = 0, dict.fromkeys(NAMES, b"")
    for chunk in chunks:
        if chunk.element_offset * WIDTH != position:
            return None
        position += len(chunk.parameters)
        for name in NAMES:
            operands[name] += getattr(chunk, name)
    present = {name: raw for name, raw in operands.items() if raw}
    layout = stream[0].header.layout
    elements = sum(_product(segment.shape) for segment in layout.segments)
    whole = all(len(raw) == elements * WIDTH for raw in present.values())
    return present if present and whole else None


def _product(shape: Any) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


DATA = [
    pytest.param(row, method, id=f"{row.name}-{method}")
    for row in (*CHUNKS, *VALUES, *OPERANDS)
    for method in row.methods
    if operands_in(row.stream(method)) is not None
]

HEADER = [
    pytest.param(row, method, id=f"{row.name}-{method}")
    for row in (*HEADERS, *STEP_SIZES, *LAYOUTS, *RANGES, *REGULARIZERS, *GROUPS)
    for method in row.methods
    for stream in [row.stream(method)]
    if len(stream) == 1 and not isinstance(stream[0], bytes) and stream[0].HasField("header")
]


@pytest.mark.parametrize(("row", "method"), DATA)
def test_bad_data(
    process_channel: grpc.Channel, process_client: HandOffClient, row: Row, method: str
) -> None:
    """Data that breaks a rule has the same code, reason and place; the field is the stretch's."""
    stream = row.stream(method)
    operands = operands_in(stream)
    assert operands is not None
    memory, stretches = in_memory(process_client, method, operands)
    stream[0].header.shared.CopyFrom(SharedTensor(**stretches))
    stream[0].ClearField("chunk")
    got = failed(process_channel, method, stream[:1])
    field = row.field and row.field.replace("chunk", "header.shared")
    assert got.code is row.code, got
    assert got.reason == f"ERROR_REASON_{row.reason}", got
    assert got.violations == ([field] if field else []), got
    assert got.metadata.items() >= row.metadata.items(), got
    assert process_client.release(memory) == OK
    good_call(process_channel)


@pytest.mark.parametrize(("row", "method"), HEADER)
def test_bad_headers(process_channel: grpc.Channel, row: Row, method: str) -> None:
    """What else is wrong with a header is told before its regions are looked for."""
    (message,) = row.stream(method)
    message.header.shared.parameters.region = b"nowhere"
    message.ClearField("chunk")
    got = failed(process_channel, method, [message])
    assert (got.code, got.reason) == (row.code, f"ERROR_REASON_{row.reason}")
    assert got.violations == ([row.field] if row.field else [])


def test_every_kind_of_bad_data_is_tried() -> None:
    """The rows are not sorted out by mistake: each reason that data can have is among them."""
    reasons = {case.values[0].reason for case in DATA}  # type: ignore[union-attr]
    assert reasons == {
        "VALUE_NOT_FINITE",
        "OPERAND_OUT_OF_RANGE",
        "GRADIENT_UNDEFINED",
        "OPERAND_UNSUPPORTED",
    }


def test_no_case_ends_in_a_fault_of_the_server(server_process: ServerProcess) -> None:
    """After all of them the log has no fault of the server in it."""
    assert "ERROR_REASON_INTERNAL" not in server_process.log
    assert "Traceback" not in server_process.log
