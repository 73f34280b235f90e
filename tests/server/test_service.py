from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service_pb2
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT64, ElementRange, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer, SquaredL2Norm
from regularization.v1.summary_pb2 import SummaryFigures
from regularization.v1.tensor_pb2 import TensorChunk

from tests.support.messages import (
    METHODS,
    SERVICE,
    answers,
    call,
    chunk,
    header,
    l1_norm,
    layout_of,
    nuclear_norm,
    request,
    values_of,
)

if TYPE_CHECKING:
    import grpc

STREAMING = ("gradient", "proximal_step")
THETA = (0.8, -0.3, 0.5)


def theta_layout(regularizer: Regularizer) -> ParameterLayout:
    """One segment of three float64."""
    segment = Segment(name="theta", shape=[3], regularizer=regularizer)
    return ParameterLayout(data_type=DATA_TYPE_FLOAT64, segments=[segment])


def theta_chunk() -> TensorChunk:
    """The elements of the worked example."""
    return TensorChunk(parameters=np.array(THETA, dtype="<f8").tobytes())


@pytest.mark.parametrize(
    ("regularizer", "penalty", "gradient", "step"),
    [
        (l1_norm(), 0.16, (0.1, -0.1, 0.1), (0.79, -0.29, 0.49)),
        (
            Regularizer(squared_l2_norm=SquaredL2Norm(strength=0.1)),
            0.049,
            (0.08, -0.03, 0.05),
            tuple(value / 1.01 for value in THETA),
        ),
    ],
    ids=["l1_norm", "squared_l2_norm"],
)
def test_worked_example(
    process_channel: grpc.Channel,
    regularizer: Regularizer,
    penalty: float,
    gradient: tuple[float, ...],
    step: tuple[float, ...],
) -> None:
    """The worked example of the conventions holds over the wire."""
    of = theta_layout(regularizer)
    got = {
        method: answers(
            process_channel, method, [request(method, header=header(method, of), chunk=theta_chunk())]
        )
        for method in METHODS
    }
    assert got["penalty"][0].summary.total.penalty.value == pytest.approx(penalty, rel=1e-15)
    assert np.frombuffer(got["gradient"][0].chunk.values) == pytest.approx(gradient)
    assert np.frombuffer(got["proximal_step"][0].chunk.values) == pytest.approx(step)


@pytest.mark.parametrize("method", METHODS)
def test_one_message_each_way(channel: grpc.Channel, method: str) -> None:
    """A request of one message has an answer of one message, also through a unary call."""
    kind = METHODS[method]
    unary = channel.unary_unary(
        f"/{SERVICE}/{kind.name}",
        request_serializer=kind.request.SerializeToString,
        response_deserializer=kind.response.FromString,
    )
    answer = unary(request(method, header=header(method), chunk=chunk()), timeout=10)
    assert answer.HasField("summary")
    assert [segment.name for segment in answer.summary.segments] == ["weight", "bias"]
    if method in STREAMING:
        assert values_of(answer).size == 8


@pytest.mark.parametrize("method", STREAMING)
def test_one_answer_for_each_chunk(channel: grpc.Channel, method: str) -> None:
    """Every chunk with elements has one answer of the same place; the last has the summary, no other has."""
    stream = [
        request(method, header=header(method)),
        request(method, chunk=chunk((1, 2, 3))),
        request(method, chunk=chunk((), offset=3)),
        request(method, chunk=chunk((4,), offset=3)),
        request(method, chunk=chunk((5, 6, 7, 8), offset=4)),
    ]
    got = answers(channel, method, stream)
    assert [(answer.chunk.element_offset, values_of(answer).size) for answer in got] == [
        (0, 3),
        (3, 1),
        (4, 4),
    ]
    assert [answer.HasField("summary") for answer in got] == [False, False, True]


@pytest.mark.parametrize("method", STREAMING)
def test_caller_may_wait_for_each_answer(channel: grpc.Channel, method: str) -> None:
    """Each answer comes before the next chunk is sent; the last, with the summary, before the half-close."""
    to_send: SimpleQueue[Any] = SimpleQueue()
    got = call(channel, method, iter(to_send.get, None))
    to_send.put(request(method, header=header(method), chunk=chunk((1, 2, 3, 4))))
    assert not next(got).HasField("summary")
    to_send.put(request(method, chunk=chunk((5, 6, 7, 8), offset=4)))
    assert next(got).HasField("summary")
    to_send.put(None)
    assert list(got) == []
    assert got.code().name == "OK"


