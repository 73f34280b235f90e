"""``Measure`` and ``Combine``, over the wire and in shared memory: parts get the answer of one stream."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import regularizers_pb2 as v1
from regularization.v1.layout_pb2 import ElementRange, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer
from regularization.v1.shared_memory_pb2 import SharedTensor
from regularization.v1.summary_pb2 import SummaryFigures
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_kernels.summation import ExactSum

from tests.server.test_mutated_streams import mutated
from tests.support.hostile_numbers import NEAR
from tests.support.messages import KINDS, METHODS, answers, good_call, header, l1_norm, layout_of, request
from tests.support.outcomes import outcome_of
from tests.support.processes import ServerProcess, channel_to, serving
from tests.support.shared_memory import HandOffClient, failed, in_shared_memory, operands_for, over_the_wire
from tests.support.together import for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from regularization_server import Server

SIZE = 3000
WIDTH = 4
CUTS = [0, 5, 1000, 1001, 2222, SIZE]
ENUM = {
    "penalty": service.METHOD_PENALTY,
    "gradient": service.METHOD_GRADIENT,
    "proximal_step": service.METHOD_PROXIMAL_STEP,
}
ROWS = {
    "top_k": Regularizer(top_k=v1.TopK(count=300)),
    "l1_ball": Regularizer(l1_ball=v1.L1Ball(radius=3.0)),
    "l2_ball": Regularizer(l2_ball=v1.L2Ball(radius=3.0)),
    "simplex": Regularizer(simplex=v1.Simplex(radius=3.0)),
    "l2_norm": Regularizer(l2_norm=v1.L2Norm(strength=0.4)),
    "linf_norm": Regularizer(linf_norm=v1.LinfNorm(strength=4.0)),
}
CASES = (
    [("penalty", name) for name in ROWS]
    + [("proximal_step", name) for name in ROWS]
    + [("gradient", name) for name in ("l2_norm", "linf_norm")]
)

Measured = Callable[[bytes, int, int], bytes] if TYPE_CHECKING else Any


def layout(name: str) -> ParameterLayout:
    """Two segments under a regularizer, and one that is not measured between them."""
    return layout_of(
        Segment(name="first", shape=[1200], regularizer=ROWS[name]),
        Segment(name="between", shape=[50, 10], regularizer=l1_norm()),
        Segment(name="last", shape=[1300], regularizer=ROWS[name]),
    )


def part_of(operands: dict[str, bytes], begin: int, end: int) -> dict[str, bytes]:
    """The bytes of some elements."""
    return {name: raw[begin * WIDTH : end * WIDTH] for name, raw in operands.items()}


def measured(
    channel: grpc.Channel, method: str, of: ParameterLayout, operands: dict[str, bytes], **fields: Any
) -> Measured:
    """What measures a part over the wire, in chunks, for a measurement and the part's ends."""

    def measure(known: bytes, begin: int, end: int) -> bytes:
        place = ElementRange(begin=begin, end=end)
        own = header("measure", of, method=ENUM[method], measurement=known, element_range=place, **fields)
        middle = (begin + end) // 2
        chunks = [
            TensorChunk(element_offset=low, **part_of(operands, low, high))
            for low, high in pairwise((begin, middle, end))
        ]
        stream = [request("measure", header=own), *(request("measure", chunk=each) for each in chunks)]
        (answer,) = answers(channel, "measure", stream)
        return bytes(answer.statistics)

    return measure


def combined(
    channel: grpc.Channel,
    method: str,
    of: ParameterLayout,
    known: bytes,
    parts: Sequence[bytes],
    **fields: Any,
) -> Any:
    """What the statistics of parts give."""
    own = header("combine", of, method=ENUM[method], measurement=known, **fields)
    stream = [request("combine", header=own), *(request("combine", statistics=each) for each in parts)]
    (answer,) = answers(channel, "combine", stream)
    return answer


def rounds(
    channel: grpc.Channel, method: str, of: ParameterLayout, measure: Measured, **fields: Any
) -> bytes:
    """A measurement that is complete, of parts that are combined two by two."""
    known, answer = b"", combined(channel, method, of, b"", [], **fields)
    while not answer.complete:
        parts = [measure(known, begin, end) for begin, end in pairwise(CUTS)]
        half = combined(channel, method, of, known, parts[3:1:-1], **fields)
        assert half.WhichOneof("result") == "statistics"
        assert not half.complete
        answer = combined(
            channel, method, of, known, [parts[4], half.statistics, parts[0], parts[1]], **fields
        )
        assert answer.WhichOneof("result") == "measurement"
        assert bool(answer.missing) is not answer.complete
        known = answer.measurement
    return bytes(known)


