"""Plans: one policy by names and steps of training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from google.protobuf.json_format import ParseDict
from mpmath import mp, mpf
from regularization.v1.layout_pb2 import ParameterLayout, Segment
from regularization.v1.plan_pb2 import PlanAtStep

from ..layouts import LOSSES, METHODS, POINT, call, joint, layout, segment, snake
from ..vector import Vector, vector

NAMES = {"encoder.weight": [2, 3], "encoder.bias": [2], "decoder.weight": [4]}
STRONG: dict[str, Any] = {"l1Norm": {"strength": 0.2}}
WEAK: dict[str, Any] = {"squaredL2Norm": {"strength": 0.3}}
UNSPECIFIED = ["summary.plan_digest"]
"""How a digest is made is the server's own affair; it is 64 hexadecimal digits."""


def planned(
    step: int, *rules: dict[str, Any], names: dict[str, list[int]] | None = None, **more: Any
) -> ParameterLayout:
    """A layout of names and shapes with a plan."""
    of = layout(*(Segment(name=name, shape=shape) for name, shape in (names or NAMES).items()))
    plan = {"plan": {"rules": list(rules), **more}, "step": str(step)}
    of.planned.CopyFrom(ParseDict(plan, PlanAtStep()))
    return of


def resolved(*of: dict[str, Any] | None, **more: Any) -> ParameterLayout:
    """The same layout without a plan: a regularizer for each segment, or none."""
    segments = [segment(name, shape, kind) for (name, shape), kind in zip(NAMES.items(), of, strict=True)]
    return layout(*segments, **more)


def vectors() -> Iterator[Vector]:
    """All of them."""
    yield from _rules()
    yield from _schedules()


def _vector(
    name: str,
    about: str,
    of: ParameterLayout,
    comes_to: ParameterLayout,
    method: str = "ProximalStep",
    **more: Any,
) -> Vector:
    asked = call(
        method, of, POINT[: sum(math.prod(each.shape) for each in of.segments)], resolved=comes_to, **more
    )
    return vector(f"plans/{name}", about, asked, unspecified=UNSPECIFIED)


def _rules() -> Iterator[Vector]:
    weights = {"pattern": "*.weight", "regularizer": STRONG}
    exempt = {"pattern": "*", "exempt": True}
    for method in METHODS:
        of = planned(0, weights, exempt)
        about = f"{method} by patterns of names."
        yield _vector(f"patterns_{snake(method)}", about, of, resolved(STRONG, None, STRONG), method)
    own_name = planned(0, exempt, {"pattern": "encoder.bias", "regularizer": WEAK}, allowUnmatchedRules=True)
    about = "A segment takes the rule of its very name, wherever that stands."
    yield _vector("own_name", about, own_name, resolved(None, WEAK, None))
    first = planned(
        0, {"pattern": "encoder.*", "regularizer": WEAK}, {"pattern": "*.weight", "regularizer": STRONG}
    )
    yield _vector("first_pattern", "Else the first that matches.", first, resolved(WEAK, WEAK, STRONG))
    classes = planned(0, {"pattern": "[ce]n?oder.[!b]*", "regularizer": STRONG}, exemptUnmatchedNames=True)
    about = "? is any one character, [] one of some, [!] none of some; names that no rule fits may be exempt."
    yield _vector("pattern_classes", about, classes, resolved(STRONG, None, None))
    sized = planned(0, {"pattern": "*", "regularizer": STRONG, "stepSize": 0.25, "box": {"lower": -0.5}})
    comes_to = layout(*(segment(n, s, STRONG, step_size=0.25, box={"lower": -0.5}) for n, s in NAMES.items()))
    yield _vector("modifiers", "A rule's step size and box.", sized, comes_to, loss_gradients=LOSSES)
    together = planned(
        0, {"pattern": "*.weight", "regularizer": {"topK": {"count": "3"}}, "joint": True}, exempt
    )
    joints = [Segment(name=name, shape=shape, joint="all") for name, shape in NAMES.items()]
    joints[1] = Segment(name="encoder.bias", shape=[2])
    comes_to = layout(*joints, joints=[joint("all", {"topK": {"count": "3"}})])
    yield _vector("joint", "A rule that is joint: its segments are one vector.", together, comes_to)
    for step, on in ((9, False), (10, True)):
        every = planned(step, {"pattern": "*", "regularizer": STRONG, "every": "5"})
        kind = STRONG if on else None
        about = f"At every fifth step: {'it holds' if on else 'exempt'} at step {step}."
        yield _vector(f"every_at_{step}", about, every, resolved(kind, kind, kind), loss_gradients=LOSSES)
    for step in (6, 7):
        frozen = planned(step, {"pattern": "*", "regularizer": STRONG, "freezeFrom": "7"})
        comes_to = layout(*(segment(n, s, STRONG, keeps_zeros=step >= 7) for n, s in NAMES.items()))
        about = f"Zeros stay from step 7 on: step {step}."
        yield _vector(f"frozen_at_{step}", about, frozen, comes_to, loss_gradients=LOSSES)


