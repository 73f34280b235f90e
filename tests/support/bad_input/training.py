"""Bad input for the services of ``training.v1``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from regularization.training.v1.augmentation_pb2 import (
    AugmentHeader,
    AugmentRequest,
    Cutmix,
    Cutout,
    Mixup,
    Noise,
    SampleRange,
    Scaling,
    Shift,
    Transformation,
)
from regularization.training.v1.early_stopping_pb2 import (
    MODE_MIN,
    CheckRequest,
    CompletedRun,
    Goal,
    MedianOfRuns,
    Patience,
    StoppingRule,
)
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT32
from regularization.v1.tensor_pb2 import TensorChunk

NAN, INFINITY = float("nan"), float("inf")
UNKNOWN = b"\xc2\x3e\x00"
"""Field 1000, empty: what a newer client may send."""

RANGE, MISSING, OUTSIDE = "FIELD_OUT_OF_RANGE", "FIELD_MISSING", "ELEMENT_RANGE_INVALID"


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of bad input: its messages, and what must come of them."""

    name: str
    messages: list[Any]
    reason: str
    field: str | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)


def check(**fields: Any) -> CheckRequest:
    """A request of early stopping, good but for these fields."""
    rule = StoppingRule(patience=Patience(mode=MODE_MIN, patience=2))
    return CheckRequest(**{"rule": rule, "history": [1.0, 0.5], **fields})


def patience(**fields: Any) -> StoppingRule:
    """A rule with patience, good but for these fields."""
    return StoppingRule(patience=Patience(**{"mode": MODE_MIN, "patience": 2, **fields}))


def with_rule(name: str, rule: StoppingRule, reason: str, at: str) -> Row:
    """A request with a rule that is wrong."""
    return Row(name, [check(rule=rule)], reason, f"rule.{at}")


def with_unknown(message: Any, path: Callable[[Any], Any]) -> Any:
    """The message with an unknown field in one of its messages."""
    path(message).MergeFromString(UNKNOWN)
    return message


CHECKS = [
    Row("no_rule", [CheckRequest(history=[1.0])], MISSING, "rule"),
    Row("rule_without_kind", [check(rule=StoppingRule())], "STOPPING_RULE_UNKNOWN", "rule.kind"),
    Row(
        "rule_of_an_unknown_kind",
        [with_unknown(check(rule=StoppingRule()), lambda message: message.rule)],
        "STOPPING_RULE_UNKNOWN",
        "rule.kind",
    ),
    Row(
        "unknown_field",
        [with_unknown(check(), lambda message: message)],
        "FIELD_UNKNOWN",
        None,
        {"number": "1000"},
    ),
    Row(
        "unknown_field_of_a_rule",
        [with_unknown(check(), lambda message: message.rule.patience)],
        "FIELD_UNKNOWN",
        "rule.patience",
        {"number": "1000"},
    ),
    Row("no_message_at_all", [b"\xff\xff\xff"], "MESSAGE_UNREADABLE"),
    Row("numbers_in_pieces", [(b"\x11" + bytes(8)) * 20_000], "MESSAGE_UNREADABLE"),
    with_rule("mode_missing", StoppingRule(patience=Patience(patience=1)), MISSING, "patience.mode"),
    with_rule("mode_unknown", patience(mode=3), RANGE, "patience.mode"),
    with_rule("mode_negative", patience(mode=-1), RANGE, "patience.mode"),
    with_rule("patience_missing", StoppingRule(patience=Patience(mode=1)), MISSING, "patience.patience"),
    *(
        with_rule(f"{name}_{value}", patience(**{name: value}), RANGE, f"patience.{name}")
        for name in ("patience", "cooldown", "start_from", "earliest_stop")
        for value in (-1, -(1 << 63))
    ),
    *(
        with_rule(f"{name}_{value}", patience(**{name: value}), RANGE, f"patience.{name}")
        for name in ("min_delta", "baseline", "stopping_threshold", "divergence_threshold")
        for value in (NAN, INFINITY, -INFINITY)
    ),
    with_rule("min_delta_negative", patience(min_delta=-0.5), RANGE, "patience.min_delta"),
    with_rule("target_missing", StoppingRule(goal=Goal(mode=MODE_MIN)), MISSING, "goal.target"),
    with_rule("target_nan", StoppingRule(goal=Goal(mode=1, target=NAN)), RANGE, "goal.target"),
    *(
        with_rule(
            f"{name}_{value}",
            StoppingRule(median_of_runs=MedianOfRuns(mode=MODE_MIN, **{name: value})),
            RANGE,
            f"median_of_runs.{name}",
        )
        for name, value in (("min_runs", 0), ("min_runs", -(1 << 63)), ("start_from", -1))
    ),
    Row("runs_for_patience", [check(completed_runs=[CompletedRun(values=[1.0])])], RANGE, "completed_runs"),
    Row(
        "too_many_runs",
        [
            check(
                rule=StoppingRule(median_of_runs=MedianOfRuns(mode=MODE_MIN)),
                completed_runs=[CompletedRun()] * 10_001,
            )
        ],
        RANGE,
        "completed_runs",
    ),
    Row("runs_without_end", [b"\x1a\x00" * 1_000_000], "MESSAGE_UNREADABLE"),
]