def check_parts(
    channel: grpc.Channel, method: str, of: ParameterLayout, operands: dict[str, bytes], known: bytes
) -> None:
    """The parts' results and figures, with a measurement, are those of one stream."""
    values, summary = over_the_wire(channel, method, of, operands)
    got, penalties, nonzeros = b"", [], 0
    for begin, end in pairwise(CUTS):
        place = ElementRange(begin=begin, end=end)
        own = header(method, of, measurement=known, element_range=place)
        chunk = TensorChunk(element_offset=begin, **part_of(operands, begin, end))
        answer = answers(channel, method, [request(method, header=own, chunk=chunk)])[-1]
        got += answer.chunk.values if method != "penalty" else b""
        penalties += answer.summary.total.penalty.expansion
        nonzeros += answer.summary.total.nonzeros
    assert got == values
    assert ExactSum.of(penalties).value == summary.total.penalty.value
    assert nonzeros == summary.total.nonzeros


@pytest.mark.parametrize(("method", "name"), CASES)
def test_parts_get_the_answer_of_one_stream(process_channel: grpc.Channel, method: str, name: str) -> None:
    """Cut anywhere, with the same loss gradients in all rounds and in the call."""
    of = layout(name)
    operands = operands_for(SIZE, *(["loss_gradients"] if method == "proximal_step" else []))
    if method == "penalty" and name != "simplex":
        operands["parameters"] = (np.frombuffer(operands["parameters"], "<f4") * np.float32(1e-4)).tobytes()
    measure = measured(process_channel, method, of, operands)
    check_parts(process_channel, method, of, operands, rounds(process_channel, method, of, measure))


@pytest.mark.parametrize("name", ["top_k", "l2_norm"])
def test_memory_is_measured_as_chunks_are(channel: grpc.Channel, client: HandOffClient, name: str) -> None:
    """With the same statistics, and computed with the same measurement; no result is taken."""
    method, of = "proximal_step", layout(name)
    operands = operands_for(SIZE, "loss_gradients")
    over_wire = measured(channel, method, of, operands)

    def in_memory(known: bytes, begin: int, end: int) -> bytes:
        memory = client.allocate(max(2 * (end - begin) * WIDTH, 1))
        size = (end - begin) * WIDTH
        for index, raw in enumerate(part_of(operands, begin, end).values()):
            memory.bytes[index * size : (index + 1) * size] = raw
        shared = SharedTensor(parameters=memory.at(0), loss_gradients=memory.at(size))
        place = ElementRange(begin=begin, end=end)
        own = header(
            "measure", of, method=ENUM[method], measurement=known, element_range=place, shared=shared
        )
        (answer,) = answers(channel, "measure", [request("measure", header=own)])
        assert answer.statistics == over_wire(known, begin, end)
        own.shared.result.CopyFrom(memory.at(0))
        got = failed(channel, "measure", [request("measure", header=own)])
        assert (got.reason, got.violations) == ("ERROR_REASON_OPERAND_UNSUPPORTED", ["header.shared.result"])
        client.release(memory)
        return bytes(answer.statistics)

    known = rounds(channel, method, of, in_memory)
    check_parts(channel, method, of, operands, known)
    values, summary = over_the_wire(channel, method, of, operands)
    begin = 1001
    place = {"measurement": known, "element_range": ElementRange(begin=begin, end=SIZE)}
    got, part = in_shared_memory(client, channel, method, of, part_of(operands, begin, SIZE), **place)
    assert got == values[begin * WIDTH :]
    assert part.total.nonzeros <= summary.total.nonzeros


def test_chunks_beside_shared_memory_are_refused(channel: grpc.Channel, client: HandOffClient) -> None:
    """As for the methods: elements come in one way."""
    memory = client.allocate(SIZE * WIDTH)
    own = header("measure", layout("top_k"), shared=SharedTensor(parameters=memory.at(0)))
    chunk = TensorChunk(parameters=bytes(WIDTH))
    got = failed(channel, "measure", [request("measure", header=own), request("measure", chunk=chunk)])
    assert (got.reason, got.violations) == ("ERROR_REASON_STREAM_TOO_LONG", ["chunk.parameters"])
    client.release(memory)


def test_combine_says_what_is_measured(process_channel: grpc.Channel) -> None:
    """Before the first round: which elements, and which segments may then be cut; or that none are."""
    of = layout("l2_norm")
    answer = combined(process_channel, "proximal_step", of, b"", [])
    expected = [(0, 1200), (1700, 3000)]
    assert [(each.begin, each.end) for each in answer.missing] == expected
    assert [(each.begin, each.end) for each in answer.measured] == expected
    assert answer.WhichOneof("result") == "statistics"
    again = combined(process_channel, "proximal_step", of, b"", [answer.statistics])
    assert again == answer
    none = combined(process_channel, "proximal_step", layout_of(Segment(name="w", shape=[9])), b"", [])
    assert (none.complete, none.WhichOneof("result"), list(none.missing)) == (True, "measurement", [])