RAMP: dict[str, Any] = {"initial": 0.75, "final": 0.125, "begin": "2", "end": "10"}


def ramp(kind: str, step: int) -> float:
    """A ramp's value, rounded once."""
    u = min(max(Fraction(step - 2, 8), Fraction(0)), Fraction(1))
    start, end = Fraction(RAMP["initial"]), Fraction(RAMP["final"])
    if kind == "linear":
        return float(start + (end - start) * u)
    if kind == "cubic":
        return float(end + (start - end) * (1 - u) ** 3)
    real = mpf(u.numerator) / u.denominator
    if kind == "cosine":
        return float(
            mpf(RAMP["final"]) + mpf(RAMP["initial"] - RAMP["final"]) * (1 + mp.cos(mp.pi * real)) / 2
        )
    return float(mpf(RAMP["initial"]) * (mpf(RAMP["final"]) / mpf(RAMP["initial"])) ** real)


def _schedules() -> Iterator[Vector]:
    # Cosine and exponential are right to one unit in the last place, which rounding to float32 does not show.
    for kind in ("linear", "cosine", "exponential", "cubic"):
        for step in (0, 5, 10):
            of = planned(step, {"pattern": "*", "regularizer": {"l1Norm": {}}, "schedules": [{kind: RAMP}]})
            strength = {"l1Norm": {"strength": ramp(kind, step)}}
            name = f"schedule_{kind}_at_{step}"
            about = f"A strength that goes its {kind} way, at step {step}."
            figures: dict[str, Any] = (
                {"figures": {"penalty": False}} if kind in ("cosine", "exponential") else {}
            )
            yield _vector(name, about, of, resolved(strength, strength, strength), **figures)
    pieces = {"pieces": [{"begin": "0", "value": 0.1}, {"begin": "5", "value": 0.3}]}
    for step, value in ((4, 0.1), (5, 0.3)):
        of = planned(
            step, {"pattern": "*", "regularizer": {"l1Norm": {}}, "schedules": [{"piecewise": pieces}]}
        )
        strength = {"l1Norm": {"strength": value}}
        yield _vector(
            f"schedule_piecewise_at_{step}",
            "A strength in pieces.",
            of,
            resolved(strength, strength, strength),
        )
    both = [{"field": "l1_strength", "constant": {"value": 0.1}}, {"field": "l2_strength", "linear": RAMP}]
    of = planned(5, {"pattern": "*", "regularizer": {"elasticNet": {}}, "schedules": both})
    net = {"elasticNet": {"l1Strength": 0.1, "l2Strength": ramp("linear", 5)}}
    yield _vector("schedule_fields", "Two fields, each with its schedule.", of, resolved(net, net, net))
    share = {"cubic": {"initial": 1, "final": 0.25, "begin": "0", "end": "8"}}
    one = {"weight": [12]}
    of = planned(4, {"pattern": "weight", "regularizer": {"topK": {}}, "schedules": [share]}, names=one)
    kept = {"topK": {"fraction": 0.25 + 0.75 * 0.125}}
    yield _vector(
        "schedule_of_a_fraction",
        "Gradual pruning: without a field named, a fraction.",
        of,
        layout(segment("weight", [12], kept)),
    )
