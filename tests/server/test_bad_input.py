"""Every row of the table of bad input, over the wire; and what needs a client or a server of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization.v1.layout_pb2 import Segment

from tests.support.bad_input import ROWS, Row
from tests.support.messages import (
    METHODS,
    SERVICE,
    TIMEOUT,
    Failed,
    answers,
    chunk,
    good_call,
    header,
    layout_of,
    nuclear_norm,
    request,
)
from tests.support.processes import ServerProcess, channel_to, serving

if TYPE_CHECKING:
    from pathlib import Path

CASES = [pytest.param(row, method, id=f"{row.name}-{method}") for row in ROWS for method in row.methods]


def failed(channel: grpc.Channel, method: str, stream: list[object]) -> Failed:
    """How a call fails that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        answers(channel, method, stream)
    return Failed.of(caught.value)


@pytest.mark.parametrize(("row", "method"), CASES)
def test_bad_input(process_channel: grpc.Channel, row: Row, method: str) -> None:
    """Bad input gets its code, reason, field and place, and the server lives on."""
    got = failed(process_channel, method, row.stream(method))
    assert got.code is row.code, got
    assert got.reason == (row.reason and f"ERROR_REASON_{row.reason}"), got
    assert got.violations == ([row.field] if row.field else []), got
    assert got.metadata.get("field") == row.field
    assert got.metadata.items() >= row.metadata.items(), got
    good_call(process_channel)


def test_names_of_the_rows_are_unique() -> None:
    """No row of the table hides another."""
    names = [row.name for row in ROWS]
    assert sorted(names) == sorted(set(names))


def test_no_row_ends_in_a_fault_of_the_server(server_process: ServerProcess) -> None:
    """After the whole table the log has no fault of the server in it."""
    assert "ERROR_REASON_INTERNAL" not in server_process.log
    assert "Traceback" not in server_process.log


@pytest.mark.parametrize("method", METHODS)
def test_what_exceeds_the_budget_is_refused(tmp_path: Path, method: str) -> None:
    """A segment that does not fit the memory budget is refused with the figures, and the rest is served."""
    of = layout_of(Segment(name="matrix", shape=[1024, 512], regularizer=nuclear_norm()))
    part = chunk([1.0] * (1 << 17))
    with serving(tmp_path, "--memory-budget", "8MiB") as server, channel_to(server.address) as channel:
        got = failed(channel, method, [request(method, header=header(method, of), chunk=part)])
        assert got.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert got.reason == "ERROR_REASON_BUDGET_EXCEEDED"
        assert got.metadata["budget_bytes"] == str(8 << 20)
        assert 0 < int(got.metadata["available_bytes"]) <= 8 << 20
        assert int(got.metadata["requested_bytes"]) > 8 << 20
        assert got.metadata["scope"] == "server"
        good_call(channel)


def test_unknown_method(process_channel: grpc.Channel) -> None:
    """A method that the service does not have is UNIMPLEMENTED."""
    unknown: Any = process_channel.unary_unary(f"/{SERVICE}/Unknown")
    with pytest.raises(grpc.RpcError) as caught:
        unknown(b"", timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    good_call(process_channel)


def test_long_names_fit_the_metadata(process_channel: grpc.Channel) -> None:
    """An error about a segment with a huge name arrives, with the name clipped."""
    of = layout_of(*(Segment(name="€" * 100_000) for _ in range(2)))
    got = failed(process_channel, "penalty", [request("penalty", header=header("penalty", of))])
    assert got.reason == "ERROR_REASON_LAYOUT_INVALID"
    assert len(got.metadata["segment"].encode()) <= 256
    assert got.metadata["segment"].endswith("€…")
    assert len(got.text.encode()) <= 768
