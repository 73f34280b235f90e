"""Chunks that break a rule: their place, their bytes, their values and their operands."""

from __future__ import annotations

import grpc
from regularization.v1.layout_pb2 import DATA_TYPE_Q7, DATA_TYPE_Q15, DATA_TYPE_Q31, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Box, GroupLasso, GroupLinf, Groups, Regularizer
from regularization.v1.tensor_pb2 import TensorChunk

from tests.support.bad_input.rows import (
    ALL,
    EIGHT,
    INFINITY,
    NAN,
    STREAMING,
    Row,
    changed,
    chunk_with,
    raw_chunk,
    with_chunks,
)
from tests.support.messages import chunk, header, l1_norm, layout_of, nuclear_norm, request

Q7, Q15, Q31 = (
    ParameterLayout(data_type=data_type, segments=[Segment(name="weight", shape=[4], regularizer=l1_norm())])
    for data_type in (DATA_TYPE_Q7, DATA_TYPE_Q15, DATA_TYPE_Q31)
)
"""Four elements of fixed point under the L1 norm."""

CHUNKS = [
    *(
        Row(
            name,
            with_chunks(*chunks),
            "CHUNK_OUT_OF_ORDER",
            "chunk.element_offset",
            {"expected": str(expected), "received": str(received), "element": str(received)},
        )
        for name, chunks, expected, received in (
            ("gap", [chunk((1, 2)), chunk((3, 4), offset=3)], 2, 3),
            ("overlap", [chunk((1, 2)), chunk((3, 4), offset=1)], 2, 1),
            ("repeated_offset", [chunk((1, 2)), chunk((3, 4))], 2, 0),
            ("first_chunk_not_at_the_begin", [chunk((1, 2), offset=1)], 0, 1),
            ("negative_offset", [chunk((1, 2), offset=-1)], 0, -1),
            ("chunk_after_the_end_elsewhere", [chunk(), chunk((1,), offset=9)], 8, 9),
        )
    ),
    *(
        Row(
            f"chunk_of_{size}_bytes",
            with_chunks(raw_chunk(size)),
            "CHUNK_SIZE_INVALID",
            "chunk.parameters",
            {"element": "0"},
        )
        for size in (1, 7, 33)
    ),
    *(
        Row(
            f"chunk_of_{size}_bytes_of_{name}",
            with_chunks(raw_chunk(size), of=of),
            "CHUNK_SIZE_INVALID",
            "chunk.parameters",
            {"element": "0"},
        )
        for name, of, size in (("q15", Q15, 5), ("q31", Q31, 6))
    ),
    *(
        Row(
            name,
            with_chunks(*chunks),
            "STREAM_TOO_SHORT",
            None,
            {"expected": "8", "received": str(received), "element": str(received), "segment": segment},
        )
        for name, chunks, received, segment in (
            ("no_chunk", [], 0, "weight"),
            ("short_in_the_first_segment", [chunk((1, 2, 3))], 3, "weight"),
            ("short_in_the_last_segment", [chunk((1, 2, 3, 4, 5, 6, 7))], 7, "bias"),
        )
    ),
    *(
        Row(
            name,
            with_chunks(*chunks),
            "STREAM_TOO_LONG",
            "chunk.parameters",
            {"expected": "8", "received": str(received), "element": "8"},
        )
        for name, chunks, received in (
            ("chunk_goes_past_the_end", [chunk((*EIGHT, 9))], 9),
            ("chunk_after_the_end", [chunk(), chunk((9, 10), offset=8)], 10),
        )
    ),
]