def test_one_round_is_enough_where_no_penalty_is_wanted(process_channel: grpc.Channel) -> None:
    """A norm's step is known by its sum of squares; its penalty afterwards is a question of its own."""
    of, operands = layout("l2_norm"), operands_for(SIZE)
    for penalty in (False, True):
        figures = SummaryFigures(penalty=penalty)
        measure = measured(process_channel, "proximal_step", of, operands, figures=figures)
        statistics = measure(b"", 0, SIZE)
        answer = combined(process_channel, "proximal_step", of, b"", [statistics], figures=figures)
        assert answer.complete is not penalty


@pytest.mark.parametrize("method", METHODS)
def test_without_a_measurement_a_range_holds_segments_whole(
    process_channel: grpc.Channel, method: str
) -> None:
    """As ever: the error says where it was cut."""
    own = header(method, layout("top_k"), element_range=ElementRange(begin=0, end=1000))
    got = failed(process_channel, method, [request(method, header=own)])
    assert (got.reason, got.violations) == (
        "ERROR_REASON_ELEMENT_RANGE_INVALID",
        ["header.element_range.end"],
    )


@pytest.mark.parametrize("method", ["measure", "combine"])
def test_statistics_are_taken_from_the_budget(tmp_path: Path, method: str) -> None:
    """Those that do not fit are refused before they are made, and the server goes on."""
    with serving(tmp_path, "--memory-budget", "64KiB") as server, channel_to(server.address) as channel:
        got = failed(channel, method, [request(method, header=header(method, layout("top_k")))])
        assert (got.code, got.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "ERROR_REASON_BUDGET_EXCEEDED",
        )


def test_all_memory_goes_back(server: Server, channel: grpc.Channel) -> None:
    """After calls that end well and calls that fail, and with headers that are charged for."""
    segments = [Segment(name=f"{index:060}", shape=[3], regularizer=ROWS["l2_norm"]) for index in range(1000)]
    of = layout_of(*segments)
    operands = operands_for(SIZE)
    measure = measured(channel, "proximal_step", of, operands)
    known = rounds(channel, "proximal_step", of, measure)
    assert len(known) > 1 << 14
    check_parts(channel, "proximal_step", of, operands, known)
    failed(channel, "combine", [request("combine", header=header("combine", of, measurement=known[:-1]))])
    failed(channel, "measure", [request("measure", header=header("measure", of))])
    assert server.budget.used == 0


def test_every_method_that_reads_a_stream_is_served(process_channel: grpc.Channel) -> None:
    """None of the schema's is left out."""
    for method in KINDS:
        got = failed(process_channel, method, [])
        assert got.reason == "ERROR_REASON_HEADER_MISSING"


def test_mutated_streams_end_as_documented(
    server_process: ServerProcess, process_channel: grpc.Channel
) -> None:
    """Whatever bytes of elements, statistics and measurements come: an answer, or a documented error."""
    random = Random(4)  # noqa: S311 - the same streams every time
    of, operands = layout("top_k"), operands_for(SIZE)
    measure = measured(process_channel, "proximal_step", of, operands)
    first = [measure(b"", begin, end) for begin, end in pairwise(CUTS)]
    known = combined(process_channel, "proximal_step", of, b"", first).measurement
    second = [measure(known, begin, end) for begin, end in pairwise(CUTS)]
    chunk = TensorChunk(**part_of(operands, 0, SIZE))
    honest: list[tuple[str, list[Any]]] = []
    for before, parts in ((b"", first), (known, second)):
        headers = {kind: header(kind, of, measurement=before) for kind in ("measure", "combine")}
        honest.append(("measure", [request("measure", header=headers["measure"], chunk=chunk)]))
        statistics = [request("combine", statistics=part) for part in parts]
        honest.append(("combine", [request("combine", header=headers["combine"]), *statistics]))
    streams = [(method, [each.SerializeToString() for each in stream]) for method, stream in honest]
    succeeded = 0
    for _ in range(600):
        (method, stream), (_, other) = random.choice(streams), random.choice(streams)
        got = outcome_of(process_channel, method, mutated(stream, other, random))
        assert got.is_documented, (got, method)
        succeeded += got.succeeded
    assert 30 < succeeded < 400
    good_call(process_channel)
    assert "Traceback" not in server_process.log


@for_each("size", [size for size in (*NEAR, 1 << 39, 1 << 41) if 0 < size < 1 << 63])
def test_vectors_of_any_size_are_measured_or_refused(channel: grpc.Channel, size: int) -> None:
    """Also where sums of so many elements would overflow; no elements are sent."""
    for name, regularizer in ROWS.items():
        of = layout_of(Segment(name="w", shape=[size], regularizer=regularizer))
        got = outcome_of(channel, "combine", [request("combine", header=header("combine", of))])
        assert got.is_documented, (name, got)
        own = header("measure", of, element_range=ElementRange(begin=0, end=0))
        got = outcome_of(channel, "measure", [request("measure", header=own)])
        assert got.is_documented, (name, got)
