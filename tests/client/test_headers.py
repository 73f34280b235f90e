"""Headers as bytes: those of a repeated question are the bytes that a fresh one has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization.v1 import layout_pb2, shared_memory_pb2
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import ArgumentError, Box, GroupLasso, Groups, L1Norm, Regularizer
from regularization_client._config import CallOptions
from regularization_client._request.header import Header, Segment, known_layout_bytes, layout_bytes

F4 = np.dtype("<f4")
SHAPES = {"fc.weight": (3, 2), "fc.bias": (2,)}


def test_a_header_is_what_protobuf_writes() -> None:
    """The layout, which is kept, comes before all the rest."""
    layout = layout_bytes(F4, [Segment("a", (2, 3), L1Norm(strength=0.5), 0.25), Segment("b", ())])
    stretch = shared_memory_pb2.SharedStretch(region=bytes(16), byte_offset=8)
    shared = shared_memory_pb2.SharedTensor(parameters=stretch)
    header = Header("ProximalStep", layout, CallOptions(figures=["penalty"], non_finite="propagate"), 0.0)
    written = header.to_bytes((1, 4), shared)
    read = service.ProximalStepHeader.FromString(written)
    assert read.SerializeToString() == written
    assert (read.element_range.begin, read.element_range.end) == (1, 4)
    assert (read.shared, read.step_size, read.HasField("step_size")) == (shared, 0.0, True)
    assert [segment.name for segment in read.layout.segments] == ["a", "b"]
    assert read.layout.segments[0].regularizer.l1_norm.strength == 0.5
    assert not read.layout.segments[1].HasField("regularizer")


@pytest.mark.parametrize("method", ["Penalty", "Gradient", "ProximalStep"])
def test_every_header_has_its_layout_first(method: str) -> None:
    """Under one number, so that one layout's bytes serve all."""
    header: Any = getattr(service, f"{method}Header")
    layout = layout_pb2.ParameterLayout(data_type=layout_pb2.DATA_TYPE_FLOAT32)
    assert header(layout=layout).SerializeToString() == layout_bytes(F4, [])


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
    first = known_layout_bytes(F4, SHAPES, rules, steps)
    copy = type(rules).FromString(rules.SerializeToString()) if hasattr(rules, "FromString") else rules
    assert known_layout_bytes(F4, dict(SHAPES), copy, steps) == first
    layout = service.PenaltyHeader.FromString(first).layout
    assert [(each.name, tuple(each.shape)) for each in layout.segments] == list(SHAPES.items())
    named = isinstance(steps, dict)
    assert [each.HasField("step_size") for each in layout.segments] == [named, named]


def test_a_message_that_was_changed_is_another_question() -> None:
    """Messages can change; what is kept is kept by their contents."""
    norm = L1Norm(strength=0.5)
    before = known_layout_bytes(F4, SHAPES, norm, None)
    norm.strength = 0.75
    after = known_layout_bytes(F4, SHAPES, norm, None)
    assert service.PenaltyHeader.FromString(before).layout.segments[0].regularizer.l1_norm.strength == 0.5
    assert service.PenaltyHeader.FromString(after).layout.segments[0].regularizer.l1_norm.strength == 0.75


@given(st.lists(st.floats(), min_size=2, max_size=4))
def test_step_sizes_keep_their_bits(sizes: list[float]) -> None:
    """Also where numbers are equal and their bits are not, as 0.0 and -0.0; and NaN is sent as it is."""
    for size in sizes:
        layout = service.PenaltyHeader.FromString(known_layout_bytes(F4, {"a": ()}, None, {"a": size})).layout
        sent = layout.segments[0].step_size
        assert np.float64(sent).tobytes() == np.float64(size).tobytes() or (sent != sent and size != size)


def test_the_order_and_the_data_type_are_part_of_the_question() -> None:
    """Equal dicts may have another order, and so be another vector."""
    swapped = dict(reversed(SHAPES.items()))
    assert swapped == SHAPES
    double = np.dtype("<f8")
    questions = ((F4, SHAPES), (F4, swapped), (double, SHAPES))
    assert len({known_layout_bytes(data_type, shapes, None, None) for data_type, shapes in questions}) == 3


def test_mistakes_are_found_every_time() -> None:
    """Nothing of a question that was refused is kept."""
    for _ in range(2):
        with pytest.raises(ArgumentError, match="matches none"):
            known_layout_bytes(F4, SHAPES, {"fc.wieght": None, "*": None}, None)
        with pytest.raises(ArgumentError, match="must be one of box"):
            known_layout_bytes(F4, SHAPES, {"*": "l1"}, None)  # type: ignore[dict-item]
        with pytest.raises(ArgumentError, match="nothing matches"):
            known_layout_bytes(F4, SHAPES, None, {})
