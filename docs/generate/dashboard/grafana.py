"""The dashboard as Grafana reads it: panels with their places, units, legends, and expressions to ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MONITORING = Path(__file__).resolve().parents[3] / "docker" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboard.json"

_LABEL = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


@dataclass(frozen=True)
class Target:
    """One expression of a panel.

    Attributes:
        expression: As the file has it, with Grafana's variables.
        legend: What its series are called, with ``{{label}}``.
    """

    expression: str
    legend: str

    def name(self, labels: Mapping[str, str]) -> str:
        """What Grafana calls the series with these labels: a label that it lacks leaves nothing."""
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.legend).strip()


@dataclass(frozen=True)
class Panel:
    """A panel, or the title of a row of panels.

    Attributes:
        title: What it is called.
        place: Left, top, width and height in the grid of 24 columns.
        is_row: Whether it is a row's title.
        targets: Its expressions; of a row none.
        defaults: How all its series look: unit, range and what Grafana calls custom.
        overrides: Patterns of names, and what is different for series that one fits.
        renamed: A pattern of whole names, and what is shown in place of one that fits; None where all stay.
        has_table: Whether its legend is a table beside it, with the last values; else it is beneath it.
    """

    title: str
    place: tuple[int, int, int, int]
    is_row: bool
    targets: tuple[Target, ...]
    defaults: Mapping[str, Any]
    overrides: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...]
    renamed: tuple[re.Pattern[str], str] | None
    has_table: bool

    def shown(self, name: str) -> str:
        """What a series is called on the screen."""
        found = self.renamed and self.renamed[0].fullmatch(name)
        return found.expand(self.renamed[1]) if self.renamed and found else name

    def look(self, name: str) -> dict[str, Any]:
        """How a series is drawn: Grafana's ``custom``, and ``color`` where it is fixed."""
        look = dict(self.defaults.get("custom", {}))
        for pattern, properties in self.overrides:
            if pattern.search(name):
                look |= properties
        return look


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the dashboard, whose values are those of a label.

    Attributes:
        name: What expressions call it.
        metric: Whose label it is.
        label: The label.
        for_all: What stands for all values.
    """

    name: str
    metric: str
    label: str
    for_all: str


def panels(dashboard: Mapping[str, Any]) -> list[Panel]:
    """All panels, as they stand in the file."""
    return [_panel(each) for each in dashboard["panels"]]


def variables(dashboard: Mapping[str, Any]) -> list[Variable]:
    """The choices that are made by labels.

    Raises:
        ValueError: If one is made otherwise.
    """
    return [_variable(each) for each in dashboard["templating"]["list"] if each["type"] == "query"]


def load() -> dict[str, Any]:
    """The dashboard's file."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return dashboard


def everything(chosen: list[Variable]) -> dict[str, str]:
    """What the variables stand for where all is chosen."""
    return {each.name: each.for_all for each in chosen}


def one(value: str) -> str:
    """What a variable stands for where one value of several possible ones is chosen: a pattern, in quotes."""
    return re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value)


def rate_interval(step: float, scrape: float) -> str:
    """What Grafana makes of ``$__rate_interval``.

    Args:
        step: Seconds between two points of a panel.
        scrape: Seconds between two looks at the metrics, as the data source has them.

    Source: Grafana's documentation of the Prometheus data source.
    """
    return f"{round(1000 * max(step + scrape, 4 * scrape))}ms"


def filled(expression: str, values: Mapping[str, str]) -> str:
    """An expression without variables.

    Raises:
        ValueError: If it has one that no value is known of.
    """
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${name}", values[name])
    if "$" in expression:
        raise ValueError(f"a variable without a value in {expression}")
    return expression


def _panel(panel: Mapping[str, Any]) -> Panel:
    place = panel["gridPos"]
    fields = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
    return Panel(
        title=panel["title"],
        place=(place["x"], place["y"], place["w"], place["h"]),
        is_row=panel["type"] == "row",
        targets=tuple(Target(each["expr"], each["legendFormat"]) for each in panel.get("targets", ())),
        defaults=fields["defaults"],
        overrides=tuple(_overrides(fields["overrides"])),
        renamed=_renaming(panel.get("transformations", [])),
        has_table=panel.get("options", {}).get("legend", {}).get("displayMode") == "table",
    )


def _renaming(transformations: list[Mapping[str, Any]]) -> tuple[re.Pattern[str], str] | None:
    if not transformations:
        return None
    (only,) = transformations
    if only["id"] != "renameByRegex":
        raise ValueError(f"the transformation {only['id']} is not known here")
    options = only["options"]
    return re.compile(options["regex"]), options["renamePattern"].replace("$", "\\")


def _overrides(overrides: list[Mapping[str, Any]]) -> Iterator[tuple[re.Pattern[str], dict[str, Any]]]:
    for each in overrides:
        if each["matcher"]["id"] != "byRegexp":
            raise ValueError(f"an override by {each['matcher']['id']} is not known here")
        pattern = re.compile(each["matcher"]["options"].strip("/"))
        yield (
            pattern,
            {entry["id"].removeprefix("custom."): entry["value"] for entry in each["properties"]},
        )


def _variable(variable: Mapping[str, Any]) -> Variable:
    asked = _VALUES.fullmatch(variable["query"]["query"])
    if asked is None:
        raise ValueError(f"{variable['name']} is no label's values")
    return Variable(variable["name"], asked[1], asked[2], variable["allValue"])
