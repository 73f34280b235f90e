"""Joint regularizers that break a rule, and segments and ranges that do not go with them."""

from __future__ import annotations

from typing import Any

from regularization.v1.layout_pb2 import (
    DATA_TYPE_FLOAT16,
    DATA_TYPE_FLOAT32,
    ElementRange,
    JointRegularizer,
    ParameterLayout,
    Segment,
)
from regularization.v1.regularizers_pb2 import Box, Groups, L1Ball, L2Norm, Regularizer, TopK

from tests.support.bad_input.rows import EIGHT, INFINITY, NAN, Row, Stream, with_chunks, with_layout
from tests.support.messages import chunk, header, l1_norm, request

LARGEST = Regularizer(top_k=TopK(fraction=0.5))


def jointly(
    *segments: Segment, joints: tuple[JointRegularizer, ...] | None = None, data_type: Any = DATA_TYPE_FLOAT32
) -> ParameterLayout:
    """A layout of these segments; its joint regularizer is called "all" unless others are given."""
    given = (JointRegularizer(name="all", regularizer=LARGEST),) if joints is None else joints
    return ParameterLayout(data_type=data_type, segments=segments, joints=given)


def member(**more: Any) -> Segment:
    """A segment of four elements that names "all"."""
    return Segment(**{"name": "w", "shape": [4], "joint": "all", **more})


def joint(regularizer: Regularizer | None = LARGEST, name: str = "all", **more: Any) -> JointRegularizer:
    """A joint regularizer."""
    return JointRegularizer(name=name, regularizer=regularizer, **more)


def refused(name: str, of: ParameterLayout, reason: str, field: str, **metadata: str) -> Row:
    """The row of a layout that is refused."""
    return Row(f"joint_{name}", with_layout(of), reason, f"header.layout.{field}", metadata)


def cut(begin: int, end: int) -> Stream:
    """A stream of a part of two segments of four elements, with a third one between them."""
    of = jointly(member(), Segment(name="between", shape=[4]), member(name="v"))
    part = ElementRange(begin=begin, end=end)
    return lambda method: [request(method, header=header(method, of, element_range=part))]


JOINTS = [
    refused("unknown", jointly(member(joint="al")), "JOINT_INVALID", "segments[0].joint", segment="w"),
    refused("where_there_is_none", jointly(member(), joints=()), "JOINT_INVALID", "segments[0].joint"),
    refused("without_segments", jointly(Segment(name="w", shape=[4])), "JOINT_INVALID", "joints[0]"),
    refused("twice", jointly(member(), joints=(joint(), joint())), "JOINT_INVALID", "joints[1].name"),
    refused(
        "name_too_long", jointly(member(), joints=(joint(name="é" * 129),)), "JOINT_INVALID", "joints[0].name"
    ),
    refused(
        "one_too_many",
        jointly(member(), joints=tuple(joint(name=str(index)) for index in range(65))),
        "JOINT_INVALID",
        "joints",
    ),
    refused("of_nothing", jointly(member(), joints=(joint(None),)), "FIELD_MISSING", "joints[0].regularizer"),
    refused(
        "of_no_kind",
        jointly(member(), joints=(joint(Regularizer()),)),
        "REGULARIZER_UNKNOWN",
        "joints[0].regularizer",
    ),
    refused(
        "sum_over_elements",
        jointly(member(), joints=(joint(l1_norm()),)),
        "JOINT_INVALID",
        "joints[0].regularizer",
    ),
    refused(
        "set_that_rounding_leaves",
        jointly(
            member(), joints=(joint(Regularizer(l1_ball=L1Ball(radius=1))),), data_type=DATA_TYPE_FLOAT16
        ),
        "JOINT_INVALID",
        "joints[0].regularizer",
    ),
    refused(
        "set_of_groups",
        jointly(member(), joints=(joint(Regularizer(l1_ball=L1Ball(radius=1, groups=Groups(size=2)))),)),
        "JOINT_INVALID",
        "joints[0].regularizer",
    ),
    refused(
        "count_above_all_its_elements",
        jointly(member(), member(name="v"), joints=(joint(Regularizer(top_k=TopK(count=9))),)),
        "FIELD_OUT_OF_RANGE",
        "joints[0].regularizer.top_k.count",
    ),
    refused(
        "parameter_out_of_range",
        jointly(member(), joints=(joint(Regularizer(l2_norm=L2Norm(strength=-1))),)),
        "FIELD_OUT_OF_RANGE",
        "joints[0].regularizer.l2_norm.strength",
    ),
    *(
        refused(
            f"step_size_{value}",
            jointly(member(), joints=(joint(step_size=value),)),
            "FIELD_OUT_OF_RANGE",
            "joints[0].step_size",
        )
        for value in (-0.1, NAN, INFINITY)
    ),
    *(
        refused(
            f"beside_{name}", jointly(member(**{name: value})), reason, f"segments[0].{name}", segment="w"
        )
        for name, value, reason in (
            ("regularizer", l1_norm(), "JOINT_INVALID"),
            ("step_size", 0.5, "JOINT_INVALID"),
            ("box", Box(lower=0), "MODIFIER_UNSUPPORTED"),
            ("smoothing", 1.0, "MODIFIER_UNSUPPORTED"),
        )
    ),
    *(
        Row(
            f"joint_cut_by_{begin}_to_{end}",
            cut(begin, end),
            "ELEMENT_RANGE_INVALID",
            f"header.element_range.{field}",
        )
        for begin, end, field in ((0, 4, "end"), (0, 8, "end"), (4, 12, "begin"), (4, 8, "begin"))
    ),
    Row(
        "joint_with_loss_gradients_in_places",
        with_chunks(
            chunk((1, 2, 3, 4), loss_gradients=(1, 2, 3, 4)),
            chunk((5, 6, 7, 8), offset=4),
            of=jointly(member(), member(name="v")),
        ),
        "OPERAND_INCONSISTENT",
        "chunk.loss_gradients",
        {"segment": "v", "element": "4"},
        methods=("proximal_step",),
    ),
    Row(
        "joint_with_a_reference",
        with_chunks(chunk(EIGHT, reference=EIGHT), of=jointly(Segment(name="first", shape=[4]), member())),
        "OPERAND_UNSUPPORTED",
        "chunk.reference",
        {"segment": "w"},
    ),
]
