"""What a Prometheus answers that has looked at a server: dashboard and alerts ask for what is there."""

from __future__ import annotations

import math
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from regularization_client import Client, L1Norm, Planned

from docs.generate.dashboard import grafana
from docs.generate.dashboard.mistakes import mistakes
from docs.generate.dashboard.prometheus import Prometheus, is_installed, prometheus
from docs.generate.dashboard.server import PRUNED, SPARSE, TOKENS, server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.skipif(not is_installed(), reason="prometheus is not installed (Debian has it)")

SCRAPE = 0.5
IN_GRAFANA = 5.0
"""What a data source of Grafana's would have for it: so rates find two looks, however busy the machine is."""
SECONDS_TO_LOOK, MOST_ROUNDS = 20, 10
L1 = L1Norm(strength=0.1)
DASHBOARD = grafana.load()
CHOICES = grafana.variables(DASHBOARD)
COMPARISON = re.compile(r"(.*) (==|>) [\d.]+", re.DOTALL)


@dataclass(frozen=True)
class Watched:
    """A server that was called, and a Prometheus that has looked at it meanwhile."""

    prometheus: Prometheus
    began: float

    def answered(self, expression: str, chosen: Mapping[str, str]) -> bool:
        """Whether an expression of the dashboard has given a number since the beginning."""
        values = {**chosen, "__rate_interval": grafana.rate_interval(IN_GRAFANA, IN_GRAFANA)}
        asked = grafana.filled(expression, values)
        # Counted from the end, so that the last look is among the points.
        now = time.time()
        begin = now - (now - self.began) // SCRAPE * SCRAPE
        series = self.prometheus.over_time(asked, begin, now, SCRAPE)
        return any(math.isfinite(value) for each in series for _, value in each.points)

    def unanswered(self, chosen: Mapping[str, str]) -> list[tuple[str, str]]:
        """Panels and expressions that have given none."""
        return [
            (panel.title, target.expression)
            for panel in grafana.panels(DASHBOARD)
            for target in panel.targets
            if not self.answered(target.expression, chosen)
        ]


def call(client: Client) -> None:
    """Make calls of all methods, with plans and without."""
    model = {"hidden.weight": np.ones((8, 8)), "hidden.bias": np.ones(8), "output.weight": np.ones((8, 2))}
    for _ in range(20):
        client.penalty([1.0, 2.0], L1)
        client.gradient([1.0, 2.0], L1)
        for plan in (PRUNED, SPARSE):
            client.proximal_step(model, Planned(plan, 0), step_size=0.1)


@contextmanager
def looked_at(watched: Prometheus) -> Iterator[None]:
    """Go on once Prometheus has seen what was done within."""
    yield
    done = time.time()
    while not watched.now(f"timestamp(up) > {done} and up == 1"):
        assert time.time() < done + SECONDS_TO_LOOK, "Prometheus does not look"
        time.sleep(0.02)


def compared_by(prometheus: Prometheus) -> dict[str, str]:
    """What each alert compares with a number."""
    found = {each["name"]: COMPARISON.fullmatch(each["query"]) for each in prometheus.alerts()}
    return {name: comparison[1] for name, comparison in found.items() if comparison}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server with calls and mistakes, twice or more often: a rate needs a second look."""
    with (
        server(tmp_path_factory.mktemp("server")) as served,
        prometheus(tmp_path_factory.mktemp("prometheus"), served.metrics, SCRAPE) as database,
        Client(served.target, token=TOKENS["trainers"]) as client,
        mistakes(served.target) as kinds,
    ):
        watched = Watched(database, time.time())
        for _ in range(MOST_ROUNDS):
            with looked_at(database):
                call(client)
                for err in kinds:
                    err()
            # On a busy machine a deadline may pass before the call has come, which then counts for nothing.
            if all(watched.answered(compared, {}) for compared in compared_by(database).values()):
                break
        yield watched


def test_every_panel_has_an_answer(watched: Watched) -> None:
    """Each expression gives at least one number, with all servers and plans chosen."""
    assert watched.unanswered(grafana.everything(CHOICES)) == []


def test_choices_are_offered_and_answered(watched: Watched) -> None:
    """Each has its values; with one of them chosen all panels have an answer, with another server none."""
    offered = {each.name: watched.prometheus.label_values(each.metric, each.label) for each in CHOICES}
    assert offered["plan"] == [PRUNED, SPARSE]
    assert len(offered["instance"]) == 1
    chosen = {name: grafana.one(values[0]) for name, values in offered.items()}
    assert watched.unanswered(chosen) == []
    another = chosen | {"instance": grafana.one("another:1")}
    assert len(watched.unanswered(another)) == sum(len(each.targets) for each in grafana.panels(DASHBOARD))


def test_alerts_are_answered_and_rest(watched: Watched) -> None:
    """What each alert compares has a value, and a few mistakes beside good calls wake none."""
    alerts = watched.prometheus.alerts()
    awake = {each["name"] for each in alerts if each["state"] != "inactive"}
    # On a busy machine a look may take too long: the server then seems down, but for less than two minutes.
    assert awake <= {"RegularizationDown"}
    assert "firing" not in {each["state"] for each in alerts}
    assert {each["health"] for each in alerts} == {"ok"}
    compared = compared_by(watched.prometheus)
    assert compared.keys() == {each["name"] for each in alerts}
    assert [name for name, value in compared.items() if not watched.answered(value, {})] == []


def test_the_picture_s_panels_are_read_as_grafana_reads_them() -> None:
    """Names, looks and renamed series of a panel; what it may not mean is an error."""
    (panel,) = (each for each in grafana.panels(DASHBOARD) if each.title == "Calls by method")
    assert panel.targets[0].name({"grpc_method": "a/B"}) == "a/B"
    assert panel.targets[0].name({}) == ""
    assert panel.shown("regularization.v1.RegularizationService/Penalty") == "Penalty"
    assert panel.shown("other") == "other"
    (panel,) = (each for each in grafana.panels(DASHBOARD) if each.title == "Memory budget")
    assert panel.look("limit of a")["fillOpacity"] == 0 < panel.look("a")["fillOpacity"]
    assert grafana.rate_interval(15, 15) == "60000ms"
    assert grafana.rate_interval(120, 15) == "135000ms"
    assert grafana.one("a.b:1") == r"a\\.b:1"
    with pytest.raises(ValueError, match="without a value"):
        grafana.filled("up{a=~'$guess'}", {"instance": "a"})
