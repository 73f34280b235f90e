"""Plans in the header: the answer is that of the layout which the plan stands for at its step."""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1.layout_pb2 import (
    DATA_TYPE_FLOAT32,
    ElementRange,
    JointRegularizer,
    ParameterLayout,
    Segment,
)
from regularization.v1.plan_pb2 import (
    ConstantSchedule,
    Piece,
    PiecewiseSchedule,
    Plan,
    PlanAtStep,
    PlanRule,
    Ramp,
    Schedule,
)
from regularization.v1.regularizers_pb2 import (
    Box,
    Dropout,
    GroupLasso,
    Groups,
    GroupSizes,
    L1Norm,
    L2Norm,
    Regularizer,
    SquaredL2Norm,
    TopK,
)
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_client import dropout_mask
from regularization_server import Server, Settings
from regularization_server.contract.header_bytes import read_header
from regularization_server.contract.planned import planned_layout

from tests.server.test_measuring import ENUM, check_parts, measured, rounds
from tests.support import hostile_numbers as hostile
from tests.support.messages import (
    METHODS,
    Failed,
    answers,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
)
from tests.support.outcomes import outcome_of
from tests.support.processes import channel_to
from tests.support.shared_memory import HandOffClient, in_shared_memory, operands_for, over_the_wire

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {"a.weight": (40, 10), "a.bias": (40,), "b.weight": (10, 40), "b.bias": (10,), "head": (50,)}
SIZE = 40 * 10 + 40 + 10 * 40 + 10 + 50
DOWN = Ramp(initial=1.0, final=0.25, begin=100, end=200)
POLICY = Plan(
    rules=[
        PlanRule(
            pattern="*.weight",
            regularizer=Regularizer(top_k=TopK()),
            joint=True,
            every=10,
            schedules=[Schedule(cubic=DOWN)],
        ),
        PlanRule(
            pattern="head",
            regularizer=Regularizer(l1_norm=L1Norm()),
            step_size=0.5,
            box=Box(lower=-1),
            schedules=[Schedule(linear=DOWN)],
        ),
        PlanRule(pattern="*", exempt=True),
    ]
)


