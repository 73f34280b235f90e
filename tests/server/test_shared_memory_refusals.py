from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization_server import Server, Settings

from tests.support.messages import (
    METHODS,
    answers,
    chunk,
    good_call,
    l1_norm,
    layout,
    layout_of,
    nuclear_norm,
    request,
)
from tests.support.processes import channel_to, until
from tests.support.shared_memory import (
    OK,
    HandOffClient,
    failed,
    hand_off_of,
    regions_of,
    shared_call,
    shared_request,
)

if TYPE_CHECKING:
    pass

STREAMING = ("gradient", "proximal_step")


@pytest.mark.parametrize("method", METHODS)
def test_chunks_have_no_place_beside_shared_memory(
    channel: grpc.Channel, client: HandOffClient, method: str
) -> None:
    """A chunk with elements is too much, in the first message or after it; one without is not."""
    memory = client.holding(*range(1, 9))
    stretches = {"parameters": memory.at(), **({"result": memory.at()} if method != "penalty" else {})}
    first = shared_request(method, layout(), stretches)
    together = shared_request(method, layout(), stretches)
    together.chunk.CopyFrom(chunk((1, 2)))
    for stream in ([together], [first, request(method, chunk=chunk((1, 2)))]):
        before = memory.bytes[:]
        got = failed(channel, method, stream)
        assert got.reason == "ERROR_REASON_STREAM_TOO_LONG"
        assert got.violations == ["chunk.parameters"]
        assert (got.metadata["expected"], got.metadata["received"]) == ("0", "2")
        if len(stream) == 1:
            assert memory.bytes[:] == before
    assert failed(channel, method, [first, first]).reason == "ERROR_REASON_HEADER_REPEATED"
    answers(channel, method, [first, request(method, chunk=chunk(())), request(method)])


def test_stretches_of_the_wrong_method(channel: grpc.Channel, client: HandOffClient) -> None:
    """The penalty has no result; the other methods need a place for theirs."""
    memory = client.holding(*range(8))
    both = {"parameters": memory.at(), "result": memory.at()}
    got = failed(channel, "penalty", [shared_request("penalty", layout(), both)])
    assert (got.reason, got.violations) == ("ERROR_REASON_OPERAND_UNSUPPORTED", ["header.shared.result"])
    for method in STREAMING:
        got = failed(channel, method, [shared_request(method, layout(), {"parameters": memory.at()})])
        assert (got.reason, got.violations) == ("ERROR_REASON_FIELD_MISSING", ["header.shared.result"])


@pytest.mark.parametrize("field", ["parameters", "loss_gradients", "result"])
@pytest.mark.parametrize(
    "offset",
    [
        1,
        2,
        3,
        12,
        33,
        36,
        40,
        44,
        2**31 - 32,
        2**32 - 4,
        2**32,
        2**62,
        2**63 - 32,
        2**63 - 4,
        2**63 - 1,
        2**63,
        2**63 + 8,
        2**64 - 40,
        2**64 - 32,
        2**64 - 4,
        2**64 - 1,
    ],
)
def test_stretch_that_leaves_its_region(
    process_channel: grpc.Channel, process_client: HandOffClient, field: str, offset: int
) -> None:
    """A stretch that is not aligned, or not inside, is refused with its figures; nothing is written."""
    memory, room = process_client.holding(*range(10)), process_client.holding(*range(10))
    before = memory.bytes[:], room.bytes[:]
    stretches = {"parameters": memory.at(8), "loss_gradients": memory.at(8), "result": room.at()}
    stretches[field] = memory.at(offset)
    got = failed(process_channel, "gradient", [shared_request("gradient", layout(), stretches)])
    assert got.code is grpc.StatusCode.INVALID_ARGUMENT
    assert got.reason == "ERROR_REASON_REGION_RANGE_INVALID"
    assert got.violations == [f"header.shared.{field}.byte_offset"]
    figures = {key: got.metadata[key] for key in ("offset", "length", "size")}
    assert figures == {"offset": str(offset), "length": "32", "size": "40"}
    assert (memory.bytes[:], room.bytes[:]) == before
    good_call(process_channel)


