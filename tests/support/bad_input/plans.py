"""Plans that break a rule, and segments that do not go with them."""

from __future__ import annotations

from typing import Any

import grpc
from regularization.v1.layout_pb2 import ParameterLayout, Segment
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
    GroupLasso,
    Groups,
    L1Norm,
    NOfM,
    Regularizer,
    TopK,
)

from tests.support.bad_input.rows import INFINITY, NAN, Row, with_layout
from tests.support.messages import l1_norm, layout_of, nuclear_norm

PLAN = "planned.plan"
RULE = f"{PLAN}.rules[0]"
UNSCHEDULED = Regularizer(l1_norm=L1Norm())
DOWN = Ramp(initial=1, final=0.5, begin=0, end=10)


def rule(regularizer: Regularizer | None = None, pattern: str = "w", **more: Any) -> PlanRule:
    """A rule for the segment "w", of the L1 norm unless another is given, or it is exempt."""
    if regularizer is None and not more.get("exempt"):
        regularizer = l1_norm()
    return PlanRule(pattern=pattern, regularizer=regularizer, **more)


def scheduled(*schedules: Schedule, regularizer: Regularizer = UNSCHEDULED) -> PlanRule:
    """A rule with schedules."""
    return rule(regularizer, schedules=schedules)


def planned(*rules: PlanRule, segments: tuple[Segment, ...] | None = None, step: int = 3) -> ParameterLayout:
    """A layout of a segment of six elements by these rules."""
    of = layout_of(*((Segment(name="w", shape=[6]),) if segments is None else segments))
    of.planned.CopyFrom(PlanAtStep(plan=Plan(rules=rules), step=step))
    return of


def without(field: str) -> ParameterLayout:
    """A layout whose plan, or whose step, is unset."""
    of = planned(rule())
    of.planned.ClearField(field)  # type: ignore[arg-type] # one of its fields
    return of


def unknown_schedule() -> ParameterLayout:
    """A layout as a newer client would send it, with a schedule that this server does not know."""
    of = planned(scheduled(Schedule()))
    of.planned.plan.rules[0].schedules[0].MergeFromString(b"\xc2\x3e\x00")  # field 1000, empty
    return of


def named(name: str) -> ParameterLayout:
    """A layout by a plan that the server should hold."""
    of = planned(rule())
    of.planned.name = name
    return of


def pinned(digest: str) -> ParameterLayout:
    """A layout with a plan that must have this digest."""
    of = planned(rule())
    of.planned.digest = digest
    return of


def with_joint() -> ParameterLayout:
    """A layout with a joint regularizer beside its plan."""
    of = planned(rule())
    of.joints.add(name="all", regularizer=l1_norm())
    return of


def refused(name: str, of: ParameterLayout, reason: str, field: str, **metadata: str) -> Row:
    """The row of a layout that is refused."""
    return Row(f"plan_{name}", with_layout(of), reason, f"header.layout.{field}", metadata)


