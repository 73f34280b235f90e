"""A Prometheus of one's own, with the scrape configuration and the rules of docker/monitoring."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from docs.generate.dashboard.grafana import MONITORING
from docs.generate.dashboard.processes import running

SECONDS_TO_START = 30.0
_ADDRESS = re.compile(r'msg="Listening on".* address=(\S+)')
_READY = "Server is ready to receive web requests"


@dataclass(frozen=True)
class Series:
    """What an expression gave over time.

    Attributes:
        labels: Its labels.
        points: Seconds since 1970, and values; NaN where there is nothing to say.
    """

    labels: Mapping[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Prometheus:
    """One that runs.

    Attributes:
        address: host:port of its API.
    """

    address: str

    def over_time(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """What an expression gives from one time to another, both in seconds since 1970, in steps of seconds.

        Raises:
            RuntimeError: If Prometheus does not take it.
        """
        found = self._asked("query_range", query=expression, start=begin, end=end, step=step)
        return [
            Series(each["metric"], [(when, float(value)) for when, value in each["values"]])
            for each in found["result"]
        ]

    def now(self, expression: str) -> list[Mapping[str, Any]]:
        """What an expression gives now: a vector's samples.

        Raises:
            RuntimeError: If Prometheus does not take it.
        """
        samples: list[Mapping[str, Any]] = self._asked("query", query=expression)["result"]
        return samples

    def label_values(self, metric: str, label: str) -> list[str]:
        """The values that a metric's label has."""
        values: list[str] = self._asked(f"label/{label}/values", **{"match[]": metric})
        return values

    def alerts(self) -> list[Mapping[str, Any]]:
        """The alert rules, with expression, state and health."""
        return [rule for group in self._asked("rules")["groups"] for rule in group["rules"]]

    def _asked(self, path: str, **parameters: str | float) -> Any:
        connection = HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if answer["status"] != "success":
            raise RuntimeError(f"{answer['error']}: {parameters}")
        return answer["data"]


def is_installed() -> bool:
    """Whether there is a Prometheus to start."""
    return shutil.which("prometheus") is not None


@contextmanager
def prometheus(folder: Path, target: str, scrape: float) -> Iterator[Prometheus]:
    """Run one on a free port of the loopback, and stop it in the end.

    Args:
        folder: An empty one, for its data, its configuration and its log.
        target: host:port of the server's metrics.
        scrape: Seconds between two looks at them, and at the rules.

    Raises:
        RuntimeError: If it does not start.
    """
    configuration = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    configuration = configuration.replace("regularization:9464", target)
    configuration = configuration.replace("interval: 15s", f"interval: {round(1000 * scrape)}ms")
    (folder / "prometheus.yml").write_text(configuration, encoding="utf-8")
    shutil.copy(MONITORING / "rules.yml", folder)
    log = folder / "log"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with running(command, log) as process:
        yield Prometheus(_address(process, log))


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text(encoding="utf-8")
        listening = _ADDRESS.search(said)
        if listening and _READY in said:
            return listening[1]
        time.sleep(0.02)
    raise RuntimeError(f"Prometheus did not start:\n{log.read_text(encoding='utf-8')}")
