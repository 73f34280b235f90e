"""Plans in TOML: a table for each name or pattern, and what is said of the whole plan before them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from .kinds import NAMES
from .suggestions import unknown
from .tables import fill, number, truth
from .v1.plan_pb2 import Plan, PlanRule
from .v1.regularizers_pb2 import Regularizer

KEYS = (
    "regularizer",
    "exempt",
    "step_size",
    "box",
    "smoothing",
    "joint",
    "every",
    "schedules",
    "freeze_from",
)
"""The keys of a table, beside the fields of its regularizer."""

OF_THE_PLAN = ("exempt_unmatched_names", "allow_unmatched_rules")
"""The keys that are no tables: fields of the plan itself."""


def plan_of(text: str) -> Plan:
    """The plan that a TOML document says.

    Each table is a rule for the name or the pattern that it is called by. Its keys are the regularizer's
    name, the regularizer's fields, and the other fields of ``PlanRule``.

    Raises:
        ValueError: If the text is no TOML, or says what cannot be; with pattern and key. Ranges are checked
            of the numbers of ``PlanRule`` itself; those of regularizers and schedules are for the server.
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    plan = Plan()
    for key, value in tables.items():
        if key in OF_THE_PLAN and not isinstance(value, dict):
            setattr(plan, key, truth(tables, key))
            continue
        try:
            plan.rules.append(_rule(key, value))
        except ValueError as error:
            raise ValueError(f"[{key!r}]: {error}") from error
    return plan


def table_at(path: str | None, plan: Plan) -> str:
    """Return "['*.weight']: " for the path of an error in that rule, or in a part of it; else nothing."""
    found = re.search(r"(?:^|\.)rules\[(\d+)\]", path or "")
    return f"[{plan.rules[int(found[1])].pattern!r}]: " if found else ""


def _rule(pattern: str, table: Any) -> PlanRule:
    if not isinstance(table, dict):
        raise ValueError(f"must be a table with regularizer = or exempt = true, got {table!r}")  # noqa: TRY004
    rule = PlanRule(pattern=pattern, exempt=truth(table, "exempt"))
    _regularize(rule, table)
    fill(rule, {key: table[key] for key in ("box", "every", "schedules", "freeze_from") if key in table})
    if rule.HasField("every") and rule.every < 1:
        raise ValueError(f"every must be >= 1, got {rule.every}")
    if rule.freeze_from < 0:
        raise ValueError(f"freeze_from must be >= 0, got {rule.freeze_from}")
    rule.joint = truth(table, "joint")
    smoothing = number(table, "smoothing", 0, is_above=True)
    if smoothing is not None:
        rule.smoothing = smoothing
    step_size = number(table, "step_size", 0, is_above=False)
    if step_size is not None:
        rule.step_size = step_size
    if rule.joint and (rule.exempt or rule.HasField("box") or rule.HasField("smoothing")):
        raise ValueError("joint = true goes with a regularizer, without box and smoothing")
    return rule


def _regularize(rule: PlanRule, table: Mapping[str, Any]) -> None:
    name = table.get("regularizer")
    if name is not None and name not in NAMES:
        raise ValueError(unknown(name, NAMES, "regularizer"))
    choice = Regularizer()
    message: Any = None if name is None else getattr(choice, name)
    own = {key: value for key, value in table.items() if key not in KEYS}
    known = [*KEYS, *(message.DESCRIPTOR.fields_by_name if message is not None else ())]
    for key, value in own.items():
        if key not in known:
            nested = "; a name that has dots needs quotes around it" if isinstance(value, dict) else ""
            raise ValueError(unknown(key, known, "key") + nested)
    if rule.exempt is (message is not None):
        raise ValueError("must have either regularizer = or exempt = true")
    if message is not None:
        message.SetInParent()
        fill(message, own)
        rule.regularizer.CopyFrom(choice)
