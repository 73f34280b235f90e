"""Requests of a newer client: fields that this server does not know, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT32, ElementRange, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Box, GroupLasso, Groups, Regularizer
from regularization.v1.summary_pb2 import SummaryFigures

from tests.support.bad_input.rows import Row
from tests.support.messages import chunk, header, l1_norm, request

UNKNOWN = b"\xe8\x3e\x01"
"""Field 1005, the number 1."""

SHORT = ParameterLayout(
    data_type=DATA_TYPE_FLOAT32,
    segments=[
        Segment(name="bias", shape=[2]),
        Segment(
            name="weight",
            shape=[6],
            regularizer=Regularizer(group_lasso=GroupLasso(strength=0.1, groups=Groups(size=2))),
        ),
        Segment(name="clipped", shape=[1], regularizer=l1_norm(), box=Box(lower=0)),
    ],
)
"""A layout that is read at once."""

LONG = ParameterLayout(data_type=DATA_TYPE_FLOAT32, segments=SHORT.segments)
LONG.segments.extend(Segment(name=f"{index:200}") for index in range(1000))
"""The same, too long for that."""

PLACES: dict[str, Callable[[Any], Any]] = {
    "header": lambda header: header,
    "header.layout": lambda header: header.layout,
    "header.layout.segments[0]": lambda header: header.layout.segments[0],
    "header.layout.segments[1].regularizer": lambda header: header.layout.segments[1].regularizer,
    "header.layout.segments[1].regularizer.group_lasso": (
        lambda header: header.layout.segments[1].regularizer.group_lasso
    ),
    "header.layout.segments[1].regularizer.group_lasso.groups": (
        lambda header: header.layout.segments[1].regularizer.group_lasso.groups
    ),
    "header.layout.segments[2].box": lambda header: header.layout.segments[2].box,
    "header.element_range": lambda header: header.element_range,
    "header.figures": lambda header: header.figures,
}


def with_unknown(place: str, of: ParameterLayout) -> Callable[[str], list[Any]]:
    """A stream whose header has an unknown field in the message at ``place``."""

    def stream(method: str) -> list[Any]:
        whole = header(method, of, element_range=ElementRange(end=9), figures=SummaryFigures(penalty=True))
        PLACES[place](whole).MergeFromString(UNKNOWN)
        return [request(method, header=whole), request(method, chunk=chunk((1,) * 9))]

    return stream


def after_the_header(raw: bytes) -> Callable[[str], list[Any]]:
    """A stream whose second message is these bytes."""
    return lambda method: [request(method, header=header(method)), raw]


CHUNK = request("penalty", chunk=chunk()).SerializeToString()

UNKNOWN_FIELDS = [
    *(
        Row(
            f"unknown_in_{place}_of_a_{name}_header",
            with_unknown(place, of),
            "FIELD_UNKNOWN",
            place,
            {"number": "1005"},
        )
        for name, of in (("short", SHORT), ("long", LONG))
        for place in PLACES
    ),
    Row(
        "unknown_in_the_first_message",
        lambda method: [request(method, header=header(method)).SerializeToString() + UNKNOWN],
        "FIELD_UNKNOWN",
        metadata={"number": "1005", "message": "0"},
    ),
    Row(
        "unknown_beside_a_chunk",
        after_the_header(CHUNK + UNKNOWN),
        "FIELD_UNKNOWN",
        metadata={"number": "1005", "message": "1"},
    ),
    Row(
        "unknown_operand",
        after_the_header(b"\x12\x06\x12\x00\x3a\x02ab"),
        "FIELD_UNKNOWN",
        "chunk",
        {"number": "7", "message": "1"},
    ),
]
