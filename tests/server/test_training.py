"""The services of ``training.v1`` over the wire: good answers, every row of their bad input, and limits."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from regularization.training.v1.augmentation_pb2 import (
    AugmentRequest,
    AugmentResponse,
    Mixup,
    Noise,
    SampleRange,
    Shift,
    Transformation,
)
from regularization.training.v1.early_stopping_pb2 import (
    MODE_MIN,
    STOP_REASON_MEDIAN,
    STOP_REASON_PATIENCE,
    CheckResponse,
    CompletedRun,
    MedianOfRuns,
    StoppingRule,
)
from regularization.v1.tensor_pb2 import TensorChunk

from tests.support.bad_input.training import CHECKS, STREAMS, Row, check, chunk, header
from tests.support.messages import TIMEOUT, Failed, good_call
from tests.support.processes import channel_to, serving

if TYPE_CHECKING:
    from pathlib import Path

CHECK = "/training.v1.EarlyStoppingService/Check"
AUGMENT = "/training.v1.AugmentationService/Augment"


def bytes_of(message: Any) -> bytes:
    """A message as it travels; bytes as they are."""
    return message if isinstance(message, bytes) else message.SerializeToString()


def checked(channel: grpc.Channel, message: Any) -> CheckResponse:
    """The answer of early stopping."""
    ask: Any = channel.unary_unary(
        CHECK, request_serializer=bytes_of, response_deserializer=CheckResponse.FromString
    )
    answer: CheckResponse = ask(message, timeout=TIMEOUT)
    return answer


def augmented(channel: grpc.Channel, messages: list[Any]) -> list[AugmentResponse]:
    """The answers of an augmentation."""
    start: Any = channel.stream_stream(
        AUGMENT, request_serializer=bytes_of, response_deserializer=AugmentResponse.FromString
    )
    return list(start(iter(messages), timeout=TIMEOUT))


def test_early_stopping_answers(process_channel: grpc.Channel) -> None:
    """With the reason, the best and the count; and that it goes on, with fields that are unset."""
    answer = checked(process_channel, check(history=[1.0, 0.5, 0.75, float("nan"), 0.25]))
    assert (answer.stop, answer.reason) == (True, STOP_REASON_PATIENCE)
    assert (answer.best_index, answer.wait, answer.stop_index) == (1, 2, 3)
    answer = checked(process_channel, check(history=[]))
    assert answer == CheckResponse()
    assert not answer.HasField("best_index")
    assert not answer.HasField("stop_index")


def test_the_median_sees_the_completed_runs(process_channel: grpc.Channel) -> None:
    """Each up to as many values as the history has."""
    rule = StoppingRule(median_of_runs=MedianOfRuns(mode=MODE_MIN, min_runs=3))
    runs = [CompletedRun(values=values) for values in ([0.5, 9.0], [1.0, 9.0], [1.5])]
    assert not checked(process_channel, check(rule=rule, history=[1.0], completed_runs=runs)).stop
    answer = checked(process_channel, check(rule=rule, history=[1.25], completed_runs=runs))
    assert (answer.stop, answer.reason, answer.stop_index) == (True, STOP_REASON_MEDIAN, 0)
    assert not checked(process_channel, check(rule=rule, history=[1.25], completed_runs=runs[:2])).stop


def test_chunks_are_answered_one_by_one(process_channel: grpc.Channel) -> None:
    """Each by its like, after the mixes of its samples, and any cut gives the same bits."""
    transformations = [
        Transformation(shift=Shift(rows=1, columns=1)),
        Transformation(mixup=Mixup(block=4)),
        Transformation(noise=Noise(standard_deviation=0.5)),
    ]
    made = header(transformations=transformations)
    values = np.random.default_rng(0).normal(size=36).astype("<f4")
    seen = set()
    for cuts in ([], [5, 6, 24], [23, 25], list(range(1, 36))):
        edges = [0, *cuts, 36]
        stream = [
            AugmentRequest(
                header=made if begin == 0 else None,
                chunk=TensorChunk(element_offset=begin, parameters=values[begin:end].tobytes()),
            )
            for begin, end in pairwise(edges)
        ]
        answers = augmented(process_channel, stream)
        chunks = [answer.chunk for answer in answers if answer.HasField("chunk")]
        assert [(part.element_offset, len(part.values) // 4) for part in chunks] == [
            (begin, end - begin) for begin, end in pairwise(edges)
        ]
        mixes = [answer.mixes for answer in answers if answer.HasField("mixes")]
        assert [each.first_sample for each in mixes] == [0, 4]
        assert [sorted(each.partners) for each in mixes] == [[0, 1, 2, 3], [4, 5]]
        assert answers[0].HasField("mixes")
        seen.add((b"".join(part.values for part in chunks), str(mixes)))
    assert len(seen) == 1


def test_an_empty_range_has_no_answer(process_channel: grpc.Channel) -> None:
    """And is whole."""
    made = header(sample_range=SampleRange(begin=3, end=3))
    assert augmented(process_channel, [AugmentRequest(header=made)]) == []


@pytest.mark.parametrize("service", ["EarlyStoppingService", "AugmentationService"])
def test_reflection_and_health_know_the_services(process_channel: grpc.Channel, service: str) -> None:
    """With the file that has the schema of each, and its state."""
    name = f"training.v1.{service}"
    stub = reflection_pb2_grpc.ServerReflectionStub(process_channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT)
    files = [
        FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert ("training.v1", [service]) in [
        (file.package, [each.name for each in file.service]) for file in files
    ]
    health = health_pb2_grpc.HealthStub(process_channel)
    state = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT)
    assert state.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("row", CHECKS, ids=lambda row: row.name)
def test_bad_input_of_early_stopping(process_channel: grpc.Channel, row: Row) -> None:
    """Gets its reason, field and place, and the server lives on."""
    with pytest.raises(grpc.RpcError) as caught:
        checked(process_channel, *row.messages)
    _compare(Failed.of(caught.value), row)


@pytest.mark.parametrize("row", STREAMS, ids=lambda row: row.name)
def test_bad_input_of_augmentation(process_channel: grpc.Channel, row: Row) -> None:
    """Likewise."""
    with pytest.raises(grpc.RpcError) as caught:
        augmented(process_channel, row.messages)
    _compare(Failed.of(caught.value), row)


def _compare(got: Failed, row: Row) -> None:
    assert got.code is grpc.StatusCode.INVALID_ARGUMENT, got
    assert got.reason == f"ERROR_REASON_{row.reason}", got
    assert got.violations == ([row.field] if row.field else []), got
    assert got.metadata.get("field") == row.field
    assert got.metadata.items() >= row.metadata.items(), got


def test_what_exceeds_the_budget_is_refused(tmp_path: Path) -> None:
    """A long history, and a block, with the figures; the server lives on."""
    with serving(tmp_path, "--memory-budget", "1MiB") as server, channel_to(server.address) as channel:
        for ask, message in (
            (checked, check(history=[0.5] * 100_000)),
            (augmented, [AugmentRequest(header=header(transformations=[Transformation(mixup=Mixup())]))]),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel, message)
            got = Failed.of(caught.value)
            assert got.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert got.reason == "ERROR_REASON_BUDGET_EXCEEDED"
            assert int(got.metadata["requested_bytes"]) > 1 << 20
        good_call(channel)


def test_the_token_is_asked_for(tmp_path: Path) -> None:
    """Of these services as of all."""
    token = tmp_path / "token"
    token.write_text("secret")
    with serving(tmp_path, "--token-file", str(token)) as server, channel_to(server.address) as channel:
        for ask, message in (
            (checked, check()),
            (augmented, [AugmentRequest(header=header(), chunk=chunk())]),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel, message)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
