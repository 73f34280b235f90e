"""Plan files: what is done with the tensors of a model, in TOML, a table for each name or pattern."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message
from regularization.v1.plan_pb2 import Plan, PlanRule

from .._errors import ArgumentError
from .._joint import Joint
from .._modified import Modified
from .._planned import Planned, holds_at, load_plan
from .._request.names import resolve
from .settings import Setting

_LEFT = 'add ["*"] with exempt = true to leave alone what no other fits'

SYNTAX = """\
A plan file says the same in TOML: a table for each name or pattern, with the regularizer's name, its fields
as keys, and maybe a step_size, bounds (box) and a smoothing; with joint = true it is of all tensors of the
table together, as one vector. A tensor's own name comes before patterns, and the first pattern that fits
counts; every tensor needs a table. Numbers may change over the steps of training (schedules), a table may
hold at every k-th step alone (every), and what is 0 may stay 0 from a step on (freeze_from): --step says
which step it is.

\b
  ["layers.*.weight"]
  regularizer = "group_lasso"
  strength = 0.01
  groups = {axis = 0, sqrt_size = true}
  step_size = 0.1
\b
  [head]
  regularizer = "l1_norm"
  strength = 1e-4
  box = {lower = 0, upper = 1}
\b
  ["embedding.*"]
  regularizer = "top_k"
  fraction = 0.1
  joint = true
\b
  ["blocks.*"]
  regularizer = "squared_l2_norm"
  schedules = [{linear = {initial = 0, final = 1e-3, begin = 0, end = 1000}}]
  every = 10
\b
  ["*.bias"]
  exempt = true"""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """Settings by a plan file."""

    path: Path
    plan: Plan
    step: int | None
    """The step of training that they are for; None where the plan says the same at all."""
    step_size: float | None
    """The step size of tensors whose table has none."""

    def of(self, names: Collection[str], *, stepping: Collection[str] = ()) -> Mapping[str, Setting]:
        """See ``Settings.of``; a plan may leave any step size open."""
        rules = {rule.pattern: _setting(rule, self.step or 0) for rule in self.plan.rules}
        found = resolve(
            rules,
            names,
            str(self.path),
            hint=_LEFT,
            optional=names if self.plan.exempt_unmatched_names else (),
            all_used=not self.plan.allow_unmatched_rules,
        )
        return {name: found.get(name, Setting(None)) for name in names}

    @property
    def planned(self) -> Planned | None:
        """The plan and the step, for the server to go by; None where the settings say it all.

        Which tensors there are is checked here: what is sent may have some of them.
        """
        if self.step is None:
            return None
        plan = Plan()
        plan.CopyFrom(self.plan)
        plan.allow_unmatched_rules = True
        return Planned(plan, self.step)


def read_plan(path: Path, step_size: float | None, step: int | None = None) -> PlanFile:
    """Read a plan file.

    Args:
        path: The file.
        step_size: The step size of tensors whose table has none.
        step: The step of training, which matters where the plan changes over steps; None where nobody said.

    Raises:
        ArgumentError: If it is no TOML, or says what cannot be, with pattern and key; or if it changes over
            steps, and there is none.
        OSError: If it cannot be read.
    """
    plan = load_plan(path)
    changing = [
        rule.pattern
        for rule in plan.rules
        if rule.schedules or rule.HasField("every") or rule.HasField("freeze_from")
    ]
    if not changing:
        return PlanFile(path, plan, None, step_size)
    if step is None:
        raise ArgumentError(
            f"{path}: [{changing[0]!r}] changes over steps of training: say which, with --step"
        )
    return PlanFile(path, plan, step, step_size)


def _setting(rule: PlanRule, step: int) -> Setting:
    step_size = rule.step_size if rule.HasField("step_size") else None
    kind = rule.regularizer.WhichOneof("kind")
    message: Message | None = None if kind is None else getattr(rule.regularizer, kind)
    if not holds_at(rule, step):
        return Setting(None, step_size)
    if rule.joint and message is not None:
        return Setting(Joint(message), step_size)
    box = rule.box if rule.HasField("box") else None
    smoothing = rule.smoothing if rule.HasField("smoothing") else None
    plain = box is None and smoothing is None
    return Setting(message if plain else Modified(message, box, smoothing), step_size)