def planned(plan: Plan, step: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> ParameterLayout:
    """A layout of these segments by a plan."""
    of = layout_of(*(Segment(name=name, shape=shape) for name, shape in shapes.items()))
    of.planned.CopyFrom(PlanAtStep(plan=plan, step=step))
    return of


def resolved(fraction: float | None, strength: float) -> ParameterLayout:
    """What the policy stands for at a step with these values; None where the weights are left alone."""
    joint = None if fraction is None else "*.weight"
    of = layout_of(
        *(
            Segment(name=name, shape=shape, joint=joint if name.endswith("weight") else None)
            for name, shape in SHAPES.items()
        )
    )
    of.segments[-1].regularizer.l1_norm.strength = strength
    of.segments[-1].step_size = 0.5
    of.segments[-1].box.lower = -1
    if fraction is not None:
        largest = Regularizer(top_k=TopK(fraction=fraction))
        of.joints.append(JointRegularizer(name="*.weight", regularizer=largest))
    return of


# 150 is half of the way: (1/2)^3 of the distance is left to the cubic, and half of it to the linear one.
AT = {
    0: resolved(1.0, 1.0),
    150: resolved(0.25 + 0.75 / 8, 0.625),
    155: resolved(None, 0.5875),
    200: resolved(0.25, 0.25),
    10**15: resolved(0.25, 0.25),
}


def digest_of(plan: Plan) -> str:
    """SHA-256 of what a plan says."""
    return sha256(plan.SerializeToString(deterministic=True)).hexdigest()


def operands() -> dict[str, bytes]:
    """Parameters and loss gradients, both small enough for the box."""
    raw = operands_for(SIZE, "loss_gradients")
    return {name: (np.frombuffer(values, "<f4") / 100).tobytes() for name, values in raw.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step", AT)
def test_a_plan_is_the_layout_that_it_stands_for(
    process_channel: grpc.Channel, method: str, step: int
) -> None:
    """Values, figures and all; beside them the summary says which plan it was."""
    given = operands()
    if method != "proximal_step":
        given = {"parameters": bytes(4 * SIZE)}  # inside every set
    values, summary = over_the_wire(process_channel, method, planned(POLICY, step), given)
    expected, figures = over_the_wire(process_channel, method, AT[step], given)
    assert values == expected
    assert summary.plan_digest == digest_of(POLICY)
    assert not figures.HasField("plan_digest")
    summary.ClearField("plan_digest")
    assert summary == figures


def test_between_the_steps_of_a_rule_there_is_the_forward_step_alone(process_channel: grpc.Channel) -> None:
    """And without a loss gradient the identity."""
    plan = Plan(rules=[PlanRule(pattern="*", regularizer=l1_norm(1.0), every=3, box=Box(upper=0.5))])
    of = {step: planned(plan, step, {"w": (2,)}) for step in (2, 3, 4, 6)}
    for step, expected in {2: [3, -2], 3: [0.5, -1.9], 4: [3, -2], 6: [0.5, -1.9]}.items():
        stream = [request("proximal_step", header=header("proximal_step", of[step]), chunk=chunk((3, -2)))]
        (answer,) = answers(process_channel, "proximal_step", stream)
        np.testing.assert_allclose(np.frombuffer(answer.chunk.values, "<f4"), expected, rtol=1e-6)
    forward = chunk((3, -2), loss_gradients=(1, 1))
    stream = [request("proximal_step", header=header("proximal_step", of[4]), chunk=forward)]
    (answer,) = answers(process_channel, "proximal_step", stream)
    np.testing.assert_allclose(np.frombuffer(answer.chunk.values, "<f4"), [2.9, -2.1], rtol=1e-6)


@pytest.mark.parametrize("method", ["gradient", "proximal_step"])
def test_from_a_step_on_zeros_stay(process_channel: grpc.Channel, method: str) -> None:
    """At every step, also at those between the rule's: a loss gradient counts for nothing where there are."""
    of_weights = PlanRule(
        pattern="*.weight", regularizer=Regularizer(l2_norm=L2Norm(strength=0.1)), joint=True, every=10
    )
    of_weights.freeze_from = 20
    plan = Plan(rules=[of_weights, PlanRule(pattern="*", exempt=True, freeze_from=15)])
    shapes = {"a.weight": (4,), "bias": (2,), "b.weight": (2,)}
    x, slopes = np.array([0, 1, -2, 0, 0, 1, 0, 0], "<f4"), np.full(8, -5, "<f4")
    given = {"parameters": x.tobytes(), "loss_gradients": slopes.tobytes()}

    def result(step: int) -> list[float]:
        values, _ = over_the_wire(process_channel, method, planned(plan, step, shapes), given)
        return (np.frombuffer(values, "<f4") != 0).astype(int).tolist()

    # In float32 5 times the step size of 0.1 is half: at 0 the step would lead to 0.5.
    moved = [1] * 8
    assert result(14) == moved
    assert result(15) == result(19) == [1, 1, 1, 1, 0, 1, 1, 1]
    for step in (20, 25, 10**15):
        assert result(step) == [0, 1, 1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_rule_is_segments_that_keep_their_zeros(process_channel: grpc.Channel, method: str) -> None:
    """As a layout says it without a plan; of the penalty it changes nothing."""
    rule = PlanRule(pattern="*", regularizer=l1_norm(0.5), freeze_from=3)
    of = layout_of(Segment(name="w", shape=[400], regularizer=l1_norm(0.5), keeps_zeros=True))
    given = operands_for(400, *(["loss_gradients"] if method != "penalty" else []))
    given["parameters"] = bytes(800) + given["parameters"][800:]
    expected, figures = over_the_wire(process_channel, method, of, given)
    values, summary = over_the_wire(
        process_channel, method, planned(Plan(rules=[rule]), 3, {"w": (400,)}), given
    )
    summary.ClearField("plan_digest")
    assert (values, summary) == (expected, figures)
    assert not any(values[:800])


def test_zeros_stay_in_shared_memory_and_in_parts(channel: grpc.Channel, client: HandOffClient) -> None:
    """With the bits of a stream."""
    plan = Plan(rules=[PlanRule(pattern="*", regularizer=Regularizer(top_k=TopK(count=2500)), joint=True)])
    plan.rules[0].freeze_from = 3
    shapes, method = {"first": (1200,), "last": (30, 60)}, "proximal_step"
    of, given = planned(plan, 3, shapes), operands_for(3000, "loss_gradients")
    x = np.frombuffer(given["parameters"], "<f4").copy()
    x[::3] = 0
    given["parameters"] = x.tobytes()
    expected, figures = over_the_wire(channel, method, of, given)
    before, _ = over_the_wire(channel, method, planned(plan, 2, shapes), given)
    assert np.frombuffer(before, "<f4")[x == 0].any()
    assert not np.frombuffer(expected, "<f4")[x == 0].any()
    got, summary = in_shared_memory(client, channel, method, of, given)
    assert (got, summary) == (expected, figures)
    check_parts(channel, method, of, given, rounds(channel, method, of, measured(channel, method, of, given)))


def dropping(step: int, *, of_rule: int | None = None, rate: float | None = 0.5) -> ParameterLayout:
    """A layout of a thousand elements that a rule drops, at a step of training."""
    rule = PlanRule(pattern="*", regularizer=Regularizer(dropout=Dropout(rate=rate, seed=7, step=of_rule)))
    if rate is None:
        rule.schedules.append(Schedule(field="rate", linear=Ramp(initial=0.25, final=0.75, begin=0, end=20)))
    return planned(Plan(rules=[rule]), step, {"w": (1000,)})


def kept(channel: grpc.Channel, of: ParameterLayout, begin: int = 0, end: int = 1000) -> list[bool]:
    """Which elements of a part are not dropped."""
    part = ElementRange(begin=begin, end=end)
    message = request(
        "proximal_step",
        header=header("proximal_step", of, element_range=part),
        chunk=TensorChunk(element_offset=begin, parameters=np.ones(end - begin, "<f4").tobytes()),
    )
    got = outcome_of(channel, "proximal_step", [message])
    assert got.succeeded, got
    return (np.frombuffer(got.values, "<f4") != 0).tolist()


def test_what_is_dropped_changes_with_the_plan_s_step(process_channel: grpc.Channel) -> None:
    """The mask is that of the call's step, in any part, and of the rule's own where it sets one."""
    for step in (0, 1, 10, 2**63 - 1):
        mask = dropout_mask(1000, rate=0.5, seed=7, step=step).tolist()
        assert kept(process_channel, dropping(step)) == mask
        assert kept(process_channel, dropping(step), 300, 800) == mask[300:800]
        own = dropout_mask(1000, rate=0.5, seed=7, step=3).tolist()
        assert kept(process_channel, dropping(step, of_rule=3)) == own
    scheduled = dropout_mask(1000, rate=0.5, seed=7, step=10).tolist()
    assert kept(process_channel, dropping(10, rate=None)) == scheduled


def test_a_name_s_own_rule_comes_first_and_then_the_first_pattern(process_channel: grpc.Channel) -> None:
    """Wherever they stand."""
    rules = [("a*", 1.0), ("*", 2.0), ("ab", 4.0), ("a[b-d]", 8.0)]
    plan = Plan(
        rules=[PlanRule(pattern=pattern, regularizer=l1_norm(strength)) for pattern, strength in rules],
        allow_unmatched_rules=True,
    )
    shapes = {"ab": (1,), "ac": (1,), "b": (1,), "A": (1,)}
    stream = [request("penalty", header=header("penalty", planned(plan, 0, shapes)), chunk=chunk((1,) * 4))]
    (answer,) = answers(process_channel, "penalty", stream)
    penalties = {each.name: each.figures.penalty.value for each in answer.summary.segments}
    assert penalties == {"ab": 4, "ac": 1, "b": 2, "A": 2}


def test_names_and_rules_may_be_left_over_where_the_plan_says_so(process_channel: grpc.Channel) -> None:
    """A name without a rule is exempt; a joint regularizer without segments is none."""
    rules = [
        PlanRule(pattern="w", regularizer=l1_norm(1.0)),
        PlanRule(pattern="v*", regularizer=Regularizer(top_k=TopK(count=1)), joint=True),
    ]
    plan = Plan(rules=rules, exempt_unmatched_names=True, allow_unmatched_rules=True)
    of = planned(plan, 0, {"w": (1,), "u": (1,)})
    stream = [request("penalty", header=header("penalty", of), chunk=chunk((1, 1)))]
    (answer,) = answers(process_channel, "penalty", stream)
    assert [each.figures.penalty.value for each in answer.summary.segments] == [1, 0]


def test_a_count_goes_by_steps_and_is_rounded(process_channel: grpc.Channel) -> None:
    """A schedule for a whole number: a half goes to the larger one."""
    pieces = PiecewiseSchedule(pieces=[Piece(value=4), Piece(begin=5, value=2.5), Piece(begin=6, value=0.49)])
    rule = PlanRule(
        pattern="w",
        regularizer=Regularizer(top_k=TopK()),
        schedules=[Schedule(field="count", piecewise=pieces)],
    )
    for step, kept in {0: 4, 4: 4, 5: 3, 6: 0, 7: 0}.items():
        of = planned(Plan(rules=[rule]), step, {"w": (8,)})
        stream = [request("proximal_step", header=header("proximal_step", of), chunk=chunk())]
        (answer,) = answers(process_channel, "proximal_step", stream)
        assert answer.summary.total.nonzeros == kept


def test_parts_are_measured_by_a_plan(process_channel: grpc.Channel) -> None:
    """With the measurement any range has the bits of the whole; that of another step is refused."""
    plan = Plan(
        rules=[
            PlanRule(
                pattern="*",
                regularizer=Regularizer(top_k=TopK()),
                joint=True,
                schedules=[Schedule(cubic=DOWN)],
            )
        ]
    )
    shapes = {"first": (1200,), "between": (50, 10), "last": (1300,)}
    of, given = planned(plan, 150, shapes), operands_for(3000, "loss_gradients")
    method = "proximal_step"
    known = rounds(process_channel, method, of, measured(process_channel, method, of, given))
    check_parts(process_channel, method, of, given, known)
    other = header(method, planned(plan, 151, shapes), measurement=known, element_range=ElementRange(end=5))
    part = TensorChunk(**{name: raw[:20] for name, raw in given.items()})
    with pytest.raises(grpc.RpcError) as caught:
        answers(process_channel, method, [request(method, header=other, chunk=part)])
    assert Failed.of(caught.value).reason == "ERROR_REASON_MEASUREMENT_INVALID"
    assert ENUM[method]


def test_shared_memory_goes_by_a_plan(channel: grpc.Channel, client: HandOffClient) -> None:
    """As a stream does."""
    of, given = planned(POLICY, 150), operands()
    expected, figures = over_the_wire(channel, "proximal_step", of, given)
    got, summary = in_shared_memory(client, channel, "proximal_step", of, given)
    assert got == expected
    assert summary == figures
    assert summary.plan_digest == digest_of(POLICY)


def test_equal_plans_have_equal_digests_and_others_have_not(process_channel: grpc.Channel) -> None:
    """The step of training is no part of it, nor are the names."""

    def digest(plan: Plan, step: int, name: str) -> Any:
        of = planned(plan, step, {name: (1,)})
        (answer,) = answers(
            process_channel, "penalty", [request("penalty", header=header("penalty", of), chunk=chunk((1,)))]
        )
        return answer.summary.plan_digest

    one, other = (Plan(rules=[PlanRule(pattern="*", regularizer=l1_norm(s))]) for s in (0.1, 0.2))
    assert digest(one, 0, "v") == digest(one, 7, "w") != digest(other, 0, "v")


@pytest.mark.parametrize("method", METHODS)
def test_a_large_plan_is_read_as_a_small_one_is(process_channel: grpc.Channel, method: str) -> None:
    """A header far above what is read at once: 200 schedules, and some joint rules."""
    own = [
        PlanRule(pattern=f"{index:060}.weight", regularizer=Regularizer(squared_l2_norm=SquaredL2Norm()))
        for index in range(200)
    ]
    for index, rule in enumerate(own):
        rule.schedules.add(exponential=Ramp(initial=1, final=2.0**-index if index else 0.5, end=2))
    joints = [
        PlanRule(pattern=f"{index:060}.*", regularizer=Regularizer(top_k=TopK(count=1)), joint=True)
        for index in range(200, 214)
    ]
    shapes = {f"{index:060}.weight": (2,) for index in range(214)}
    of = planned(Plan(rules=[*own, *joints]), 2, shapes)
    assert of.planned.ByteSize() > 16 * 1024
    given = {"parameters": bytes(4 * 428)}
    if method == "proximal_step":
        given = operands_for(428)
    values, summary = over_the_wire(process_channel, method, of, given)
    alike = layout_of(*(Segment(name=name, shape=shape) for name, shape in shapes.items()))
    for index, segment in enumerate(alike.segments):
        if index < 200:
            segment.regularizer.squared_l2_norm.strength = 2.0**-index if index else 0.5
        else:
            segment.joint = segment.name
            alike.joints.add(name=segment.name, regularizer=joints[0].regularizer)
    expected, figures = over_the_wire(process_channel, method, alike, given)
    summary.ClearField("plan_digest")
    assert (values, summary) == (expected, figures)


NUMBERS = [
    path
    for path in (*hostile.integers(PlanAtStep.DESCRIPTOR), *hostile.reals(PlanAtStep.DESCRIPTOR))
    if not {"regularizer", "box"} & {field.name for field in path}
]


@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: ".".join(field.name for field in path))
def test_every_number_of_a_plan_may_be_anything(process_channel: grpc.Channel, path: hostile.Path) -> None:
    """A documented error, or a whole answer; and after it all is well."""
    down, names = Ramp(initial=1.0, final=0.25, begin=0, end=8), {field.name for field in path}
    kinds: dict[str, Any] = dict.fromkeys(("linear", "cosine", "exponential", "cubic"), down)
    kinds["constant"] = ConstantSchedule(value=1.0)
    kinds["piecewise"] = PiecewiseSchedule(pieces=[Piece(value=1.0), Piece(begin=5, value=2.0)])
    random = Random(0)  # noqa: S311 - the same numbers every time
    is_whole = path[-1].cpp_type == path[-1].CPPTYPE_INT64
    for index, value in enumerate(hostile.near_values(path[-1]) if is_whole else hostile.REALS):
        kind = next((kind for kind in kinds if kind in names), list(kinds)[index % len(kinds)])
        chosen = {kind: kinds[kind]}
        count = PlanRule(pattern="v", regularizer=Regularizer(top_k=TopK()))
        count.schedules.add(field="count", **chosen)
        rule = PlanRule(pattern="w", regularizer=Regularizer(l1_norm=L1Norm()), step_size=0.5, smoothing=1.0)
        rule.schedules.add(**chosen)
        of = planned(Plan(rules=[count, rule]), 4, {"v": (4,), "w": (4,)})
        hostile.put(of.planned, path, value, random)
        message = request("proximal_step", header=header("proximal_step", of), chunk=chunk())
        got = outcome_of(process_channel, "proximal_step", [message])
        assert got.is_documented, (got, of)
        assert not got.succeeded or len(got.values) == 32
    good_call(process_channel)


def test_the_lists_of_a_rule_count_in_every_segment(tmp_path: Path) -> None:
    """What a short plan makes of many segments is taken from the budget before it is made, and goes back."""
    sizes = Groups(sizes=GroupSizes(values=[1] * 1000))
    rule = PlanRule(pattern="*", regularizer=Regularizer(group_lasso=GroupLasso(strength=1, groups=sizes)))
    of = planned(Plan(rules=[rule]), 0, {str(index): (1000,) for index in range(200)})
    assert of.ByteSize() < 4096
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), memory_budget=1 << 22)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        stream = [request("penalty", header=header("penalty", of), chunk=chunk((0,) * 1000))]
        with pytest.raises(grpc.RpcError) as caught:
            answers(channel, "penalty", stream)
        failed = Failed.of(caught.value)
        assert failed.reason == "ERROR_REASON_BUDGET_EXCEEDED"
        assert failed.violations == ["header.layout"]
        assert server.budget.used == 0


@pytest.mark.parametrize(("rules", "segments", "asked"), [(1, 5000, 2), (256, 40, 3)])
def test_it_is_asked_whether_anybody_waits_after_so_many_matches(
    rules: int, segments: int, asked: int
) -> None:
    """Not after so many segments: each may be matched with every rule of a plan."""
    plan = Plan(
        rules=[PlanRule(pattern=f"*{index}", exempt=True) for index in range(rules)],
        exempt_unmatched_names=True,
        allow_unmatched_rules=True,
    )
    own = header(
        "penalty",
        ParameterLayout(
            data_type=DATA_TYPE_FLOAT32,
            segments=[Segment(name=f"{index}x") for index in range(segments)],
            planned=PlanAtStep(plan=plan, step=0),
        ),
    )
    asks = count()
    read = read_header(memoryview(own.SerializeToString()), type(own))
    planned = planned_layout(read, lambda: None)
    assert planned is not None
    planned.layout(np.dtype(np.float32), read.segments, lambda: next(asks))
    assert next(asks) == asked
