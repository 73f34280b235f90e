"""Summaries that every client can receive: the widest that fits arrives, a wider one is refused first."""

from __future__ import annotations

import math
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1.layout_pb2 import (
    DATA_TYPE_FLOAT32,
    DATA_TYPE_FLOAT64,
    ElementRange,
    ParameterLayout,
    Segment,
)
from regularization.v1.shared_memory_pb2 import SharedStretch, SharedTensor
from regularization.v1.summary_pb2 import SummaryFigures
from regularization_kernels.engine import MAX_NAME_BYTES, MAX_SEGMENTS, Method
from regularization_server.calls import service
from regularization_server.contract import summaries
from regularization_server.contract.header_bytes import read_header
from regularization_server.contract.headers import HEADERS, call_of
from regularization_server.contract.refusals import SummaryTooLarge
from regularization_server.contract.summaries import check_summary_fits

from tests.support.messages import METHODS, Failed, call, good_call, header, l1_norm, request
from tests.support.shared_memory import HandOffClient, in_shared_memory, over_the_wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regularization_server import Server

WIDE = np.array([math.ldexp(1.0, exponent) for exponent in range(1000, -1075, -54)])
"""Elements of float64 whose sum needs a double each, nearly as many as any; the total is finite."""

SMALL_MESSAGE = 1 << 17
REFUSED = 500
"""Segments of WIDE whose summary might exceed a small message."""

ONLY_PENALTY = SummaryFigures(penalty=True, nonzeros=True, squared_distance=False)


def wide_layout(count: int) -> ParameterLayout:
    """So many segments of float64 with the longest names, each for all of WIDE."""
    segments = [
        Segment(name=f"{index:0{MAX_NAME_BYTES}}", shape=[WIDE.size], regularizer=l1_norm(1.0))
        for index in range(count)
    ]
    return ParameterLayout(data_type=DATA_TYPE_FLOAT64, segments=segments)


def check(method: str, of: ParameterLayout, **fields: Any) -> None:
    """Check a call's summary, without carrying it out."""
    kind = Method(method)
    raw = header(method, of, **fields).SerializeToString()
    check_summary_fits(call_of(read_header(memoryview(raw), HEADERS[kind]), kind))


def refused(method: str, of: ParameterLayout, **fields: Any) -> SummaryTooLarge:
    """How a call is refused that must be."""
    with pytest.raises(SummaryTooLarge) as caught:
        check(method, of, **fields)
    return caught.value


def most_that_fit(method: str, refused_count: int) -> int:
    """How many segments of WIDE a call may have: each adds the same to what its summary might have."""
    largest, less = (
        refused(method, wide_layout(count), figures=ONLY_PENALTY).metadata["largest_bytes"]
        for count in (refused_count, refused_count - 1)
    )
    too_many = -(-(largest - summaries.LARGEST_SUMMARY) // (largest - less))
    return refused_count - too_many


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit of messages that is sooner reached."""
    monkeypatch.setattr(summaries, "LARGEST_MESSAGE", SMALL_MESSAGE)
    monkeypatch.setattr(summaries, "LARGEST_SUMMARY", SMALL_MESSAGE - 16)
    monkeypatch.setattr(service, "LARGEST_MESSAGE", SMALL_MESSAGE)
    return SMALL_MESSAGE


@pytest.fixture
def narrow(server: Server, limit: int) -> Iterator[grpc.Channel]:
    """A channel that takes no more."""
    options = [("grpc.max_receive_message_length", limit)]
    with grpc.insecure_channel(server.addresses[0], options=options) as channel:
        yield channel


@pytest.mark.parametrize("method", METHODS)
def test_the_widest_summary_that_fits_arrives(narrow: grpc.Channel, limit: int, method: str) -> None:
    """Nearly as large as a message may be, it comes with all its doubles, and not with the last chunk."""
    most = most_that_fit(method, REFUSED)
    raw = np.tile(WIDE, most).tobytes()
    of = wide_layout(most)
    fields = {"step_size": 0.0} if method == "proximal_step" else {}
    _, summary = over_the_wire(narrow, method, of, {"parameters": raw}, figures=ONLY_PENALTY, **fields)
    assert {len(each.figures.penalty.expansion) for each in summary.segments} == {WIDE.size}
    assert 0.95 * limit < summary.ByteSize() <= limit


@pytest.mark.parametrize("method", METHODS)
def test_the_widest_summary_that_fits_arrives_in_shared_memory(
    narrow: grpc.Channel, client: HandOffClient, limit: int, method: str
) -> None:
    """The same, where elements do not travel."""
    most = most_that_fit(method, REFUSED)
    raw = np.tile(WIDE, most).tobytes()
    of = wide_layout(most)
    fields = {"step_size": 0.0} if method == "proximal_step" else {}
    operands = {"parameters": raw}
    _, summary = in_shared_memory(client, narrow, method, of, operands, figures=ONLY_PENALTY, **fields)
    assert {len(each.figures.penalty.expansion) for each in summary.segments} == {WIDE.size}
    assert 0.95 * limit < summary.ByteSize() <= limit


@pytest.mark.parametrize(
    ("method", "shared"),
    [("gradient", False), ("penalty", True)],
    ids=["wire", "shared_memory"],
)
def test_one_segment_more_is_refused_before_its_elements(
    process_channel: grpc.Channel, method: str, shared: bool
) -> None:
    """With the figures and the way out; the stream is still open, and no region was looked for."""
    of = wide_layout(most_that_fit(method, MAX_SEGMENTS) + 1)
    fields = {"shared": SharedTensor(parameters=SharedStretch(region=b"no such region.."))} if shared else {}
    done = Event()

    def stream() -> Iterator[Any]:
        yield request(method, header=header(method, of, figures=ONLY_PENALTY, **fields))
        done.wait()

    with pytest.raises(grpc.RpcError) as caught:
        list(call(process_channel, method, stream()))
    done.set()
    got = Failed.of(caught.value)
    assert got.code is grpc.StatusCode.INVALID_ARGUMENT
    assert got.reason == "ERROR_REASON_SUMMARY_TOO_LARGE"
    assert got.violations == ["header.figures"]
    assert int(got.metadata["largest_bytes"]) > int(got.metadata["limit_bytes"])
    assert "fewer figures" in got.text
    good_call(process_channel)


def test_the_ways_out_of_a_refusal_lead_out() -> None:
    """Fewer figures, the total alone, or a part of the segments in each of several calls."""
    method = "proximal_step"
    of = wide_layout(MAX_SEGMENTS)
    assert refused(method, of, figures=ONLY_PENALTY).field == "header.figures"
    check(method, of, figures=SummaryFigures(penalty=False, squared_distance=False))
    check(method, of, figures=SummaryFigures(segments=False))
    for begin in range(0, MAX_SEGMENTS, 5000):
        part = ElementRange(begin=begin * WIDE.size, end=(begin + 5000) * WIDE.size)
        check(method, of, figures=ONLY_PENALTY, element_range=part)


def test_as_many_ordinary_segments_as_there_may_be_have_all_figures() -> None:
    """Ten thousand of float32 with names of 60 bytes."""
    segments = [
        Segment(name=f"{index:060}", shape=[999, 9], regularizer=l1_norm()) for index in range(MAX_SEGMENTS)
    ]
    check("proximal_step", ParameterLayout(data_type=DATA_TYPE_FLOAT32, segments=segments))