def header(**fields: Any) -> AugmentHeader:
    """A header of six samples of two rows and three columns, good but for these fields."""
    good = {"data_type": DATA_TYPE_FLOAT32, "sample_shape": [2, 3], "samples": 6, "seed": 7}
    return AugmentHeader(**{**good, **fields})


def chunk(count: int = 36, offset: int = 0, **fields: Any) -> TensorChunk:
    """A chunk of ones."""
    return TensorChunk(element_offset=offset, parameters=np.ones(count, "<f4").tobytes(), **fields)


def without(name: str) -> AugmentHeader:
    """A header without a field."""
    made = header()
    made.ClearField(name)
    return made


def with_header(name: str, made: AugmentHeader, reason: str, at: str, **metadata: str) -> Row:
    """A stream whose header is wrong."""
    return Row(name, [AugmentRequest(header=made, chunk=chunk())], reason, f"header.{at}", metadata)


def one(name: str, reason: str, at: str, **transformation: Any) -> Row:
    """A stream with a transformation that is wrong."""
    made = header(transformations=[Transformation(**transformation)])
    return with_header(name, made, reason, f"transformations[0].{at}")


MIXED = [Transformation(mixup=Mixup(block=4))]

STREAMS = [
    Row("no_message", [], "HEADER_MISSING", "header"),
    Row("no_header", [AugmentRequest(chunk=chunk())], "HEADER_MISSING", "header"),
    Row("header_again", [AugmentRequest(header=header())] * 2, "HEADER_REPEATED", "header", {"message": "1"}),
    Row("no_stream", [b"\xff\xff\xff"], "MESSAGE_UNREADABLE"),
    with_header("data_type_missing", without("data_type"), MISSING, "data_type"),
    with_header("data_type_unknown", header(data_type=99), "DATA_TYPE_UNSUPPORTED", "data_type"),
    with_header("samples_missing", without("samples"), MISSING, "samples"),
    with_header("seed_missing", without("seed"), MISSING, "seed"),
    with_header("samples_negative", header(samples=-1), "LAYOUT_INVALID", "samples"),
    with_header("samples_around_int64", header(samples=(1 << 63) - 1), "LAYOUT_INVALID", "samples"),
    with_header("side_zero", header(sample_shape=[2, 0]), "LAYOUT_INVALID", "sample_shape[1]"),
    with_header("side_negative", header(sample_shape=[-2, -3]), "LAYOUT_INVALID", "sample_shape[0]"),
    with_header("sides_around_int64", header(sample_shape=[1 << 62] * 3), "LAYOUT_INVALID", "sample_shape"),
    with_header("too_many_axes", header(sample_shape=[1] * 32), "LAYOUT_INVALID", "sample_shape"),
    with_header("policy_unknown", header(non_finite_policy=9), RANGE, "non_finite_policy"),
    with_header(
        "too_many_transformations",
        header(transformations=[Transformation(noise=Noise(standard_deviation=1))] * 17),
        RANGE,
        "transformations",
    ),
    with_header("mixed_twice", header(transformations=MIXED * 2), RANGE, "transformations[1]"),
    with_header(
        "no_transformation",
        header(transformations=[Transformation()]),
        "TRANSFORMATION_UNKNOWN",
        "transformations[0].kind",
    ),
    with_header(
        "unknown_transformation",
        with_unknown(header(transformations=[Transformation()]), lambda made: made.transformations[0]),
        "TRANSFORMATION_UNKNOWN",
        "transformations[0].kind",
    ),
    with_header(
        "unknown_field_of_a_transformation",
        with_unknown(header(transformations=MIXED), lambda made: made.transformations[0].mixup),
        "FIELD_UNKNOWN",
        "transformations[0].mixup",
        number="1000",
    ),
    with_header(
        "range_before", header(sample_range=SampleRange(begin=-1, end=2)), OUTSIDE, "sample_range.begin"
    ),
    with_header("range_beyond", header(sample_range=SampleRange(end=7)), OUTSIDE, "sample_range.end"),
    with_header(
        "range_inside_a_block",
        header(sample_range=SampleRange(begin=1, end=6), transformations=MIXED),
        OUTSIDE,
        "sample_range.begin",
    ),
    Row(
        "header_too_large",
        [AugmentRequest(header=header(transformations=[Transformation()] * 5_000))],
        "MESSAGE_UNREADABLE",
        "header",
    ),
    one("deviation_missing", MISSING, "noise.standard_deviation", noise=Noise()),
    *(
        one(f"deviation_{value}", RANGE, "noise.standard_deviation", noise=Noise(standard_deviation=value))
        for value in (-1.0, NAN, INFINITY)
    ),
    one("factor_missing", MISSING, "scaling.upper", scaling=Scaling(lower=1)),
    one("factor_nan", RANGE, "scaling.lower", scaling=Scaling(lower=NAN, upper=1)),
    one("factors_out_of_order", RANGE, "scaling.lower", scaling=Scaling(lower=2, upper=1)),
    one("factors_too_far_apart", RANGE, "scaling.upper", scaling=Scaling(lower=-1e308, upper=1e308)),
    one("square_missing", MISSING, "cutout.size", cutout=Cutout()),
    one("square_negative", RANGE, "cutout.size", cutout=Cutout(size=-(1 << 63))),
    one("fill_infinite", RANGE, "cutout.fill", cutout=Cutout(size=1, fill=INFINITY)),
    one("move_missing", MISSING, "shift.columns", shift=Shift(rows=1)),
    one("move_negative", RANGE, "shift.rows", shift=Shift(rows=-1, columns=1)),
    one("move_too_far", RANGE, "shift.columns", shift=Shift(rows=1, columns=1 << 31)),
    one("share_nan", RANGE, "mixup.lowest", mixup=Mixup(lowest=NAN)),
    one("share_above_1", RANGE, "cutmix.highest", cutmix=Cutmix(highest=1.5)),
    one("shares_out_of_order", RANGE, "mixup.lowest", mixup=Mixup(lowest=0.5, highest=0.25)),
    one("block_of_1", RANGE, "mixup.block", mixup=Mixup(block=1)),
    one("block_around_int64", RANGE, "cutmix.block", cutmix=Cutmix(block=(1 << 63) - 1)),
    with_header(
        "square_in_a_vector",
        header(sample_shape=[6], transformations=[Transformation(cutout=Cutout(size=1))]),
        "LAYOUT_INVALID",
        "sample_shape",
        transformation="0",
    ),
    Row(
        "chunk_out_of_order",
        [AugmentRequest(header=header(), chunk=chunk(6, offset=6))],
        "CHUNK_OUT_OF_ORDER",
        "chunk.element_offset",
        {"expected": "0", "received": "6"},
    ),
    Row(
        "chunk_of_half_an_element",
        [AugmentRequest(header=header(), chunk=TensorChunk(parameters=bytes(6)))],
        "CHUNK_SIZE_INVALID",
        "chunk.parameters",
    ),
    Row(
        "stream_too_long",
        [AugmentRequest(header=header(), chunk=chunk(37))],
        "STREAM_TOO_LONG",
        "chunk.parameters",
    ),
    Row(
        "stream_too_short",
        [AugmentRequest(header=header(), chunk=chunk(35))],
        "STREAM_TOO_SHORT",
        None,
        {"expected": "36", "received": "35"},
    ),
    Row(
        "operand",
        [AugmentRequest(header=header(), chunk=chunk(weights=np.ones(36, "<f4").tobytes()))],
        "OPERAND_UNSUPPORTED",
        "chunk.weights",
    ),
    Row(
        "nan",
        [
            AugmentRequest(header=header(), chunk=chunk(35)),
            AugmentRequest(chunk=TensorChunk(element_offset=35, parameters=np.array([NAN], "<f4").tobytes())),
        ],
        "VALUE_NOT_FINITE",
        "chunk.parameters",
        {"element": "35"},
    ),
]
