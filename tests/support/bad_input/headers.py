"""Headers that break a rule: their place in the stream, layouts, step sizes and element ranges."""

from __future__ import annotations

from regularization.v1.layout_pb2 import (
    DATA_TYPE_UNSPECIFIED,
    ROUNDING_MODE_STOCHASTIC,
    ElementRange,
    ParameterLayout,
    Rounding,
    Segment,
)
from regularization.v1.regularizers_pb2 import GroupLasso, Groups, L2Norm, Regularizer

from tests.support.bad_input.rows import (
    INFINITY,
    NAN,
    STREAMING,
    Row,
    Stream,
    with_header,
    with_layout,
    with_regularizer,
)
from tests.support.messages import METHODS, chunk, header, layout, layout_of, nuclear_norm, request


def with_range(begin: int, end: int, of: ParameterLayout) -> Stream:
    """A stream that carries this part of its layout."""
    part = ElementRange(begin=begin, end=end)
    return lambda method: [request(method, header=header(method, of, element_range=part))]


def unknown_data_type(method: str) -> list[bytes]:
    """A header as a newer client would send it, with a data type that this server does not know."""
    message = request(method, header=header(method))
    message.header.layout.MergeFromString(b"\x08\x4d")  # field 1: 77
    return [message.SerializeToString()]


HEADERS = [
    Row("no_message", lambda method: [], "HEADER_MISSING", "header"),
    Row("chunk_before_header", lambda method: [request(method, chunk=chunk())], "HEADER_MISSING", "header"),
    Row("empty_first_message", lambda method: [request(method)], "HEADER_MISSING", "header"),
    Row(
        "second_header",
        lambda method: [
            request(method, header=header(method), chunk=chunk((1, 2, 3))),
            request(method, header=header(method), chunk=chunk((4, 5, 6, 7, 8), offset=3)),
        ],
        "HEADER_REPEATED",
        "header",
        {"message": "1"},
    ),
    Row(
        "second_header_after_the_last_element",
        lambda method: [
            request(method, header=header(method), chunk=chunk()),
            request(method, header=header(method)),
        ],
        "HEADER_REPEATED",
        "header",
        {"message": "1"},
    ),
    Row(
        "no_layout",
        lambda method: [request(method, header=METHODS[method].header())],
        "FIELD_MISSING",
        "header.layout",
    ),
    Row(
        "unknown_policy", with_header(non_finite_policy=77), "FIELD_OUT_OF_RANGE", "header.non_finite_policy"
    ),
    Row(
        "unknown_rounding_mode",
        with_header(rounding=Rounding(mode=77, seed=1)),  # type: ignore[arg-type] # as of a newer client
        "FIELD_OUT_OF_RANGE",
        "header.rounding.mode",
        methods=STREAMING,
    ),
    Row(
        "stochastic_rounding_without_a_seed",
        with_header(rounding=Rounding(mode=ROUNDING_MODE_STOCHASTIC)),
        "FIELD_MISSING",
        "header.rounding.seed",
        methods=STREAMING,
    ),
]

STEP_SIZES = [
    Row(
        "no_step_size",
        lambda method: [request(method, header=METHODS[method].header(layout=layout()))],
        "FIELD_MISSING",
        "header.step_size",
        methods=("proximal_step",),
    ),
    *(
        Row(
            f"step_size_{value}",
            with_header(step_size=value),
            "FIELD_OUT_OF_RANGE",
            "header.step_size",
            methods=("proximal_step",),
        )
        for value in (-0.1, NAN, INFINITY)
    ),
    *(
        Row(
            f"segment_step_size_{value}",
            with_layout(layout_of(Segment(name="w", shape=[6]), Segment(name="b", step_size=value))),
            "FIELD_OUT_OF_RANGE",
            "header.layout.segments[1].step_size",
            methods=("proximal_step",),
        )
        for value in (-0.1, NAN, INFINITY)
    ),
]

LAYOUTS = [
    Row(
        "data_type_unset",
        with_layout(ParameterLayout(data_type=DATA_TYPE_UNSPECIFIED)),
        "FIELD_MISSING",
        "header.layout.data_type",
    ),
    Row(
        "data_type_unknown",
        unknown_data_type,
        "DATA_TYPE_UNSUPPORTED",
        "header.layout.data_type",
    ),
    Row(
        "segment_name_taken",
        with_layout(layout_of(Segment(name="w"), Segment(name="b"), Segment(name="w"))),
        "LAYOUT_INVALID",
        "header.layout.segments[2].name",
        {"segment": "w"},
    ),
    Row(
        "shape_negative",
        with_layout(layout_of(Segment(name="w", shape=[2, -3]))),
        "LAYOUT_INVALID",
        "header.layout.segments[0].shape[1]",
        {"segment": "w"},
    ),
    Row(
        "shape_overflows",
        with_layout(layout_of(Segment(name="w", shape=[1 << 40, 1 << 40]))),
        "LAYOUT_INVALID",
        "header.layout.segments[0].shape",
        {"segment": "w"},
    ),
    Row(
        "layout_overflows",
        with_layout(layout_of(Segment(name="w", shape=[1 << 59]), Segment(name="v", shape=[1 << 59]))),
        "LAYOUT_INVALID",
        "header.layout.segments[1].shape",
        {"segment": "v"},
    ),
    Row(
        "vector_for_a_matrix_regularizer",
        with_regularizer(nuclear_norm(), 6),
        "LAYOUT_INVALID",
        "header.layout.segments[0].shape",
        {"segment": "w"},
    ),
]

PAIRS = Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=2)))
MEASURABLE = layout_of(Segment(name="w", shape=[8], regularizer=Regularizer(l2_norm=L2Norm(strength=1))))
GROUPED = layout_of(Segment(name="w", shape=[8], regularizer=PAIRS))

RANGES = [
    Row(
        f"element_range_{begin}_{end}",
        with_range(begin, end, of),
        "ELEMENT_RANGE_INVALID",
        f"header.element_range.{at_fault}",
        metadata,
    )
    for begin, end, of, at_fault, metadata in (
        (-1, 8, layout(), "begin", {"element": "-1"}),
        (0, 9, layout(), "end", {"element": "9"}),
        (8, 6, layout(), "end", {"element": "6"}),
        (1, 7, GROUPED, "begin", {"element": "1", "segment": "w"}),
        (2, 5, GROUPED, "end", {"element": "5", "segment": "w"}),
        (0, 4, MEASURABLE, "end", {"element": "4", "segment": "w"}),
        (
            0,
            1 << 18,
            layout_of(Segment(name="w", shape=[2, 1 << 18], regularizer=nuclear_norm())),
            "end",
            {"element": str(1 << 18), "segment": "w"},
        ),
    )
]