def test_large_last_chunk_leaves_the_summary_alone(channel: grpc.Channel) -> None:
    """A last chunk above 1 MiB has a message of its own, so the summary cannot make it outgrow 4 MiB."""
    elements = (1 << 18) + 1
    of = layout_of(Segment(name="weight", shape=[elements], regularizer=l1_norm()))
    stream = [request("gradient", header=header("gradient", of), chunk=chunk(np.ones(elements)))]
    first, last = answers(channel, "gradient", stream)
    assert values_of(first).size == elements
    assert not first.HasField("summary")
    assert last.HasField("summary")
    assert not last.HasField("chunk")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("segments", [(), (Segment(name="empty", shape=[0, 3], regularizer=l1_norm()),)])
def test_empty_vector(channel: grpc.Channel, method: str, segments: tuple[Segment, ...]) -> None:
    """A vector without elements has penalty 0, with and without an empty chunk."""
    for chunks in ({}, {"chunk": chunk(())}):
        stream = [request(method, header=header(method, layout_of(*segments)), **chunks)]
        (answer,) = answers(channel, method, stream)
        assert answer.summary.total.penalty.value == 0
        assert answer.summary.total.elements == 0
        assert len(answer.summary.segments) == len(segments)


def test_segment_locality_answers_every_chunk(channel: grpc.Channel) -> None:
    """Chunks that wait for their segment are answered one by one once it is whole."""
    of = layout_of(Segment(name="matrix", shape=[2, 3], regularizer=nuclear_norm(strength=0.0)))
    stream = [
        request("proximal_step", header=header("proximal_step", of), chunk=chunk((1, 2))),
        request("proximal_step", chunk=chunk((3, 4, 5, 6), offset=2)),
    ]
    first, last = answers(channel, "proximal_step", stream)
    np.testing.assert_allclose(values_of(first), (1, 2), rtol=1e-5)
    np.testing.assert_allclose(values_of(last), (3, 4, 5, 6), rtol=1e-5)


def test_figures_that_are_not_asked_for_are_unset(channel: grpc.Channel) -> None:
    """The summary has the figures that the header asks for; unset fields of the choice mean yes."""
    figures = SummaryFigures(penalty=False, squared_distance=False)
    stream = [request("proximal_step", header=header("proximal_step", figures=figures), chunk=chunk())]
    total = answers(channel, "proximal_step", stream)[0].summary.total
    assert not total.HasField("penalty")
    assert not total.HasField("squared_distance")
    assert total.nonzeros == 8


def test_element_range(channel: grpc.Channel) -> None:
    """A stream may carry a part of the vector, with the offsets of the whole."""
    part = ElementRange(begin=6, end=8)
    stream = [request("penalty", header=header("penalty", element_range=part), chunk=chunk((7, 8), offset=6))]
    (answer,) = answers(channel, "penalty", stream)
    assert [segment.name for segment in answer.summary.segments] == ["bias"]
    assert answer.summary.total.elements == 2


def test_non_finite_values_propagate_on_request(channel: grpc.Channel) -> None:
    """With the policy to propagate, a NaN stays at its element and makes the sums NaN."""
    policy = service_pb2.NON_FINITE_POLICY_PROPAGATE
    values = (1, float("nan"), 3, 4, 5, 6, 7, 8)
    stream = [
        request(
            "proximal_step", header=header("proximal_step", non_finite_policy=policy), chunk=chunk(values)
        )
    ]
    (answer,) = answers(channel, "proximal_step", stream)
    assert np.flatnonzero(np.isnan(values_of(answer))).tolist() == [1]
    assert np.isnan(answer.summary.total.penalty.value)


def test_other_methods_ignore_the_step_size_of_a_segment(channel: grpc.Channel) -> None:
    """One layout, with step sizes of its segments, serves all three methods."""
    of = layout_of(Segment(name="weight", shape=[3], regularizer=l1_norm(), step_size=0.5))
    for method in METHODS:
        (answer,) = answers(
            channel, method, [request(method, header=header(method, of), chunk=chunk((1, 2, 3)))]
        )
        if method == "proximal_step":
            np.testing.assert_allclose(values_of(answer), (0.95, 1.95, 2.95), rtol=1e-6)
