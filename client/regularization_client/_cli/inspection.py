"""What is in a file of tensors, and whether it is inside of the sets that it should be in."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from google.protobuf.message import Message
from regularization.patterns import EVERYTHING, Patterns

from .._config import CallOptions
from .._files import StoredTensor, open_tensors
from .._request.method import PENALTY
from .._results import Figures
from . import report
from .plan import Plan
from .plan_file import PlanFile, read_plan
from .settings import OptionSettings, Settings
from .signals import interruptibly
from .specifications import as_rules
from .work import Server, carried_out, progress_bar


@dataclass(frozen=True, slots=True)
class Inspection:
    """A look at a file."""

    file: Path
    regularizers: tuple[tuple[str, Message | None], ...]
    plan: Path | None
    check: bool
    server: Server
    non_finite: Any
    as_json: bool
    quiet: bool
    step: int | None = None

    def run(self) -> int:
        """Do it, print what is there, and return the exit status: 1 where a checked set is left."""
        settings, patterns = self._settings()
        with ExitStack() as stack:
            tensors = stack.enter_context(open_tensors(self.file))
            options = CallOptions(non_finite=self.non_finite, figures={"penalty", "nonzeros"})
            plan = Plan(tensors, {}, settings, options)
            calls = plan.calls(PENALTY, None)
            connection = stack.enter_context(closing(self.server.connection()))
            with progress_bar(sum(call.elements for call in calls), quiet=self.quiet) as progress:
                conditions = self.server.conditions(progress)
                summary = interruptibly(lambda: carried_out(connection, calls, conditions), connection.close)
            left_out, known = set(plan.left_out()), Patterns(patterns)
            rows = []
            for name, tensor in tensors.tensors.items():
                place = known.first(name)
                rule = None if place is None else patterns[place]
                rows.append(_row(tensor, None if name in left_out else summary.segments[name], rule))
        outside = [row["tensor"] for row in rows if row["inside"] is False]
        self._print(rows, outside)
        return 1 if self.check and outside else 0

    def _settings(self) -> tuple[Settings, tuple[str, ...]]:
        """Return the settings, and their names and patterns in order."""
        if self.plan is not None:
            if self.regularizers:
                raise click.UsageError("--plan and --regularizer exclude each other")
            plan: PlanFile = read_plan(self.plan, None, self.step)
            return plan, tuple(rule.pattern for rule in plan.plan.rules)
        if self.step is not None:
            raise click.UsageError("--step goes with --plan")
        if self.check and not self.regularizers:
            raise click.UsageError("--check needs --plan or --regularizer, which say what is to be checked")
        rules = as_rules(self.regularizers, "--regularizer")
        return OptionSettings(rules or {EVERYTHING: None}, {}), tuple(rules)

    def _print(self, rows: list[dict[str, Any]], outside: list[str]) -> None:
        if self.as_json:
            report.show(json.dumps({"file": str(self.file), "tensors": rows}, ensure_ascii=False))
            return
        if not self.quiet:
            report.show(_table(rows))
        if self.check:
            names = ", ".join(map(report.printable, outside))
            report.show(f"outside: {names}" if outside else "all inside")


def _row(tensor: StoredTensor, figures: Figures | None, rule: str | None) -> dict[str, Any]:
    """Return what is known of a tensor; what is not, as of one that the service does not take, is None."""
    return {
        "tensor": tensor.name,
        "shape": list(tensor.shape),
        "type": tensor.type_name,
        "elements": math.prod(tensor.shape),
        "zeros": None if figures is None else figures.elements - figures.nonzeros,
        "rule": rule,
        "inside": None if figures is None else figures.penalty != math.inf,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [["tensor", "shape", "type", "zeros", "", "rule"]]
    for row in rows:
        share = (
            "-" if not row["elements"] or row["zeros"] is None else f"{row['zeros'] / row['elements']:.2%}"
        )
        lines.append(
            [
                report.printable(row["tensor"]),
                "x".join(map(str, row["shape"])) or "scalar",
                report.printable(row["type"]),
                "-" if row["zeros"] is None else f"{row['zeros']:,}",
                share,
                "-" if row["rule"] is None else report.printable(row["rule"]),
            ]
        )
    return report.aligned(lines, right=(3, 4))
