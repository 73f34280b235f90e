"""Regularizers by a plan, at a step of training."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from pathlib import Path

from regularization.plan_file import plan_of
from regularization.v1.plan_pb2 import Plan, PlanRule

from ._errors import ArgumentError

_STEPS = 1 << 63


@dataclass(frozen=True)
class Planned:
    """What a plan says of every array at a step of training, in place of regularizers and step sizes by name.

    The server goes by the plan: it finds each array's rule and computes what is scheduled, so that all ranks
    and languages agree. The result says which plan it was (``plan_digest``).

    Args:
        plan: The plan: a ``Plan``, for instance by ``load_plan``; or the name of one that the server holds. A
            call by name goes over one stream: which regularizers may be cut is known to the server alone.
        step: The step of training, from 0 on.
        digest: That which the plan must have, so that all calls of a step go by one version; None for any.

    Raises:
        ArgumentError: If it is no plan, or no step.

    Example:
        >>> from regularization_client import Client, L1Norm, Plan, Planned, PlanRule
        >>> from regularization_client import Ramp, Regularizer, Schedule
        >>> warm_up = Schedule(linear=Ramp(initial=0.0, final=0.5, begin=0, end=100))
        >>> l1 = Regularizer(l1_norm=L1Norm())
        >>> weights = PlanRule(pattern="*.weight", regularizer=l1, schedules=[warm_up])
        >>> plan = Plan(rules=[weights, PlanRule(pattern="*", exempt=True)])
        >>> model = {"a.weight": [1.0, -2.0], "a.bias": [3.0]}
        >>> with Client() as client:
        ...     step = client.proximal_step(model, Planned(plan, step=50), step_size=1.0)
        >>> step.parameters["a.weight"], step.parameters["a.bias"]
        (array([ 0.75, -1.75]), array([3.]))
    """

    plan: Plan | str
    step: int
    digest: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.plan, Plan | str):
            raise ArgumentError(f"plan must be a Plan or a name, got {type(self.plan).__name__}")
        if not 0 <= index(self.step) < _STEPS:
            raise ArgumentError(f"step must be from 0 to 2^63 - 1, got {self.step}")


def holds_at(rule: PlanRule, step: int) -> bool:
    """Return whether a rule's regularizer holds at a step; else its arrays are exempt."""
    # What is no number of steps is refused by the server.
    return rule.every < 1 or step % rule.every == 0


def load_plan(path: str | Path) -> Plan:
    """Read a plan file: TOML with a table for each name or pattern, as ``regularize prox --help`` shows it.

    Args:
        path: The file.

    Raises:
        ArgumentError: If it is no TOML, or says what cannot be; with pattern and key.
        OSError: If it cannot be read.
    """
    try:
        return plan_of(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArgumentError(f"{path}: {error}") from error