VALUES = [
    *(
        Row(
            f"parameter_{value}",
            with_chunks(chunk((1, 2)), chunk(changed(3, value, (3, 4, 5, 6, 7, 8)), offset=2)),
            "VALUE_NOT_FINITE",
            "chunk.parameters",
            {"element": "5", "segment": "weight"},
        )
        for value in (NAN, INFINITY, -INFINITY)
    ),
    Row(
        "parameter_of_an_exempt_segment_nan",
        with_chunks(chunk(changed(7, NAN))),
        "VALUE_NOT_FINITE",
        "chunk.parameters",
        {"element": "7", "segment": "bias"},
    ),
    *(
        Row(
            f"{operand}_nan",
            with_chunks(chunk_with(operand, changed(2, NAN))),
            "VALUE_NOT_FINITE",
            f"chunk.{operand}",
            {"element": "2", "segment": "weight"},
            methods=methods,
        )
        for operand, methods in (
            ("loss_gradients", STREAMING),
            ("reference", ALL),
            ("weights", ALL),
            ("step_scales", ("proximal_step",)),
        )
    ),
    *(
        Row(
            f"{operand}_negative",
            with_chunks(chunk_with(operand, changed(4, -1))),
            "OPERAND_OUT_OF_RANGE",
            f"chunk.{operand}",
            {"element": "4", "segment": "weight"},
            methods=methods,
        )
        for operand, methods in (("weights", ALL), ("step_scales", ("proximal_step",)))
    ),
    *(
        Row(
            f"weights_negative_in_{name}",
            with_chunks(TensorChunk(parameters=bytes(4 * width), weights=bytes(3 * width) + lowest), of=of),
            "OPERAND_OUT_OF_RANGE",
            "chunk.weights",
            {"element": "3", "segment": "weight"},
        )
        for name, of, width in (("q7", Q7, 1), ("q15", Q15, 2), ("q31", Q31, 4))
        for lowest in [bytes(width - 1) + b"\x80"]
    ),
    *(
        Row(
            f"gradient_{value}_outside_a_box",
            with_chunks(
                chunk((0, value, 3)),
                of=layout_of(
                    Segment(name="w", shape=[3], regularizer=Regularizer(box=Box(lower=0, upper=1)))
                ),
            ),
            "GRADIENT_UNDEFINED",
            "chunk.parameters",
            {"element": element, "segment": "w"},
            grpc.StatusCode.FAILED_PRECONDITION,
            ("gradient",),
        )
        for value, element in ((0.5, "2"), (-0.5, "1"))
    ),
]

OPERANDS = [
    *(
        Row(
            f"{operand}_of_another_length",
            with_chunks(chunk_with(operand, (1, 2, 3))),
            "OPERAND_SIZE_MISMATCH",
            f"chunk.{operand}",
            {"element": "0", "expected": "32", "received": "12"},
        )
        for operand in ("loss_gradients", "reference", "weights", "step_scales")
    ),
    *(
        Row(
            f"{operand}_not_taken_by_the_method",
            with_chunks(chunk_with(operand, EIGHT)),
            "OPERAND_UNSUPPORTED",
            f"chunk.{operand}",
            methods=methods,
        )
        for operand, methods in (
            ("loss_gradients", ("penalty",)),
            ("step_scales", ("penalty", "gradient")),
        )
    ),
    *(
        Row(
            f"{operand}_not_taken_by_{name}",
            with_chunks(
                chunk_with(operand, EIGHT[:6], EIGHT[:6]),
                of=layout_of(Segment(name="w", shape=[2, 3], regularizer=regularizer)),
            ),
            "OPERAND_UNSUPPORTED",
            f"chunk.{operand}",
            {"segment": "w"},
            methods=methods,
        )
        for operand, name, regularizer, methods in (
            ("weights", "nuclear_norm", nuclear_norm(), ALL),
            (
                "weights",
                "group_lasso",
                Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=2))),
                ALL,
            ),
            ("weights", "box", Regularizer(box=Box(lower=-9, upper=9)), ALL),
            ("step_scales", "nuclear_norm", nuclear_norm(), ("proximal_step",)),
            (
                "step_scales",
                "group_linf",
                Regularizer(group_linf=GroupLinf(strength=1, groups=Groups(size=2))),
                ("proximal_step",),
            ),
        )
    ),
    *(
        Row(
            name,
            with_chunks(*chunks),
            "OPERAND_INCONSISTENT",
            "chunk.weights",
            {"element": "2", "segment": "weight"},
        )
        for name, chunks in (
            ("operand_left_out", [chunk((1, 2), weights=(1, 1)), chunk((3, 4, 5, 6), offset=2)]),
            ("operand_added", [chunk((1, 2)), chunk((3, 4, 5, 6), offset=2, weights=(1, 1, 1, 1))]),
        )
    ),
]

BYTES = [
    Row("garbage", lambda method: [b"\xff\xfe\xfd garbage"], "MESSAGE_UNREADABLE"),
    Row(
        "garbage_after_the_header",
        lambda method: [request(method, header=header(method)), b"\x12\xff\xff\xff\xff\x0f"],
        "MESSAGE_UNREADABLE",
    ),
    Row(
        "text_that_is_not_utf_8",
        lambda method: [
            request(method, header=header(method))
            .SerializeToString()
            .replace(b"weight", b"\xff\xff\xff\xff\xff\xff")
        ],
        "MESSAGE_UNREADABLE",
        "header",
    ),
    Row(
        "message_above_the_limit",
        lambda method: [request(method, header=header(method), chunk=raw_chunk((4 << 20) + 1))],
        None,
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
    ),
]
