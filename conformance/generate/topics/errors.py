"""Calls that are refused, with every reason that a single stream can provoke on a server as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import ParseDict
from regularization.training.v1.augmentation_pb2 import AugmentHeader, AugmentRequest
from regularization.training.v1.early_stopping_pb2 import CheckRequest, StoppingRule
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import ElementRange, ParameterLayout, Segment
from regularization.v1.tensor_pb2 import TensorChunk

from ..layouts import L1, header, joint, layout, regularizer, segment
from ..numbers import FLOAT32
from ..refusals import TWO, Refusal, chunk, one, planned, request, rules, stream, unset
from ..vector import Vector, serialized

UNKNOWN = b"\xe8\x3e\x01"
"""Field 1005, the number 1: of a schema that is newer than any server."""
EIGHT = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
REGULARIZER = "header.layout.segments[0].regularizer"
MATRIX = {"nuclear_norm": {"strength": 0.1}}


def refusals() -> Iterator[Refusal]:
    """All of them."""
    yield from _headers()
    yield from _layouts()
    yield from _chunks()
    yield from _measuring()
    yield from _plans()
    yield from _bytes()
    yield from _empty_messages()
    yield from _other_services()


def _headers() -> Iterator[Refusal]:
    step = header("ProximalStep", TWO)
    yield Refusal("no_message", "HEADER_MISSING", [], "header")
    yield Refusal(
        "chunk_before_the_header", "HEADER_MISSING", [request("ProximalStep", chunk=chunk(EIGHT))], "header"
    )
    second = request("ProximalStep", header=step, chunk=chunk(EIGHT[3:], 3))
    first = request("ProximalStep", header=step, chunk=chunk(EIGHT[:3]))
    yield Refusal("in_every_message", "HEADER_REPEATED", [first, second], "header", {"message": "1"})
    for name in ("layout", "step_size"):
        yield Refusal(name, "FIELD_MISSING", unset(name), f"header.{name}")
    yield Refusal(
        "data_type",
        "FIELD_MISSING",
        stream(ParameterLayout(segments=TWO.segments)),
        "header.layout.data_type",
    )
    yield Refusal("strength", "FIELD_MISSING", one({"l1_norm": {}}), f"{REGULARIZER}.l1_norm.strength")
    yield Refusal("seed", "FIELD_MISSING", stream(TWO, rounding={"mode": 2}), "header.rounding.seed")
    yield Refusal(
        "strength_negative",
        "FIELD_OUT_OF_RANGE",
        one({"l1_norm": {"strength": -0.5}}),
        f"{REGULARIZER}.l1_norm.strength",
    )
    yield Refusal(
        "strength_nan",
        "FIELD_OUT_OF_RANGE",
        one({"l1_norm": {"strength": "NaN"}}),
        f"{REGULARIZER}.l1_norm.strength",
    )
    yield Refusal(
        "step_size_infinite", "FIELD_OUT_OF_RANGE", stream(TWO, step_size=float("inf")), "header.step_size"
    )
    yield Refusal("step_size_negative", "FIELD_OUT_OF_RANGE", stream(TWO, step_size=-1.0), "header.step_size")
    yield Refusal(
        "policy_unknown", "FIELD_OUT_OF_RANGE", stream(TWO, non_finite_policy=9), "header.non_finite_policy"
    )
    yield Refusal(
        "rounding_unknown", "FIELD_OUT_OF_RANGE", stream(TWO, rounding={"mode": 9}), "header.rounding.mode"
    )
    of_unknown_type = ParameterLayout(data_type=99, segments=TWO.segments)  # type: ignore[arg-type] # a newer one
    yield Refusal("data_type_99", "DATA_TYPE_UNSUPPORTED", stream(of_unknown_type), "header.layout.data_type")
    shared = {"parameters": {"region": bytes(16)}, "result": {"region": bytes(16)}}
    yield Refusal(
        "no_unix_socket",
        "SHARED_MEMORY_UNAVAILABLE",
        stream(TWO, shared=shared),
        "header.shared",
        code="FAILED_PRECONDITION",
        needs=["listens on TCP alone"],
    )


def _layouts() -> Iterator[Refusal]:
    no_kind = layout(Segment(name="theta", shape=[6], regularizer=regularizer({})))
    yield Refusal("no_kind", "REGULARIZER_UNKNOWN", stream(no_kind), REGULARIZER)
    twice = layout(segment("theta", [3], L1), segment("theta", [3], L1))
    yield Refusal("name_taken", "LAYOUT_INVALID", stream(twice), "header.layout.segments[1].name")
    yield Refusal("shape_negative", "LAYOUT_INVALID", one(L1, [2, -3]), "header.layout.segments[0].shape[1]")
    huge = [2**31, 2**31, 2**31]
    yield Refusal("shape_overflows", "LAYOUT_INVALID", one(L1, huge), "header.layout.segments[0].shape")
    yield Refusal("matrix_of_a_vector", "LAYOUT_INVALID", one(MATRIX), "header.layout.segments[0].shape")
    groups = {"group_lasso": {"strength": 0.1, "groups": {"size": "4"}}}
    yield Refusal(
        "size_does_not_divide", "GROUPS_INVALID", one(groups), f"{REGULARIZER}.group_lasso.groups.size"
    )
    sizes = {"group_lasso": {"strength": 0.1, "groups": {"sizes": {"values": ["2", "3"]}}}}
    yield Refusal(
        "sizes_do_not_fill", "GROUPS_INVALID", one(sizes), f"{REGULARIZER}.group_lasso.groups.sizes"
    )
    inside = stream(layout(segment("theta", [2, 3], MATRIX)), element_range=ElementRange(begin=3, end=6))
    yield Refusal("inside_a_matrix", "ELEMENT_RANGE_INVALID", inside, "header.element_range.begin")
    past = stream(TWO, element_range=ElementRange(begin=0, end=9))
    yield Refusal("past_the_end", "ELEMENT_RANGE_INVALID", past, "header.element_range.end")
    dropout = layout(segment("theta", [6], {"dropout": {"rate": 0.5, "seed": "1"}}))
    yield Refusal(
        "penalty_of_dropout",
        "METHOD_UNSUPPORTED",
        stream(dropout, method="Penalty"),
        REGULARIZER,
        method="Penalty",
    )
    boxed = one({"l0_norm": {"strength": 0.1}}, box={"lower": 0})
    yield Refusal("box_of_l0_norm", "MODIFIER_UNSUPPORTED", boxed, "header.layout.segments[0].box")
    unknown = layout(Segment(name="theta", shape=[6], joint="all"))
    yield Refusal(
        "name_unknown",
        "JOINT_INVALID",
        stream(unknown),
        "header.layout.segments[0].joint",
        {"segment": "theta"},
    )
    alone = layout(segment("theta", [6], L1), joints=[joint("all", {"top_k": {"count": "1"}})])
    yield Refusal("without_segments", "JOINT_INVALID", stream(alone), "header.layout.joints[0]")
    yield Refusal(
        "a_matrix_of_8_tib",
        "BUDGET_EXCEEDED",
        stream(layout(segment("theta", [2**20, 2**20], MATRIX)), chunk(EIGHT)),
        None,
        {"requested_bytes": None, "available_bytes": None, "budget_bytes": None},
        "RESOURCE_EXHAUSTED",
        needs=["a memory budget below 4 TiB"],
    )
    many = layout(segment("0", [4000], L1, smoothing=0.5), data_type=FLOAT32)
    yield Refusal(
        "many_segments_with_long_names",
        "SUMMARY_TOO_LARGE",
        stream(many),
        None,
        {"largest_bytes": None, "limit_bytes": None},
        more={"copies": 10_000, "name_length": 256},
    )


def _chunks() -> Iterator[Refusal]:
    out_of_order = stream(TWO, chunk(EIGHT[:2]), chunk(EIGHT[3:], 3))
    at = "chunk.element_offset"
    yield Refusal("gap", "CHUNK_OUT_OF_ORDER", out_of_order, at, {"expected": "2", "received": "3"})
    overlap = stream(TWO, chunk(EIGHT[:2]), chunk(EIGHT[1:], 1))
    yield Refusal("overlap", "CHUNK_OUT_OF_ORDER", overlap, at, {"expected": "2", "received": "1"})
    yield Refusal(
        "seven_bytes", "CHUNK_SIZE_INVALID", stream(TWO, TensorChunk(parameters=bytes(7))), "chunk.parameters"
    )
    short = stream(TWO, chunk(EIGHT[:7]))
    yield Refusal("seven_of_eight", "STREAM_TOO_SHORT", short, None, {"expected": "8", "received": "7"})
    long = stream(TWO, chunk([*EIGHT, 9.0]))
    yield Refusal(
        "nine_of_eight", "STREAM_TOO_LONG", long, "chunk.parameters", {"expected": "8", "received": "9"}
    )
    shapeless = stream(layout(segment("theta", [], L1)), chunk(EIGHT))
    yield Refusal(
        "shape_forgotten",
        "STREAM_TOO_LONG",
        shapeless,
        "chunk.parameters",
        {"expected": "1", "received": "8"},
    )
    mismatch = stream(TWO, chunk(EIGHT, loss_gradients=EIGHT[:3]))
    yield Refusal("three_gradients", "OPERAND_SIZE_MISMATCH", mismatch, "chunk.loss_gradients")
    gradients = stream(TWO, chunk(EIGHT, loss_gradients=EIGHT), method="Penalty")
    yield Refusal(
        "loss_gradients_in_penalty",
        "OPERAND_UNSUPPORTED",
        gradients,
        "chunk.loss_gradients",
        method="Penalty",
    )
    matrix = layout(segment("theta", [2, 4], MATRIX))
    yield Refusal(
        "weights_of_a_matrix",
        "OPERAND_UNSUPPORTED",
        stream(matrix, chunk(EIGHT, weights=EIGHT)),
        "chunk.weights",
        {"segment": "theta"},
    )
    changing = stream(TWO, chunk(EIGHT[:2], weights=[1, 1]), chunk(EIGHT[2:], 2))
    yield Refusal(
        "weights_left_out", "OPERAND_INCONSISTENT", changing, "chunk.weights", {"segment": "weight"}
    )
    for name in ("weights", "step_scales"):
        operand: dict[str, Any] = {name: [*EIGHT[:4], -1, *EIGHT[5:]]}
        negative = stream(TWO, chunk(EIGHT, **operand))
        yield Refusal(
            name, "OPERAND_OUT_OF_RANGE", negative, f"chunk.{name}", {"element": "4", "segment": "weight"}
        )
    for name, bad in (("nan", float("nan")), ("infinity", float("inf"))):
        values = stream(TWO, chunk([*EIGHT[:5], bad, *EIGHT[6:]]))
        yield Refusal(
            name, "VALUE_NOT_FINITE", values, "chunk.parameters", {"element": "5", "segment": "weight"}
        )
    box = layout(segment("theta", [8], {"box": {"lower": 0, "upper": 6}}))
    yield Refusal(
        "outside_a_box",
        "GRADIENT_UNDEFINED",
        stream(box, chunk(EIGHT), method="Gradient"),
        "chunk.parameters",
        {"element": "6", "segment": "theta"},
        "FAILED_PRECONDITION",
        "Gradient",
    )


def _measuring() -> Iterator[Refusal]:
    largest = layout(segment("theta", [8], {"top_k": {"count": "2"}}))
    yield Refusal("noise", "MEASUREMENT_INVALID", stream(largest, measurement=b"noise"), "header.measurement")
    of = service.CombineHeader(layout=largest, method=service.METHOD_PENALTY)
    wrong = [service.CombineRequest(header=of, statistics=b"noise")]
    yield Refusal("noise", "STATISTICS_INVALID", wrong, "statistics", {"message": "0"}, method="Combine")
    no_method = [service.MeasureRequest(header=service.MeasureHeader(layout=largest))]
    yield Refusal("method", "FIELD_MISSING", no_method, "header.method", method="Measure")


def _plans() -> Iterator[Refusal]:
    at = "header.layout.planned"
    rule = {"pattern": "theta", "regularizer": {"l1Norm": {"strength": 0.1}}}
    yield Refusal("pattern_twice", "PLAN_INVALID", planned(rules(rule, rule)), f"{at}.plan.rules[0].pattern")
    scheduled = {**rule, "schedules": [{"constant": {"value": 0.2}}]}
    yield Refusal(
        "strength_beside_its_schedule",
        "PLAN_INVALID",
        planned(rules(scheduled)),
        f"{at}.plan.rules[0].schedules[0].field",
    )
    yield Refusal(
        "another_name",
        "PLAN_NAME_UNMATCHED",
        planned(rules(rule), "theta", "bias"),
        "header.layout.segments[1].name",
        {"segment": "bias"},
    )
    more = {"pattern": "*.bias", "exempt": True}
    yield Refusal(
        "another_rule", "PLAN_RULE_UNMATCHED", planned(rules(rule, more)), f"{at}.plan.rules[1].pattern"
    )
    without = {"pattern": "theta", "regularizer": {"l1Norm": {}}, "schedules": [{"field": "strength"}]}
    yield Refusal("no_kind", "SCHEDULE_UNKNOWN", planned(rules(without)), f"{at}.plan.rules[0].schedules[0]")
    held = planned({"name": "no-such-plan"})
    yield Refusal("no_such_plan", "PLAN_UNKNOWN", held, f"{at}.name")
    pinned = planned(rules(rule, digest="0" * 64))
    yield Refusal("another_digest", "PLAN_CHANGED", pinned, f"{at}.digest", code="FAILED_PRECONDITION")


def _bytes() -> Iterator[Refusal]:
    (good,) = (serialized(each) for each in stream(TWO))
    whole = serialized(request("ProximalStep", chunk=chunk(EIGHT)))
    yield Refusal("noise", "MESSAGE_UNREADABLE", [b"\xff\xfe\xfd noise"])
    yield Refusal(
        "noise_after_the_header",
        "MESSAGE_UNREADABLE",
        [good, b"\x12\xff\xff\xff\xff\x0f"],
        None,
        {"message": "1"},
    )
    yield Refusal("text_not_utf_8", "MESSAGE_UNREADABLE", [good.replace(b"weight", b"\xff" * 6)])
    yield Refusal(
        "of_the_message", "FIELD_UNKNOWN", [good + UNKNOWN], None, {"number": "1005", "message": "0"}
    )
    yield Refusal(
        "beside_a_chunk", "FIELD_UNKNOWN", [good, whole + UNKNOWN], None, {"number": "1005", "message": "1"}
    )
    operand = b"\x12\x06\x12\x00\x3a\x02ab"
    yield Refusal("operand", "FIELD_UNKNOWN", [good, operand], "chunk", {"number": "7", "message": "1"})
    (first,) = stream(TWO)
    first.header.layout.segments[0].MergeFromString(UNKNOWN)
    yield Refusal(
        "modifier", "FIELD_UNKNOWN", [serialized(first)], "header.layout.segments[0]", {"number": "1005"}
    )
    (first,) = stream(TWO)
    first.header.layout.segments[0].regularizer.Clear()
    first.header.layout.segments[0].regularizer.MergeFromString(b"\xc2\x3e\x00")
    yield Refusal("field_1000", "REGULARIZER_UNKNOWN", [serialized(first)], REGULARIZER)


def _empty_messages() -> Iterator[Refusal]:
    nothing = request("ProximalStep", chunk=TensorChunk())
    yield Refusal("chunks_without_elements", "TOO_MANY_EMPTY_MESSAGES", [*stream(TWO), *[nothing] * 1001])


def _other_services() -> Iterator[Refusal]:
    yield from _stopping()
    yield from _augmenting()


def _stopping() -> Iterator[Refusal]:
    patience = {"mode": "MODE_MIN", "patience": "2"}
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("no_kind", "STOPPING_RULE_UNKNOWN", {}, "rule.kind"),
        ("mode", "FIELD_MISSING", {"patience": {"patience": "2"}}, "rule.patience.mode"),
        ("patience", "FIELD_MISSING", {"patience": {"mode": "MODE_MIN"}}, "rule.patience.patience"),
        ("target", "FIELD_MISSING", {"goal": {"mode": "MODE_MAX"}}, "rule.goal.target"),
        (
            "patience_negative",
            "FIELD_OUT_OF_RANGE",
            {"patience": {"mode": "MODE_MIN", "patience": "-1"}},
            "rule.patience.patience",
        ),
        (
            "min_delta_negative",
            "FIELD_OUT_OF_RANGE",
            {"patience": {**patience, "minDelta": -0.5}},
            "rule.patience.min_delta",
        ),
        (
            "target_nan",
            "FIELD_OUT_OF_RANGE",
            {"goal": {"mode": "MODE_MAX", "target": "NaN"}},
            "rule.goal.target",
        ),
        (
            "min_runs_0",
            "FIELD_OUT_OF_RANGE",
            {"medianOfRuns": {"mode": "MODE_MAX", "minRuns": "0"}},
            "rule.median_of_runs.min_runs",
        ),
    ]
    for name, reason, rule, at in cases:
        check = CheckRequest(rule=ParseDict(rule, StoppingRule()), history=[1.0])
        yield Refusal(name, reason, [check], at, method="training.v1.EarlyStoppingService/Check")


def _augmenting() -> Iterator[Refusal]:
    image = {"dataType": "DATA_TYPE_FLOAT32", "sampleShape": ["3", "4"], "samples": "5", "seed": "1"}
    numbers = {**image, "sampleShape": ["12"]}
    mixed = {
        **image,
        "transformations": [{"mixup": {"block": "2"}}],
        "sampleRange": {"begin": "1", "end": "4"},
    }
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("no_kind", "TRANSFORMATION_UNKNOWN", {**image, "transformations": [{}]}, "transformations[0].kind"),
        ("augment_seed", "FIELD_MISSING", {k: v for k, v in image.items() if k != "seed"}, "seed"),
        (
            "noise",
            "FIELD_MISSING",
            {**image, "transformations": [{"noise": {}}]},
            "transformations[0].noise.standard_deviation",
        ),
        (
            "block_of_1",
            "FIELD_OUT_OF_RANGE",
            {**image, "transformations": [{"mixup": {"block": "1"}}]},
            "transformations[0].mixup.block",
        ),
        (
            "two_that_mix",
            "FIELD_OUT_OF_RANGE",
            {**image, "transformations": [{"mixup": {}}, {"cutmix": {}}]},
            "transformations[1]",
        ),
        ("inside_a_block", "ELEMENT_RANGE_INVALID", mixed, "sample_range.begin"),
        (
            "one_axis",
            "LAYOUT_INVALID",
            {**numbers, "transformations": [{"cutout": {"size": "2"}}]},
            "sample_shape",
        ),
        ("sample_shape_0", "LAYOUT_INVALID", {**image, "sampleShape": ["3", "0"]}, "sample_shape[1]"),
    ]
    for name, reason, said, at in cases:
        augment = AugmentRequest(header=ParseDict(said, AugmentHeader()))
        method = "training.v1.AugmentationService/Augment"
        yield Refusal(name, reason, [augment], f"header.{at}", method=method)


def vectors() -> Iterator[Vector]:
    """All of them."""
    for refusal in refusals():
        yield refusal.vector()