def test_layout_larger_than_any_region(channel: grpc.Channel, client: HandOffClient) -> None:
    """Elements whose bytes nearly fill an int64 are refused like any that do not fit."""
    elements = (1 << 63) // 8 - 1
    of = layout_of(Segment(name="weight", shape=[elements], regularizer=l1_norm()))
    memory = client.allocate(64)
    got = failed(channel, "penalty", [shared_request("penalty", of, {"parameters": memory.at()})])
    assert got.reason == "ERROR_REASON_REGION_RANGE_INVALID"
    assert got.metadata["length"] == str(elements * 4)


@pytest.mark.parametrize("operand", ["parameters", "loss_gradients", "reference", "weights", "step_scales"])
@pytest.mark.parametrize("distance", [-28, -4, 4, 28])
def test_partly_overlapping_result(
    channel: grpc.Channel, client: HandOffClient, operand: str, distance: int
) -> None:
    """A result that shares some bytes with an operand, but not all, is refused; a neighbour is not."""
    memory, room = client.holding(*(24 * [1.0])), client.holding(*(8 * [1.0]))
    stretches = {"parameters": room.at(), operand: memory.at(32), "result": memory.at(32 + distance)}
    got = failed(channel, "proximal_step", [shared_request("proximal_step", layout(), stretches)])
    assert got.code is grpc.StatusCode.INVALID_ARGUMENT
    assert got.reason == "ERROR_REASON_REGION_OVERLAP"
    assert got.violations == ["header.shared.result"]
    assert operand in got.text
    for neighbour in (0, 64):
        stretches["result"] = memory.at(neighbour)
        shared_call(channel, "proximal_step", layout(), stretches)


def test_region_that_is_gone(server: Server, channel: grpc.Channel, client: HandOffClient) -> None:
    """A handle is good until it is released, or its connection closes; nothing else of it is told."""
    released = client.holding(*range(8))
    with hand_off_of(server.addresses[0]) as other:
        closed = other.holding(*range(8))
        for memory in (released, closed):
            shared_call(channel, "penalty", layout(), {"parameters": memory.at()})
    assert client.release(released) == OK
    until(lambda: regions_of(server) == (0, 0))
    for memory in (released, closed):
        got = failed(channel, "penalty", [shared_request("penalty", layout(), {"parameters": memory.at()})])
        assert got.reason == "ERROR_REASON_REGION_UNKNOWN"
        assert got.violations == ["header.shared.parameters.region"]
        del got.metadata["request_id"]
        assert got.metadata == {"field": "header.shared.parameters.region"}
        assert memory.handle.hex() not in got.text


@pytest.mark.parametrize("arguments", [{"listen": ("127.0.0.1:0",)}, {"shared_memory": False}])
def test_no_shared_memory(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """A server without shared memory says so, whatever the header has of it."""
    with (
        Server(Settings(**{"listen": (f"unix:{tmp_path / 's'}",), **arguments})) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        for method in METHODS:
            got = failed(channel, method, [shared_request(method, layout(), {})])
            assert got.code is grpc.StatusCode.FAILED_PRECONDITION
            assert got.reason == "ERROR_REASON_SHARED_MEMORY_UNAVAILABLE"
            assert got.violations == ["header.shared"]
        good_call(channel)


def test_segment_beyond_the_memory_budget(tmp_path: Path) -> None:
    """What a regularizer must copy comes out of the memory budget, as over the wire."""
    of = layout_of(Segment(name="matrix", shape=[512, 512], regularizer=nuclear_norm()))
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), memory_budget=1 << 20)
    with (
        Server(settings) as server,
        channel_to(server.addresses[0]) as channel,
        hand_off_of(server.addresses[0]) as client,
    ):
        memory = client.allocate(1 << 20)
        both = {"parameters": memory.at(), "result": memory.at()}
        got = failed(channel, "gradient", [shared_request("gradient", of, both)])
        assert got.reason == "ERROR_REASON_BUDGET_EXCEEDED"
        assert server.budget.used == 0
