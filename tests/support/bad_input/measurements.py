"""Measurements and statistics that are none, or of something else; and streams that measure wrongly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT64, ElementRange, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer, TopK
from regularization_kernels.engine import Chunk, Combination, Measuring, MemoryBudget
from regularization_server.contract.header_bytes import read_header
from regularization_server.contract.headers import round_of
from regularization_server.contract.tensors import chunk_of

from tests.support.bad_input.headers import HEADERS, LAYOUTS
from tests.support.bad_input.rows import INFINITY, NAN, Row, Stream
from tests.support.bad_input.streams import CHUNKS
from tests.support.messages import KINDS, METHODS, chunk, header, layout_of, request

BUDGET = 1 << 24
ENUM = {
    "penalty": service.METHOD_PENALTY,
    "gradient": service.METHOD_GRADIENT,
    "proximal_step": service.METHOD_PROXIMAL_STEP,
}
SPREAD = (1, -2, 3.5, -4, 4.001, 4.002, 4.003, 8)
"""Of these the third largest is found in the second round."""


def kept(count: int) -> ParameterLayout:
    """Eight elements, of which so many may stay."""
    return layout_of(Segment(name="w", shape=[8], regularizer=Regularizer(top_k=TopK(count=count))))


OF = kept(3)


def asked(measurement: bytes, **fields: Any) -> Any:
    """The round of a header of Combine."""
    raw = header("combine", **{"of": OF, "measurement": measurement, **fields}).SerializeToString()
    return round_of(read_header(memoryview(raw), service.CombineHeader))


def statistics(measurement: bytes = b"", begin: int = 0, end: int = 8, **fields: Any) -> bytes:
    """Those of a part of eight elements."""
    own = asked(measurement, **fields)
    with Measuring(own, (begin, end), MemoryBudget(BUDGET)) as part:
        message = chunk(SPREAD[begin:end], offset=begin)
        part.feed(Chunk(begin, *_arrays(message, own.data_type)))
        return part.finish()


def _arrays(message: Any, data_type: Any) -> list[Any]:
    return [chunk_of(message, data_type).parameters]


def measurement(rounds: int, **fields: Any) -> bytes:
    """That of eight elements after so many rounds."""
    known = b""
    for _ in range(rounds):
        with Combination(asked(known, **fields), MemoryBudget(BUDGET)) as parts:
            parts.add(statistics(known, **fields))
            known = parts.measurement().written()
    return known


def with_measurement(rounds: int, of: ParameterLayout = OF, **other: Any) -> Stream:
    """A stream whose header has a measurement that was made with other fields, or after too few rounds."""

    def stream(method: str) -> list[Any]:
        fields = {"method": ENUM.get(method, service.METHOD_PROXIMAL_STEP), **other}
        return [request(method, header=header(method, of, measurement=measurement(rounds, **fields)))]

    return stream


def combining(*parts: bytes, known: bytes = b"", **fields: Any) -> Stream:
    """A stream with a header and these statistics."""
    return lambda method: [
        request(method, header=header(method, OF, measurement=known, **fields)),
        *(request(method, statistics=part) for part in parts),
    ]


def measuring(*chunks: Any, of: ParameterLayout = OF, **fields: Any) -> Stream:
    """A stream with a header and these chunks."""
    return lambda method: [
        request(method, header=header(method, of, **fields)),
        *(request(method, chunk=part) for part in chunks),
    ]


EVERY = (*METHODS, "measure", "combine")
INSIDE = ("penalty", "proximal_step", "measure", "combine")
"""Those that have an answer outside the set, too."""
INVALID, AT = "MEASUREMENT_INVALID", "header.measurement"
WRONG, HERE = "STATISTICS_INVALID", "statistics"
OTHER_TYPE = ParameterLayout(data_type=DATA_TYPE_FLOAT64, segments=OF.segments)

MEASUREMENTS = [
    *(
        Row(
            f"measurement_{name}",
            lambda method, raw=raw: [request(method, header=header(method, OF, measurement=raw))],  # type: ignore[misc]
            INVALID,
            AT,
            methods=EVERY,
        )
        for name, raw in (
            ("noise", b"noise"),
            ("zeros", bytes(40)),
            ("cut_off", measurement(1)[:-1]),
            ("that_goes_on", measurement(1) + b"\0"),
            ("too_long", bytes(1 << 20)),
        )
    ),
    *(
        Row(f"measurement_of_another_{name}", stream, INVALID, AT, methods=INSIDE)
        for name, stream in (
            ("count", with_measurement(1, kept(4))),
            ("data_type", with_measurement(1, OTHER_TYPE)),
            ("choice_of_figures", with_measurement(1, figures={"penalty": False})),
            ("policy", with_measurement(1, non_finite_policy=service.NON_FINITE_POLICY_PROPAGATE)),
        )
    ),
    Row(
        "measurement_of_another_method",
        with_measurement(1, method=service.METHOD_PENALTY),
        INVALID,
        AT,
        methods=("proximal_step",),
    ),
    Row(
        "measurement_of_another_step_size",
        with_measurement(1, step_size=0.5),
        INVALID,
        AT,
        methods=("proximal_step", "measure", "combine"),
    ),
    Row(
        "measurement_that_is_not_complete",
        with_measurement(1),
        "MEASUREMENT_INCOMPLETE",
        AT,
        {"segment": "w"},
        methods=("proximal_step",),
    ),
    *(
        Row(f"statistics_{name}", stream, WRONG, HERE, {"message": "1"}, methods=("combine",))
        for name, stream in (
            ("empty", combining(b"")),
            ("noise", combining(b"noise")),
            ("zeros", combining(bytes(100))),
            ("cut_off", combining(statistics()[:-1])),
            ("that_go_on", combining(statistics() + b"\0")),
            ("of_another_count", combining(statistics(of=kept(4)))),
            ("of_another_step_size", combining(statistics(step_size=0.5))),
            ("of_another_method", combining(statistics(method=service.METHOD_PENALTY))),
            ("of_the_last_round", combining(statistics(), known=measurement(1))),
            ("of_the_next_round", combining(statistics(measurement(1)))),
        )
    ),
    Row(
        "statistics_that_overlap",
        combining(statistics(end=5), statistics(begin=4)),
        "STATISTICS_OVERLAP",
        HERE,
        {"message": "2", "element": "4"},
        methods=("combine",),
    ),
    *(
        Row(
            f"measured_for_{name}",
            lambda method, value=value: [request(method, header=header(method, OF, method=value))],  # type: ignore[misc]
            reason,
            "header.method",
            methods=("measure", "combine"),
        )
        for name, value, reason in (
            ("nothing", 0, "FIELD_MISSING"),
            ("an_unknown_method", 9, "FIELD_OUT_OF_RANGE"),
        )
    ),
    *(
        Row(
            f"measured_for_step_size_{value}",
            lambda method, value=value: [request(method, header=header(method, OF, step_size=value))],  # type: ignore[misc]
            "FIELD_OUT_OF_RANGE",
            "header.step_size",
            methods=("measure", "combine"),
        )
        for value in (-0.1, NAN, INFINITY)
    ),
    Row(
        "measured_range_leaves_the_layout",
        measuring(element_range=ElementRange(begin=4, end=9)),
        "ELEMENT_RANGE_INVALID",
        "header.element_range.end",
        {"element": "9"},
        methods=("measure",),
    ),
    Row(
        "measured_nan",
        measuring(chunk((1, 2)), chunk((3, NAN, 5, 6, 7, 8), offset=2)),
        "VALUE_NOT_FINITE",
        "chunk.parameters",
        {"element": "3", "segment": "w"},
        methods=("measure",),
    ),
    *(
        Row(
            f"measured_with_{operand}",
            measuring(chunk(**{operand: (1,) * 8})),  # type: ignore[arg-type]
            "OPERAND_UNSUPPORTED",
            f"chunk.{operand}",
            {"segment": "w"},
            methods=("measure",),
        )
        for operand in ("reference", "weights", "step_scales")
    ),
    Row(
        "measured_with_loss_gradients_at_last",
        measuring(chunk((1, 2)), chunk((3, 4, 5, 6, 7, 8), offset=2, loss_gradients=(1,) * 6)),
        "OPERAND_INCONSISTENT",
        "chunk.loss_gradients",
        {"element": "2", "segment": "w"},
        methods=("measure",),
    ),
    Row(
        "measured_without_a_layout",
        lambda method: [request(method, header=KINDS[method].header(method=service.METHOD_PENALTY))],
        "FIELD_MISSING",
        "header.layout",
        methods=("measure", "combine"),
    ),
    *(
        replace(row, name=f"measured_{row.name}", methods=("measure",))
        for row in (*HEADERS, *LAYOUTS, *CHUNKS)
        if row.name != "no_layout"
    ),
    *(
        replace(row, name=f"combined_{row.name}", methods=("combine",))
        for row in (*HEADERS, *LAYOUTS)
        if row.name in {"no_message", "empty_first_message", "unknown_policy"} or row in LAYOUTS
    ),
    Row(
        "combined_second_header",
        lambda method: [request(method, header=header(method, OF)) for _ in range(2)],
        "HEADER_REPEATED",
        "header",
        {"message": "1"},
        methods=("combine",),
    ),
    Row(
        "combined_unknown_field",
        lambda method: [request(method, header=header(method, OF)), b"\xe8\x3e\x01"],
        "FIELD_UNKNOWN",
        None,
        {"message": "1", "number": "1005"},
        methods=("combine",),
    ),
    Row(
        "combined_garbage",
        lambda method: [request(method, header=header(method, OF)), b"\xff\xfe\xfd garbage"],
        "MESSAGE_UNREADABLE",
        methods=("combine",),
    ),
]
