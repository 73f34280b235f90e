"""Segments whose modifiers break a rule, or do not go with regularizer or method."""

from __future__ import annotations

from typing import Any

from regularization.v1.layout_pb2 import Segment
from regularization.v1.regularizers_pb2 import Box, GroupLasso, Groups, Regularizer

from tests.support.bad_input.rows import INFINITY, NAN, Row, Stream, with_chunks, with_layout
from tests.support.messages import chunk, l1_norm, layout_of, nuclear_norm

SEGMENT = "header.layout.segments[0]"


def with_modifiers(regularizer: Regularizer | None, **modifiers: Any) -> Stream:
    """A stream of one segment of shape (2, 3) with these modifiers."""
    return with_layout(layout_of(Segment(name="w", shape=[2, 3], regularizer=regularizer, **modifiers)))


MODIFIERS = [
    Row(
        "zeros_that_stay_in_a_matrix_norm",
        with_modifiers(nuclear_norm(), keeps_zeros=True),
        "MODIFIER_UNSUPPORTED",
        f"{SEGMENT}.keeps_zeros",
        {"segment": "w"},
    ),
    *(
        Row(
            f"smoothing_{value}",
            with_modifiers(l1_norm(), smoothing=value),
            "FIELD_OUT_OF_RANGE",
            f"{SEGMENT}.smoothing",
            {"segment": "w"},
        )
        for value in (0.0, -0.5, NAN, INFINITY, 5e-324)
    ),
    Row(
        "smoothing_of_an_exempt_segment_0",
        with_modifiers(None, smoothing=0.0),
        "FIELD_OUT_OF_RANGE",
        f"{SEGMENT}.smoothing",
        {"segment": "w"},
    ),
    *(
        Row(
            f"modifier_box_{name}",
            with_modifiers(regularizer, box=box),
            reason,
            f"{SEGMENT}.{at_fault}",
            {"segment": "w"},
        )
        for name, regularizer, box, reason, at_fault in (
            ("without_a_bound", l1_norm(), Box(), "FIELD_MISSING", "box"),
            ("upside_down", l1_norm(), Box(lower=2, upper=1), "FIELD_OUT_OF_RANGE", "box.lower"),
            ("upside_down_and_exempt", None, Box(lower=2, upper=1), "FIELD_OUT_OF_RANGE", "box.lower"),
            ("infinite", l1_norm(), Box(upper=INFINITY), "FIELD_OUT_OF_RANGE", "box.upper"),
            ("that_misses_a_box", Regularizer(box=Box(upper=1)), Box(lower=2), "FIELD_OUT_OF_RANGE", "box"),
            ("of_a_matrix_norm", nuclear_norm(), Box(lower=0), "MODIFIER_UNSUPPORTED", "box"),
            (
                "of_groups",
                Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=2))),
                Box(lower=-1),
                "MODIFIER_UNSUPPORTED",
                "box",
            ),
            (
                "of_groups_and_an_upper_bound",
                Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=2))),
                Box(lower=0, upper=1),
                "MODIFIER_UNSUPPORTED",
                "box",
            ),
        )
    ),
    Row(
        "reference_of_nonnegative_groups",
        with_chunks(
            chunk((0.5,) * 6, reference=(0.5,) * 6),
            of=layout_of(
                Segment(
                    name="w",
                    shape=[6],
                    regularizer=Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=2))),
                    box=Box(lower=0),
                )
            ),
        ),
        "OPERAND_UNSUPPORTED",
        "chunk.reference",
        {"segment": "w"},
    ),
    Row(
        "reference_of_a_box_in_a_box",
        with_chunks(
            chunk((0.5,) * 6, reference=(0.5,) * 6),
            of=layout_of(
                Segment(name="w", shape=[6], regularizer=Regularizer(box=Box(upper=1)), box=Box(lower=0))
            ),
        ),
        "OPERAND_UNSUPPORTED",
        "chunk.reference",
        {"segment": "w"},
    ),
]
