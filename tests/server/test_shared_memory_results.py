from __future__ import annotations

from itertools import cycle
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service_pb2
from regularization.v1.layout_pb2 import DataType, ElementRange, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer, SquaredL2Norm
from regularization.v1.summary_pb2 import SummaryFigures
from regularization_kernels.engine import DATA_TYPES, contract_name
from regularization_server import Server, Settings

from tests.support.cases import CASES, Case
from tests.support.instances import message_of
from tests.support.messages import METHODS, TIMEOUT, Failed, call, l1_norm, layout, layout_of
from tests.support.processes import channel_to
from tests.support.shared_memory import (
    HandOffClient,
    Stretches,
    elements_of,
    hand_off_of,
    in_shared_memory,
    operands_for,
    over_the_wire,
    shared_call,
    shared_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


STREAMING = ("gradient", "proximal_step")
BLOCK = 1 << 18
OPERANDS = {
    "penalty": ("reference", "weights"),
    "gradient": ("loss_gradients", "reference", "weights"),
    "proximal_step": ("loss_gradients", "reference", "weights", "step_scales"),
}


def outcome(ask: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
    """What a call gives back, or how it fails, without the path of the field."""
    try:
        return ask(*arguments, **fields)
    except grpc.RpcError as error:
        got = Failed.of(error)
        return got.code, got.reason, {key: got.metadata.get(key) for key in ("segment", "element")}


# Every regularizer, and every data type; all of both together would say no more.
CASES_AND_TYPES = [
    pytest.param(case, data_type, id=f"{case.label}-{data_type}")
    for case, data_type in zip(CASES, cycle(DATA_TYPES), strict=False)
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("case", "data_type"), CASES_AND_TYPES)
def test_same_bits_as_over_the_wire(
    process_channel: grpc.Channel, process_client: HandOffClient, case: Case, data_type: Any, method: str
) -> None:
    """Every regularizer gives the same results, figures and errors, whether in place or not."""
    segments = [
        Segment(name="first", shape=[3]),
        Segment(name="case", shape=case.shape, regularizer=message_of(case.regularizer)),
    ]
    of = ParameterLayout(data_type=DataType.Value(f"DATA_TYPE_{contract_name(data_type)}"), segments=segments)
    operands = operands_for(elements_of(of), data_type=data_type)
    expected = outcome(over_the_wire, process_channel, method, of, operands)
    for result_in in (None,) if method == "penalty" else (None, "parameters"):
        got = outcome(in_shared_memory, process_client, process_channel, method, of, operands, result_in)
        assert got == expected


@pytest.mark.parametrize("method", STREAMING)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_result_in_place_of_the_reference(
    process_channel: grpc.Channel, process_client: HandOffClient, case: Case, method: str
) -> None:
    """A result that takes an operand's place changes nothing about what is computed from the operand."""
    of = layout_of(Segment(name="case", shape=case.shape, regularizer=message_of(case.regularizer)))
    operands = operands_for(elements_of(of), "reference")
    expected = outcome(over_the_wire, process_channel, method, of, operands)
    got = outcome(in_shared_memory, process_client, process_channel, method, of, operands, "reference")
    assert got == expected


@pytest.mark.parametrize("method", METHODS)
def test_all_operands_on_several_threads(tmp_path: Path, method: str) -> None:
    """With every operand the results are those of the wire, for any number of threads, wherever they go."""
    elements = 3 * BLOCK + 5
    of = layout_of(
        Segment(name="weight", shape=[elements - 7], regularizer=l1_norm()),
        Segment(name="bias", shape=[7], step_size=0.5),
    )
    operands = operands_for(elements, *OPERANDS[method])
    places: list[str | None] = [None] if method == "penalty" else [None, *operands]
    expected = None
    for threads in (1, 2, 5):
        settings = Settings(listen=(f"unix:{tmp_path / 's'}",), threads=threads)
        with (
            Server(settings) as server,
            channel_to(server.addresses[0]) as channel,
            hand_off_of(server.addresses[0]) as client,
        ):
            expected = expected or over_the_wire(channel, method, of, operands)
            for place in places:
                got = in_shared_memory(client, channel, method, of, operands, place)
                assert got == expected, (threads, place)


@pytest.mark.parametrize(
    ("regularizer", "penalty", "gradient", "step"),
    [
        (l1_norm(), 0.16, (0.1, -0.1, 0.1), (0.79, -0.29, 0.49)),
        (
            Regularizer(squared_l2_norm=SquaredL2Norm(strength=0.1)),
            0.049,
            (0.08, -0.03, 0.05),
            (0.8 / 1.01, -0.3 / 1.01, 0.5 / 1.01),
        ),
    ],
    ids=["l1_norm", "squared_l2_norm"],
)
def test_worked_example(
    channel: grpc.Channel,
    client: HandOffClient,
    regularizer: Regularizer,
    penalty: float,
    gradient: tuple[float, ...],
    step: tuple[float, ...],
) -> None:
    """The worked example of the conventions holds in shared memory; one region serves call after call."""
    segment = Segment(name="theta", shape=[3], regularizer=regularizer)
    of = ParameterLayout(data_type=DataType.DATA_TYPE_FLOAT64, segments=[segment])
    memory = client.allocate(48)
    memory.elements(3, data_type="<f8")[...] = (0.8, -0.3, 0.5)
    result = memory.elements(3, 24, "<f8")
    parameters: Stretches = {"parameters": memory.at()}
    both: Stretches = {**parameters, "result": memory.at(24)}
    answer = shared_call(channel, "penalty", of, parameters)
    assert answer.summary.total.penalty.value == pytest.approx(penalty, rel=1e-15)
    shared_call(channel, "gradient", of, both)
    assert result == pytest.approx(gradient)
    shared_call(channel, "proximal_step", of, both)
    assert result == pytest.approx(step)


@pytest.mark.parametrize("method", METHODS)
def test_element_range(channel: grpc.Channel, client: HandOffClient, method: str) -> None:
    """A call may be for a part of the layout; the stretches have that part's elements only."""
    part = ElementRange(begin=6, end=8)
    memory = client.holding(7, -8, 99)
    stretches = {"parameters": memory.at()}
    if method != "penalty":
        stretches["result"] = memory.at()
    answer = shared_call(channel, method, layout(), stretches, element_range=part)
    assert [segment.name for segment in answer.summary.segments] == ["bias"]
    assert answer.summary.total.elements == 2
    expected = {"penalty": (7, -8, 99), "gradient": (0, 0, 99), "proximal_step": (7, -8, 99)}
    assert tuple(memory.elements()) == expected[method]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("segments", [(), (Segment(name="empty", shape=[0, 3], regularizer=l1_norm()),)])
@pytest.mark.parametrize("byte_offset", [0, 4, 8])
def test_empty_vector(
    channel: grpc.Channel,
    client: HandOffClient,
    method: str,
    segments: tuple[Segment, ...],
    byte_offset: int,
) -> None:
    """A vector without elements takes no byte anywhere in a region, its end included."""
    stretch = client.allocate(8).at(byte_offset)
    stretches = {"parameters": stretch} if method == "penalty" else {"parameters": stretch, "result": stretch}
    answer = shared_call(channel, method, layout_of(*segments), stretches)
    assert answer.summary.total.elements == 0
    assert answer.summary.total.penalty.value == 0


@pytest.mark.parametrize("method", STREAMING)
def test_non_finite_values_propagate_on_request(
    channel: grpc.Channel, client: HandOffClient, method: str
) -> None:
    """With the policy to propagate, a NaN stays at its element and makes the sums NaN."""
    memory = client.holding(1, float("nan"), 3, 4, 5, 6, 7, 8)
    both = {"parameters": memory.at(), "result": memory.at()}
    policy = service_pb2.NON_FINITE_POLICY_PROPAGATE
    answer = shared_call(channel, method, layout(), both, non_finite_policy=policy)
    assert np.flatnonzero(np.isnan(memory.elements())).tolist() == [1]
    assert np.isnan(answer.summary.total.penalty.value)


def test_figures_that_are_not_asked_for_are_unset(channel: grpc.Channel, client: HandOffClient) -> None:
    """The summary has the figures that the header asks for."""
    memory = client.holding(*range(8))
    both = {"parameters": memory.at(), "result": memory.at()}
    figures = SummaryFigures(penalty=False, squared_distance=False)
    total = shared_call(channel, "proximal_step", layout(), both, figures=figures).summary.total
    assert not total.HasField("penalty")
    assert not total.HasField("squared_distance")
    assert total.nonzeros == 7


def test_operands_may_overlap_each_other(channel: grpc.Channel, client: HandOffClient) -> None:
    """Stretches that are only read may lie anywhere, also partly or wholly in one another."""
    memory = client.holding(*range(1, 25))
    stretches = {
        "parameters": memory.at(0),
        "reference": memory.at(4),
        "weights": memory.at(0),
        "result": memory.at(64),
    }
    shared_call(channel, "proximal_step", layout(), stretches)
    np.testing.assert_allclose(memory.elements(8, 64), (1.01, 2.02, 3.03, 4.04, 5.05, 6.06, 7, 8), atol=1e-6)


def test_stretches_of_several_regions(channel: grpc.Channel, client: HandOffClient) -> None:
    """Each operand may lie in a region of its own, at the same place in it."""
    theta, result = client.holding(*range(1, 9)), client.allocate(32)
    shared_call(channel, "gradient", layout(), {"parameters": theta.at(), "result": result.at()})
    np.testing.assert_allclose(result.elements(), (0.1,) * 6 + (0, 0), rtol=1e-6)


def test_handle_is_good_on_every_address(tmp_path: Path) -> None:
    """A region serves calls over any of the server's addresses: the handle proves the right to it."""
    with (
        Server(Settings(listen=(f"unix:{tmp_path / 's'}", "127.0.0.1:0"))) as server,
        channel_to(server.addresses[1]) as channel,
        hand_off_of(server.addresses[0]) as client,
    ):
        memory = client.holding(*range(8))
        shared_call(channel, "penalty", layout(), {"parameters": memory.at()})


@pytest.mark.parametrize("method", METHODS)
def test_answer_comes_before_the_half_close(
    channel: grpc.Channel, client: HandOffClient, method: str
) -> None:
    """A unary call is a stream of one message; one message comes back."""
    memory = client.holding(*range(8))
    stretches = {"parameters": memory.at(), **({"result": memory.at()} if method != "penalty" else {})}
    waiting = Event()

    def stream() -> Iterator[Any]:
        yield shared_request(method, layout(), stretches)
        if method != "penalty":
            waiting.wait(TIMEOUT)

    got = call(channel, method, stream())
    assert next(got).summary.total.elements == 8
    waiting.set()
    assert list(got) == []
    assert got.code() is grpc.StatusCode.OK
