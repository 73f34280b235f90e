"""Regularizers with modifiers, from the caller to the server and back."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
from regularization.v1 import layout_pb2, summary_pb2
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    GroupLasso,
    Groups,
    InvalidRequestError,
    L1Norm,
    Modified,
    Regularizer,
    combine,
)
from regularization_client._request.layout import Layout, Segment, layout_of
from regularization_client._results import summary_from

F4 = np.dtype("<f4")
L1 = L1Norm(strength=0.5)
THETA = np.array([0.8, -0.3, 2.0])


def message_of(layout: Layout) -> layout_pb2.ParameterLayout:
    """The message that a layout is in a header."""
    return service.PenaltyHeader.FromString(layout.content).layout


def test_modifiers_are_the_segment_s() -> None:
    """Beside its regularizer, if there is one; unset where they are not given."""
    layout = message_of(
        Layout.of(
            F4,
            [
                Segment("both", (2,), Modified(L1, Box(lower=-1), 2), 0.25),
                Segment("choice", (2,), Modified(Regularizer(l1_norm=L1), smoothing=0.5)),
                Segment("bounds", (2,), Modified(None, box=Box(upper=1))),
                Segment("none", (2,), Modified(None)),
                Segment("plain", (2,), L1),
            ],
        )
    )
    both, choice, bounds, none, plain = layout.segments
    assert (both.regularizer.l1_norm.strength, both.box.lower, both.smoothing, both.step_size) == (
        0.5,
        -1.0,
        2.0,
        0.25,
    )
    assert not both.box.HasField("upper")
    assert (choice.regularizer.l1_norm.strength, choice.smoothing) == (0.5, 0.5)
    assert not choice.HasField("box")
    assert not bounds.HasField("regularizer")
    assert bounds.box.upper == 1.0
    for segment in (none, plain):
        assert not segment.HasField("box")
        assert not segment.HasField("smoothing")


def test_questions_differ_by_their_modifiers() -> None:
    """Layouts that are kept are those that fresh ones would be, one and all or by pattern."""
    shapes = {"fc.weight": (3, 2), "fc.bias": (2,)}
    settings: list[Any] = [
        L1,
        Modified(L1),
        Modified(L1, Box(lower=0)),
        Modified(L1, Box(lower=1)),
        Modified(None, Box(lower=0)),
        Modified(L1, smoothing=0.5),
        Modified(L1, smoothing=0.25),
    ]
    for _ in range(2):
        for setting in settings:
            expected = Layout.of(F4, [Segment(name, shape, setting) for name, shape in shapes.items()])
            assert layout_of(F4, shapes, setting, None) == expected
            expected = Layout.of(F4, [Segment("fc.weight", (3, 2), setting), Segment("fc.bias", (2,))])
            assert layout_of(F4, shapes, {"*.weight": setting, "*": None}, None) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("l1_norm",), "a regularizer must be made as L1Norm.*, got 'l1_norm': that is L1Norm(...)"),
        (("L1norm",), "a regularizer must be .*, got 'L1norm'; did you mean 'L1Norm'"),
        (("nothing of the kind",), "a regularizer must be .*, got 'nothing of the kind'$"),
        ((L1Norm,), "a regularizer must be .*, got the class L1Norm, not one of it"),
        ((Modified(L1),), "a regularizer must be .*, got Modified"),
        ((L1, L1), "box must be a Box or None, got L1Norm"),
        ((L1, None, "much"), "smoothing must be a number or None, got 'much'"),
    ],
)
def test_what_is_no_modifier_is_refused(arguments: Any, message: str) -> None:
    """At once, by the name of what is wrong."""
    with pytest.raises(ArgumentError, match=message):
        Modified(*arguments)


def test_a_box_on_top_of_a_penalty(client: Client) -> None:
    """The step is clipped; outside, the penalty is infinite."""
    positive = Modified(L1, box=Box(lower=0, upper=1))
    step = client.proximal_step(THETA, positive, step_size=1.0)
    np.testing.assert_allclose(step.parameters, [0.3, 0.0, 1.0])
    assert step.penalty == pytest.approx(0.65)
    assert client.penalty(THETA, positive).penalty == np.inf
    settings: dict[str, Any] = {"b": Modified(None, Box(upper=1)), "*": L1}
    bounds = client.proximal_step({"w": THETA, "b": THETA}, settings, step_size=1.0)
    np.testing.assert_array_equal(bounds.parameters["b"], [0.8, -0.3, 1.0])


def test_a_smoothed_penalty(client: Client) -> None:
    """Of the L1 norm it is Huber's function: over several streams, too, with the bits of one."""
    huber = Modified(L1, smoothing=1.0)
    gradient = client.gradient(THETA, huber)
    np.testing.assert_allclose(gradient.gradient, [0.5, -0.3, 0.5])
    assert gradient.penalty == pytest.approx(0.5 * 0.8 - 0.125 + 0.045 + 0.5 * 2.0 - 0.125)
    long = np.random.default_rng(1).normal(size=2**19 + 5)
    one, two = (client.gradient(long, huber, streams=streams) for streams in (1, 2))
    assert one.exact_penalty == two.exact_penalty
    assert one.gradient.tobytes() == two.gradient.tobytes()
    assert (one.convex, two.convex) == (True, True)


def test_groups_are_bound_to_a_sign(client: Client) -> None:
    """A group shrinks by what is left of it without the elements of the other sign."""
    lasso = GroupLasso(strength=1, groups=Groups(size=2))
    step = client.proximal_step(
        np.array([3.0, -4.0, -1.0, -2.0]), Modified(lasso, Box(lower=0)), step_size=1.0
    )
    assert step.parameters.tolist() == [2.0, 0.0, 0.0, 0.0]


def test_what_cannot_be_modified_is_refused_by_the_server(client: Client) -> None:
    """With reason and field."""
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(np.ones(4), Modified(GroupLasso(strength=1, groups=Groups(size=2)), Box(lower=-1)))
    assert caught.value.reason == "ERROR_REASON_MODIFIER_UNSUPPORTED"
    assert caught.value.field == "header.layout.segments[0].box"


def test_results_say_whether_their_penalties_are_convex(client: Client) -> None:
    """Array by array and of all, in results that are put together, too."""
    result = client.penalty({"w": THETA, "b": THETA}, {"w": L1, "*": None})
    assert (result.segments["w"].convex, result.segments["b"].convex, result.convex) == (True, True, True)
    assert combine([result]).convex is True
    assert "convex=True" in repr(result.segments["w"])


@pytest.mark.parametrize(
    ("said", "expected"),
    [((True, True), True), ((True, False), False), ((None, False), False), ((True, None), None), ((), True)],
)
def test_all_are_convex_where_each_is(said: tuple[bool | None, ...], expected: bool | None) -> None:
    """A map, or a server that does not say, leaves it open; what is not convex settles it."""
    summary = summary_pb2.Summary(
        segments=[
            summary_pb2.SegmentSummary(name=str(index), convex=convex) for index, convex in enumerate(said)
        ]
    )
    read = summary_from(summary)
    assert [figures.convex for figures in read.segments.values()] == list(said)
    module = importlib.import_module("regularization_client")
    assert module.PenaltyResult(**vars(read)).convex is expected


def test_the_example_in_the_docstring_is_true() -> None:
    """It is run, and prints what it says."""
    done = doctest.testmod(importlib.import_module("regularization_client._modified"))
    assert done.attempted
    assert not done.failed
