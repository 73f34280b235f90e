"""Modifiers and convexity over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization.v1.regularizers_pb2 import Box, Regularizer, SquaredL2Norm

from tests.support.cases import CASES
from tests.support.instances import message_of
from tests.support.messages import (
    METHODS,
    Failed,
    answers,
    chunk,
    header,
    l1_norm,
    layout,
    layout_of,
    request,
    values_of,
)

if TYPE_CHECKING:
    from regularization.v1.layout_pb2 import ParameterLayout


def answer(channel: grpc.Channel, method: str, of: ParameterLayout, *values: float) -> Any:
    """The one answer to a call of one chunk."""
    (message,) = answers(channel, method, [request(method, header=header(method, of), chunk=chunk(values))])
    return message


def test_a_box_on_top_of_a_penalty(channel: grpc.Channel) -> None:
    """The step is clipped to bounds of the data type, and the gradient leads inwards."""
    of = layout_of(
        Segment(name="w", shape=[3], regularizer=l1_norm(1.0), box=Box(lower=0, upper=0.3)),
        Segment(name="b", shape=[2], box=Box(lower=-1)),
    )
    step = answer(channel, "proximal_step", of, 0.05, 0.2, 9.0, -2.0, 2.0)
    np.testing.assert_allclose(values_of(step), (0.0, 0.1, 0.3, -1.0, 2.0), rtol=1e-6)
    assert step.summary.total.penalty.value == pytest.approx(0.4)
    gradient = answer(channel, "gradient", of, 0.0, 0.2, float(np.float32(0.3)), -1.0, 2.0)
    np.testing.assert_array_equal(values_of(gradient), (0.0, 1.0, 1.0, 0.0, 0.0))
    outside = answer(channel, "penalty", of, -0.1, 0.2, 0.3, -1.0, 2.0)
    assert outside.summary.total.penalty.value == np.inf


def test_a_smoothed_penalty(channel: grpc.Channel) -> None:
    """½·λ·x² becomes ½·λ / (1 + γ·λ)·x²; its step divides by 1 plus that strength times the step size."""
    ridge = Regularizer(squared_l2_norm=SquaredL2Norm(strength=2.0))
    of = layout_of(Segment(name="w", shape=[2], regularizer=ridge, smoothing=0.5))
    penalty = answer(channel, "penalty", of, 3.0, -1.0).summary.total.penalty
    assert penalty.value == pytest.approx(0.5 * 10.0, rel=1e-14)
    np.testing.assert_allclose(values_of(answer(channel, "gradient", of, 3.0, -1.0)), (3.0, -1.0), rtol=1e-6)
    step = answer(channel, "proximal_step", of, 3.0, -1.0)
    np.testing.assert_allclose(values_of(step), (3.0 / 1.1, -1.0 / 1.1), rtol=1e-6)


def test_the_summary_says_what_is_convex(channel: grpc.Channel) -> None:
    """For every regularizer and method, and where there is none; of a map it says nothing."""
    for method in METHODS:
        summary = answer(channel, method, layout(), *[1.0] * 8).summary
        assert [segment.convex for segment in summary.segments] == [True, True]
    for case in CASES:
        segment = Segment(name="w", shape=case.shape, regularizer=message_of(case.regularizer))
        summary = answer(channel, "proximal_step", layout_of(segment), *[0.25] * case.size).summary
        traits = case.regularizer.traits
        assert summary.segments[0].HasField("convex") is not traits.map
        assert summary.segments[0].convex is (traits.convex and not traits.map)


def refused(channel: grpc.Channel, method: str, segment: Segment, size: int) -> tuple[str | None, list[str]]:
    """Reason and field of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        answer(channel, method, layout_of(segment), *[0.25] * size)
    failed = Failed.of(caught.value)
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.metadata["segment"] == "w"
    return failed.reason, failed.violations


def test_what_is_not_convex_has_no_smoothed_step(channel: grpc.Channel) -> None:
    """It has the smoothed penalty and its gradient; a map has neither modifiers nor these methods."""
    path = "header.layout.segments[0]"
    for case in CASES:
        traits = case.regularizer.traits
        segment = Segment(name="w", shape=case.shape, regularizer=message_of(case.regularizer))
        if traits.map:
            for method in ("penalty", "gradient"):
                expected = ("ERROR_REASON_METHOD_UNSUPPORTED", [f"{path}.regularizer"])
                assert refused(channel, method, segment, case.size) == expected
        segment.smoothing = 0.5
        if not traits.convex:
            expected = ("ERROR_REASON_MODIFIER_UNSUPPORTED", [f"{path}.smoothing"])
            assert refused(channel, "proximal_step", segment, case.size) == expected
        if not traits.map:
            answer(channel, "gradient", layout_of(segment), *[0.25] * case.size)
