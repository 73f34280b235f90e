"""Dashboard, alert rules and the page for operators speak of what the server exports, and of nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from regularization_server.observability.instruments import INSTRUMENTS, Instruments, exported_name

from tests.support.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORING = ROOT / "docker" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboard.json").read_text())
RULES = (MONITORING / "rules.yml").read_text()
PAGE = (ROOT / "docs" / "operations.md").read_text()

NAME = re.compile(r"\b(?:grpc_server|regularization|process)_[a-z0-9_]+\b")
LABEL = re.compile(r"(?:by|\{|,)\s*\(?([a-z_]+)(?==|[,)])")
SERIES = ("_bucket", "_sum", "_count")
OF_PROMETHEUS = {"instance", "job", "le"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian has it in prometheus)"
)


def exported() -> set[str]:
    """The names that a metric may be asked for by."""
    names = set()
    for name, instrument in INSTRUMENTS.items():
        names |= {f"{name}{end}" for end in SERIES} if instrument.bounds else {exported_name(name)}
    return names


def labels() -> set[str]:
    """Every label that a metric has."""
    return OF_PROMETHEUS.union(*(instrument.labels for instrument in INSTRUMENTS.values()))


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboard, with its panel's title."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def test_the_dashboard_asks_for_what_is_exported() -> None:
    """Every expression has a metric, and all metrics and labels are the server's."""
    for title, expression in expressions():
        found = set(NAME.findall(expression))
        assert found, title
        assert found <= exported(), title
        for group in re.findall(r"by \(([^)]*)\)", expression):
            assert set(group.split(", ")) <= labels(), title


def test_the_dashboard_shows_everything() -> None:
    """Every metric of the server is on it."""
    asked = {name for _, expression in expressions() for name in NAME.findall(expression)}
    missing = {name for name in INSTRUMENTS if not any(each.startswith(name) for each in asked)}
    assert missing == set()


def test_panels_have_numbers_and_places_of_their_own() -> None:
    """No two have the same id, or lie on each other; each says what it shows."""
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_rules_ask_for_what_is_exported() -> None:
    """Every metric in an expression of an alert is the server's."""
    asked = {name for line in RULES.splitlines() if "description" not in line for name in NAME.findall(line)}
    assert asked
    assert asked <= exported()


def test_the_page_has_every_metric() -> None:
    """Each once, with what to do about it, and none that is not exported."""
    rows = re.findall(r"^\| `([a-z_]+)`[^|]*\|([^|]+)\|([^|]+)\|$", PAGE, re.MULTILINE)
    metrics = [name for name, _, _ in rows if NAME.fullmatch(name)]
    assert sorted(metrics) == sorted(exported_name(name) for name in INSTRUMENTS)
    assert all(meaning.strip() and advice.strip() for _, meaning, advice in rows)


def test_the_page_has_every_alert() -> None:
    """Every alert of the rules is there, and no other."""
    alerts = re.findall(r"alert: (\w+)", RULES)
    assert set(re.findall(r"`(Regularization\w+)`", PAGE)) == set(alerts)


def promtool(*arguments: str | Path, stdin: bytes | None = None) -> str:
    """What promtool says; it must find nothing wrong."""
    done = subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, text
    return text


@needs_promtool
def test_promtool_takes_rules_and_configuration() -> None:
    """Both are valid, with every alert."""
    promtool("check", "config", MONITORING / "prometheus.yml")
    assert f"{RULES.count('alert: ')} rules found" in promtool("check", "rules", MONITORING / "rules.yml")


@needs_promtool
def test_alerts_fire_when_they_should() -> None:
    """Given figures over time, promtool evaluates the rules themselves."""
    promtool("test", "rules", Path(__file__).with_name("rules.yml"))


@needs_promtool
def test_promtool_takes_what_is_exported() -> None:
    """Names and helps follow Prometheus's conventions."""
    registry = CollectorRegistry()
    Instruments(registry)
    promtool("check", "metrics", stdin=generate_latest(registry))