PLANS = [
    refused("missing", without("plan"), "FIELD_MISSING", "planned.plan"),
    refused("without_a_step", without("step"), "FIELD_MISSING", "planned.step"),
    refused("unknown_name", named("policy"), "PLAN_UNKNOWN", "planned.name"),
    Row(
        "plan_changed",
        with_layout(pinned("0" * 64)),
        "PLAN_CHANGED",
        "header.layout.planned.digest",
        code=grpc.StatusCode.FAILED_PRECONDITION,
    ),
    refused("before_the_first_step", planned(rule(), step=-1), "FIELD_OUT_OF_RANGE", "planned.step"),
    refused("rule_without_a_pattern", planned(rule(pattern="")), "FIELD_MISSING", f"{RULE}.pattern"),
    refused("pattern_too_long", planned(rule(pattern="é" * 129)), "PLAN_INVALID", f"{RULE}.pattern"),
    refused("pattern_twice", planned(rule(), rule()), "PLAN_INVALID", f"{RULE}.pattern"),
    refused(
        "too_many_rules",
        planned(*(rule(pattern=str(index)) for index in range(257))),
        "PLAN_INVALID",
        f"{PLAN}.rules",
    ),
    refused("rule_of_nothing", planned(PlanRule(pattern="w")), "PLAN_INVALID", f"{RULE}.regularizer"),
    refused("exempt_and_not", planned(rule(l1_norm(), exempt=True)), "PLAN_INVALID", f"{RULE}.regularizer"),
    refused(
        "exempt_with_a_schedule",
        planned(rule(exempt=True, schedules=[Schedule(linear=DOWN)])),
        "PLAN_INVALID",
        f"{RULE}.schedules",
    ),
    refused(
        "frozen_before_the_first_step",
        planned(rule(freeze_from=-1)),
        "FIELD_OUT_OF_RANGE",
        f"{RULE}.freeze_from",
    ),
    refused(
        "frozen_where_zeros_move",
        planned(rule(nuclear_norm(), freeze_from=100)),
        "MODIFIER_UNSUPPORTED",
        f"{RULE}.freeze_from",
    ),
    refused(
        "frozen_outside_of_a_box",
        planned(rule(box=Box(lower=1), freeze_from=100)),
        "MODIFIER_UNSUPPORTED",
        f"{RULE}.freeze_from",
    ),
    refused(
        "beside_zeros_that_stay",
        planned(rule(), segments=(Segment(name="w", shape=[6], keeps_zeros=True),)),
        "PLAN_INVALID",
        "segments[0].keeps_zeros",
        segment="w",
    ),
    refused("exempt_and_joint", planned(rule(exempt=True, joint=True)), "PLAN_INVALID", f"{RULE}.joint"),
    refused("joint_with_a_box", planned(rule(joint=True, box=Box(lower=0))), "PLAN_INVALID", f"{RULE}.box"),
    refused("joint_and_smooth", planned(rule(joint=True, smoothing=1)), "PLAN_INVALID", f"{RULE}.smoothing"),
    refused(
        "too_many_joint_rules",
        planned(*(rule(pattern=f"*{index}", joint=True) for index in range(65))),
        "PLAN_INVALID",
        f"{PLAN}.rules[64].joint",
    ),
    refused("joint_sum_over_elements", planned(rule(joint=True)), "JOINT_INVALID", f"{RULE}.regularizer"),
    refused("no_kind", planned(rule(Regularizer())), "REGULARIZER_UNKNOWN", f"{RULE}.regularizer"),
    refused(
        "strength_below_0",
        planned(rule(l1_norm(-1))),
        "FIELD_OUT_OF_RANGE",
        f"{RULE}.regularizer.l1_norm.strength",
    ),
    *(
        refused(f"every_{value}", planned(rule(every=value)), "FIELD_OUT_OF_RANGE", f"{RULE}.every")
        for value in (0, -1)
    ),
    *(
        refused(
            f"step_size_{value}",
            planned(rule(step_size=value)),
            "FIELD_OUT_OF_RANGE",
            f"{RULE}.step_size",
            segment="w",
        )
        for value in (-0.1, NAN, INFINITY)
    ),
    refused(
        "smoothing_0", planned(rule(smoothing=0)), "FIELD_OUT_OF_RANGE", f"{RULE}.smoothing", segment="w"
    ),
    refused(
        "box_upside_down", planned(rule(box=Box(lower=1, upper=0))), "FIELD_OUT_OF_RANGE", f"{RULE}.box.lower"
    ),
    refused(
        "groups_that_do_not_fit",
        planned(rule(Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=4))))),
        "GROUPS_INVALID",
        f"{RULE}.regularizer.group_lasso.groups.size",
        segment="w",
    ),
    refused(
        "name_unmatched",
        planned(rule(), segments=(Segment(name="w", shape=[6]), Segment(name="v", shape=[2]))),
        "PLAN_NAME_UNMATCHED",
        "segments[1].name",
        segment="v",
    ),
    refused(
        "rule_unmatched",
        planned(rule(), rule(pattern="v")),
        "PLAN_RULE_UNMATCHED",
        f"{PLAN}.rules[1].pattern",
    ),
    refused(
        "rule_left_nothing",
        planned(rule(pattern="w*"), rule(pattern="?")),
        "PLAN_RULE_UNMATCHED",
        f"{PLAN}.rules[1].pattern",
    ),
    *(
        refused(
            f"beside_{name}",
            planned(rule(), segments=(Segment(name="w", shape=[6], **{name: value}),)),
            "PLAN_INVALID",
            f"segments[0].{name}",
            segment="w",
        )
        for name, value in (
            ("regularizer", l1_norm()),
            ("step_size", 0.5),
            ("box", Box(lower=0)),
            ("smoothing", 1.0),
            ("joint", "all"),
        )
    ),
    refused("beside_a_joint_regularizer", with_joint(), "PLAN_INVALID", "joints"),
    refused("schedule_of_an_unknown_kind", unknown_schedule(), "SCHEDULE_UNKNOWN", f"{RULE}.schedules[0]"),
    refused(
        "schedule_of_no_kind", planned(scheduled(Schedule())), "SCHEDULE_UNKNOWN", f"{RULE}.schedules[0]"
    ),
    refused(
        "schedule_for_what_is_set",
        planned(scheduled(Schedule(linear=DOWN), regularizer=l1_norm())),
        "PLAN_INVALID",
        f"{RULE}.schedules[0].field",
    ),
    refused(
        "schedule_twice",
        planned(scheduled(Schedule(linear=DOWN), Schedule(field="strength", cubic=DOWN))),
        "PLAN_INVALID",
        f"{RULE}.schedules[1].field",
    ),
    *(
        refused(
            f"schedule_of_{field or 'nothing'}_of_{regularizer.WhichOneof('kind')}",
            planned(scheduled(Schedule(field=field, linear=DOWN), regularizer=regularizer)),
            "PLAN_INVALID",
            f"{RULE}.schedules[0].field",
        )
        for field, regularizer in (
            ("radius", UNSCHEDULED),
            ("groups", Regularizer(group_lasso=GroupLasso(groups=Groups(size=2)))),
            ("", Regularizer(n_of_m=NOfM(n=2, m=4))),
        )
    ),
    refused(
        "constant_without_a_value",
        planned(scheduled(Schedule(constant=ConstantSchedule()))),
        "FIELD_MISSING",
        f"{RULE}.schedules[0].constant.value",
    ),
    *(
        refused(
            f"{kind}_{name}",
            planned(scheduled(Schedule(**{kind: Ramp(**ramp)}))),
            reason,
            f"{RULE}.schedules[0].{kind}.{field}",
        )
        for kind in ("linear", "cosine", "exponential", "cubic")
        for name, ramp, reason, field in (
            ("without_a_start", {"final": 1, "end": 1}, "FIELD_MISSING", "initial"),
            ("without_an_end", {"initial": 1, "end": 1}, "FIELD_MISSING", "final"),
            ("of_no_length", {"initial": 1, "final": 2}, "FIELD_OUT_OF_RANGE", "end"),
            ("not_finite", {"initial": NAN, "final": 2, "end": 1}, "FIELD_OUT_OF_RANGE", "initial"),
        )
    ),
    refused(
        "no_pieces",
        planned(scheduled(Schedule(piecewise=PiecewiseSchedule()))),
        "FIELD_MISSING",
        f"{RULE}.schedules[0].piecewise.pieces",
    ),
    refused(
        "piece_without_a_value",
        planned(scheduled(Schedule(piecewise=PiecewiseSchedule(pieces=[Piece()])))),
        "FIELD_MISSING",
        f"{RULE}.schedules[0].piecewise.pieces[0].value",
    ),
    refused(
        "schedule_that_goes_below_0",
        planned(scheduled(Schedule(linear=Ramp(initial=1, final=-1, begin=100, end=200)))),
        "FIELD_OUT_OF_RANGE",
        f"{RULE}.regularizer.l1_norm.strength",
    ),
    refused(
        "schedule_of_a_count_beyond_64_bits",
        planned(
            scheduled(
                Schedule(field="count", constant=ConstantSchedule(value=1e300)),
                regularizer=Regularizer(top_k=TopK()),
            )
        ),
        "FIELD_OUT_OF_RANGE",
        f"{RULE}.regularizer.top_k.count",
    ),
    refused(
        "matrix_norm_of_a_vector",
        planned(rule(nuclear_norm())),
        "LAYOUT_INVALID",
        "segments[0].shape",
        segment="w",
    ),
]
