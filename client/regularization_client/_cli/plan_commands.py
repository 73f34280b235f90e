"""What ``regularize plan`` does: check a plan, tell which of its rules is for which tensor, begin one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message
from regularization.patterns import Patterns
from regularization.plan_file import table_at
from regularization.v1.plan_pb2 import Plan as PlanMessage
from regularization.v1.plan_pb2 import PlanRule

from .._config import CallOptions
from .._errors import RegularizationError
from .._files import StoredTensor, open_tensors
from .._planned import Planned, holds_at, load_plan
from .._request.call import Call
from .._request.header import Header
from .._request.layout import Layout
from .._request.method import PROXIMAL_STEP
from .._transport.chunked import Chunked
from . import report
from .plan import Plan
from .plan_file import PlanFile
from .work import Server

_EXEMPT, _EVERYWHERE = "exempt", 1.0


def check(path: Path, file: Path | None, server: Server) -> str:
    """Ask the server whether a plan is right, and whether it fits a file; return a line that says so.

    A plan that changes is looked at where its schedules begin and end. No element is sent.

    Args:
        path: The plan.
        file: The tensors that it is for; None looks at the plan alone.
        server: Which server to ask.

    Raises:
        RegularizationError: If it is wrong.
        OSError: If a file cannot be read.
    """
    plan = load_plan(path)
    with closing(server.connection()) as connection:
        left = server.conditions().timed()
        for call in _calls(path, plan, file):
            try:
                Chunked(connection).carry_out(call, left())
            except RegularizationError as error:
                error.message = f"{path}: {table_at(error.field, plan)}{error.message}"
                raise
    return f"{path}: {len(plan.rules)} rules, all right{'' if file is None else f', and all fit {file}'}"


def explain(path: Path, file: Path, step: int | None, *, as_json: bool) -> str:
    """Return which rule of a plan is for which tensor of a file, and what it says.

    Args:
        path: The plan.
        file: The tensors.
        step: The step of training; None tells what holds at some step.
        as_json: Whether to return one JSON object in place of a table.

    Raises:
        ArgumentError: If a tensor has no rule, or a rule no tensor.
        OSError: If a file cannot be read.
    """
    plan = load_plan(path)
    patterns = Patterns(rule.pattern for rule in plan.rules)
    with open_tensors(file) as tensors:
        PlanFile(path, plan, step, None).of(tensors.tensors)
        places = {name: patterns.first(name) for name in tensors.tensors}
        shapes = {name: list(tensor.shape) for name, tensor in tensors.tensors.items()}
    rows = []
    for name, place in places.items():
        rule = None if place is None else plan.rules[place]
        rows.append((name, shapes[name], None if rule is None else rule.pattern, _words(rule, step)))
    if as_json:
        keys = ("tensor", "shape", "rule", "what")
        shown = [dict(zip(keys, row, strict=True)) for row in rows]
        return json.dumps({"plan": str(path), "file": str(file), "tensors": shown}, ensure_ascii=False)
    lines = [["tensor", "shape", "rule", "what"]]
    for name, shape, pattern, words in rows:
        rule_name = "-" if pattern is None else report.printable(pattern)
        lines.append([report.printable(name), "x".join(map(str, shape)) or "scalar", rule_name, words])
    return report.aligned(lines)


def begin(file: Path) -> str:
    """Return a plan to begin with: a table for each kind of name; what has one axis at most is exempt.

    Args:
        file: The tensors.

    Raises:
        OSError: If it cannot be read.
    """
    with open_tensors(file) as tensors:
        return "\n\n".join(_tables(list(tensors.tensors.values()), 1))


def _calls(path: Path, plan: PlanMessage, file: Path | None) -> Iterator[Call]:
    """Yield calls without elements, which fail where the plan, or its fit, is wrong."""
    alone = PlanMessage()
    alone.CopyFrom(plan)
    alone.allow_unmatched_rules = True
    layout = Layout.planned(np.dtype("<f4"), {}, Planned(alone, 0))
    yield Call(Header(PROXIMAL_STEP, layout, CallOptions(), _EVERYWHERE), np.dtype("<f4"), [], (0, 0))
    if file is None:
        return
    with open_tensors(file) as tensors:
        for step in sorted(_steps(plan)):
            settings = PlanFile(path, plan, step, _EVERYWHERE)
            for call in Plan(tensors, {}, settings, CallOptions()).calls(PROXIMAL_STEP, None):
                yield replace(call, stretches=[], element_range=(0, 0))


def _steps(plan: PlanMessage) -> set[int]:
    """Return the steps at which something begins or ends, and the first."""
    schedules = [schedule for rule in plan.rules for schedule in rule.schedules]
    steps = {0, *(rule.freeze_from for rule in plan.rules)}
    for schedule in schedules:
        kind = schedule.WhichOneof("kind")
        chosen = getattr(schedule, kind) if kind is not None else None
        for part in (chosen, *getattr(chosen, "pieces", ())):
            steps |= {step for end in ("begin", "end") if (step := getattr(part, end, 0)) > 0}
    return steps


def _words(rule: PlanRule | None, step: int | None) -> str:
    """Return what a rule does, in the schema's words."""
    if rule is None:
        return _EXEMPT
    frozen = [f"freeze_from: {rule.freeze_from}"] if rule.HasField("freeze_from") else []
    if step is not None and not holds_at(rule, step):
        return ", ".join([_EXEMPT, *frozen])
    kind = rule.regularizer.WhichOneof("kind")
    message: Message | None = None if kind is None else getattr(rule.regularizer, kind)
    words = [_EXEMPT if message is None else f"{kind} {_line(message)}".rstrip()]
    words += [_line(schedule) for schedule in rule.schedules]
    words += [f"{name} {{ {_line(rule.box)} }}" for name in ("box",) if rule.HasField("box")]
    for name in ("smoothing", "step_size", "every"):
        words += [f"{name}: {getattr(rule, name)}"] if rule.HasField(name) else []
    return ", ".join([*(["joint"] if rule.joint else []), *words, *frozen])


def _line(message: Message) -> str:
    return text_format.MessageToString(message, as_one_line=True).strip()


def _tables(tensors: list[StoredTensor], depth: int) -> Iterator[str]:
    """Yield tables for tensors by as many last parts of their names as tell weights from all others."""
    tails: dict[str, list[StoredTensor]] = {}
    for tensor in tensors:
        tails.setdefault(".".join(tensor.name.split(".")[-depth:]), []).append(tensor)
    for tail, group in tails.items():
        whole = [tensor for tensor in group if tensor.name == tail or len(group) == 1]
        rest = [tensor for tensor in group if tensor not in whole]
        for tensor in whole:
            yield _table(_literal(tensor.name), [tensor])
        if len({_is_weight(tensor) for tensor in rest}) > 1:
            yield from _tables(rest, depth + 1)
        elif rest:
            yield _table(f"*.{_literal(tail)}", rest)


def _literal(name: str) -> str:
    """Return the pattern that nothing but a text matches."""
    return re.sub(r"[*?[]", r"[\g<0>]", name)


def _is_weight(tensor: StoredTensor) -> bool:
    return len(tensor.shape) > 1 and tensor.data_type is not None


def _table(pattern: str, tensors: list[StoredTensor]) -> str:
    what = 'regularizer = "l1_norm"\nstrength = 1e-4' if _is_weight(tensors[0]) else "exempt = true"
    more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
    return f"# {report.printable(tensors[0].name)}{more}\n[{_quoted(pattern)}]\n{what}"


def _quoted(key: str) -> str:
    """Return a key as a basic string of TOML, which has the escapes of JSON."""
    return json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")
