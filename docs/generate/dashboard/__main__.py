"""Draws docs/images/dashboard.png, in two minutes. It needs Prometheus.

A server works for trainers and others while Prometheus looks at it once a second. Prometheus then answers
the dashboard's own expressions, which are drawn in the dashboard's grid. All of it lies in a folder that goes
away, and listens on the loopback alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from docs.generate.dashboard import callers, grafana
from docs.generate.dashboard.drawing import Array, Drawn, draw
from docs.generate.dashboard.grafana import Panel
from docs.generate.dashboard.prometheus import Prometheus, is_installed, prometheus
from docs.generate.dashboard.server import server
from docs.generate.style import save, style

TITLE = (
    "The queries of the dashboard, answered by Prometheus, drawn with matplotlib in the dashboard's grid: "
    "no screenshot of Grafana.   Server: All   Plan: All   Times in UTC"
)
PICTURE = Path(__file__).resolve().parents[2] / "images" / "dashboard.png"
SECONDS = 90.0
SCRAPE = 1.0
IDLE = 4.0
"""Seconds before the first call and after the last, which show where they begin and end."""


def main() -> None:
    """Draw the picture, or leave the one that is there."""
    if not is_installed():
        sys.exit("prometheus is not installed (Debian has a package of that name)")
    with tempfile.TemporaryDirectory(prefix="dashboard-") as folder:
        own, its = Path(folder, "server"), Path(folder, "prometheus")
        own.mkdir()
        its.mkdir()
        with server(own) as served, prometheus(its, served.metrics, SCRAPE) as database:
            begin = time.time()
            time.sleep(IDLE)
            callers.call(served.target, SECONDS)
            time.sleep(IDLE)
            times = np.arange(np.ceil(begin) + 1, np.floor(time.time()), SCRAPE)
            panels = _answered(database, times)
            alerts = {each["name"]: each["state"] for each in database.alerts()}
    with style():
        save(draw(TITLE, panels, times), PICTURE)
    empty = [panel.title for panel, series in panels if not panel.is_row and not series]
    waking = {name: state for name, state in alerts.items() if state != "inactive"}
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")
    print(f"Panels without data: {empty or 'none'}.")
    print(f"Alerts that are pending or fire, of {len(alerts)}: {waking or 'none'}.")


def _answered(database: Prometheus, times: Array) -> list[tuple[Panel, list[Drawn]]]:
    dashboard = grafana.load()
    values = grafana.everything(grafana.variables(dashboard))
    values["__rate_interval"] = grafana.rate_interval(SCRAPE, SCRAPE)
    return [
        (
            panel,
            [drawn for target in panel.targets for drawn in _series(database, panel, target, values, times)],
        )
        for panel in grafana.panels(dashboard)
    ]


def _series(
    database: Prometheus, panel: Panel, target: grafana.Target, values: dict[str, str], times: Array
) -> list[Drawn]:
    expression = grafana.filled(target.expression, values)
    found = database.over_time(expression, float(times[0]), float(times[-1]), SCRAPE)
    drawn = []
    for each in found:
        points = np.full(len(times), np.nan)
        for when, value in each.points:
            points[round((when - times[0]) / SCRAPE)] = value
        drawn.append(Drawn(panel.shown(target.name(each.labels)), points))
    return drawn


if __name__ == "__main__":
    main()
