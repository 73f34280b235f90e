"""Headers as bytes: those of a repeated question are the bytes that a fresh one has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization.v1 import layout_pb2, shared_memory_pb2
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import ArgumentError, Box, GroupLasso, Groups, L1Norm, Regularizer
from regularization_client._config import CallOptions
from regularization_client._request.header import Header
from regularization_client._request.layout import Layout, Segment, layout_of
from regularization_client._request.method import METHODS, PROXIMAL_STEP, Method

F4 = np.dtype("<f4")
SHAPES = {"fc.weight": (3, 2), "fc.bias": (2,)}


def message_of(layout: Layout) -> layout_pb2.ParameterLayout:
    """The message that a layout is in a header."""
    return service.PenaltyHeader.FromString(layout.content).layout


def test_a_header_is_what_protobuf_writes() -> None:
    """The layout, which is kept, comes before all the rest."""
    layout = Layout.of(F4, [Segment("a", (2, 3), L1Norm(strength=0.5), 0.25), Segment("b", ())])
    stretch = shared_memory_pb2.SharedStretch(region=bytes(16), byte_offset=8)
    shared = shared_memory_pb2.SharedTensor(parameters=stretch)
    header = Header(PROXIMAL_STEP, layout, CallOptions(figures=["penalty"], non_finite="propagate"), 0.0)
    written = header.to_bytes((1, 4), shared)
    read = service.ProximalStepHeader.FromString(written)
    assert read.SerializeToString() == written
    assert (read.element_range.begin, read.element_range.end) == (1, 4)
    assert (read.shared, read.step_size, read.HasField("step_size")) == (shared, 0.0, True)
    assert [segment.name for segment in read.layout.segments] == ["a", "b"]
    assert read.layout.segments[0].regularizer.l1_norm.strength == 0.5
    assert not read.layout.segments[1].HasField("regularizer")
    assert layout.sizes == {"a": 6, "b": 1}
    assert layout.regularizers == {"a": "l1_norm", "b": None}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_measuring_and_combining_say_what_the_call_says(method: Method) -> None:
    """All that is the same for every part, and what the whole is measured for."""
    layout = Layout.of(F4, [Segment("a", (2, 3), L1Norm(strength=0.5), 0.25)])
    options = CallOptions(
        figures=["penalty"], non_finite="propagate", rounding="stochastic", seed=7, sparse=True
    )
    header = Header(method, layout, options, 0.5, b"known")
    call = method.header.FromString(header.to_bytes())
    measure = service.MeasureHeader.FromString(replace(header, method=method.measuring()).to_bytes((1, 4)))
    combine = service.CombineHeader.FromString(header.combining())
    assert (measure.element_range.begin, measure.element_range.end) == (1, 4)
    for each in (measure, combine):
        assert (
            service.Method.Name(each.method).removeprefix("METHOD_").replace("_", "") == method.name.upper()
        )
        assert each.step_size == 0.5
        for field in ("layout", "figures", "non_finite_policy", "measurement"):
            assert getattr(each, field) == getattr(call, field)
        if method.has_results:
            assert each.rounding == call.rounding
        else:
            assert not each.HasField("rounding")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_header_has_its_layout_first(method: Method) -> None:
    """Under one number, so that one layout's bytes serve all."""
    layout = layout_pb2.ParameterLayout(data_type=layout_pb2.DATA_TYPE_FLOAT32)
    assert method.header(layout=layout).SerializeToString() == Layout.of(F4, []).content


RULES: dict[str, Any] = {
    "one for all": L1Norm(strength=0.5),
    "none": None,
    "the choice around one": Regularizer(box=Box(lower=-1)),
    "by pattern": {"*.weight": GroupLasso(strength=1, groups=Groups(axis=0)), "*": None},
    "by name": {"fc.bias": None, "fc.weight": L1Norm()},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("steps", [None, 0.5, {"fc.bias": 0, "*": np.float32(0.5)}], ids=str)
def test_a_question_asked_again_has_the_same_bytes(rules: Any, steps: Any) -> None:
    """As the same question in new objects, and as the layout that is not kept."""
    first = layout_of(F4, SHAPES, rules, steps)
    copy = type(rules).FromString(rules.SerializeToString()) if hasattr(rules, "FromString") else rules
    assert layout_of(F4, dict(SHAPES), copy, steps) == first
    layout = message_of(first)
    assert [(each.name, tuple(each.shape)) for each in layout.segments] == list(SHAPES.items())
    named = isinstance(steps, dict)
    assert [each.HasField("step_size") for each in layout.segments] == [named, named]


def test_a_message_that_was_changed_is_another_question() -> None:
    """Messages can change; what is kept is kept by their contents."""
    norm = L1Norm(strength=0.5)
    before = layout_of(F4, SHAPES, norm, None)
    norm.strength = 0.75
    after = layout_of(F4, SHAPES, norm, None)
    assert message_of(before).segments[0].regularizer.l1_norm.strength == 0.5
    assert message_of(after).segments[0].regularizer.l1_norm.strength == 0.75


class Restless(dict[str, Any]):
    """Regularizers that somebody changes while they are looked at."""

    def items(self) -> Any:
        """Change one, and return all."""
        self["*"].strength += 1
        return super().items()


def test_messages_that_change_meanwhile_are_kept_for_no_other_question() -> None:
    """What came of them would be given as the answer to a question that was never asked."""
    with pytest.raises(ArgumentError, match="must not change"):
        layout_of(F4, SHAPES, Restless({"*": L1Norm(strength=7.0)}), None)
    kept = message_of(layout_of(F4, SHAPES, {"*": L1Norm(strength=8.0)}, None))
    assert kept.segments[0].regularizer.l1_norm.strength == 8.0


@given(st.lists(st.floats(), min_size=2, max_size=4))
def test_step_sizes_keep_their_bits(sizes: list[float]) -> None:
    """Also where numbers are equal and their bits are not, as 0.0 and -0.0; and NaN is sent as it is."""
    for size in sizes:
        layout = message_of(layout_of(F4, {"a": ()}, None, {"a": size}))
        sent = layout.segments[0].step_size
        assert np.float64(sent).tobytes() == np.float64(size).tobytes() or (sent != sent and size != size)


def test_the_order_and_the_data_type_are_part_of_the_question() -> None:
    """Equal dicts may have another order, and so be another vector."""
    swapped = dict(reversed(SHAPES.items()))
    assert swapped == SHAPES
    double = np.dtype("<f8")
    questions = ((F4, SHAPES), (F4, swapped), (double, SHAPES))
    assert len({layout_of(data_type, shapes, None, None).content for data_type, shapes in questions}) == 3


def test_mistakes_are_found_every_time() -> None:
    """Nothing of a question that was refused is kept."""
    for _ in range(2):
        with pytest.raises(ArgumentError, match="matches none"):
            layout_of(F4, SHAPES, {"fc.wieght": None, "*": None}, None)
        with pytest.raises(ArgumentError, match="must be made as L1Norm"):
            layout_of(F4, SHAPES, {"*": "l1"}, None)  # type: ignore[dict-item] # on purpose
        with pytest.raises(ArgumentError, match="nothing matches"):
            layout_of(F4, SHAPES, None, {})
