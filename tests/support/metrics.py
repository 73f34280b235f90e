"""Metrics as Prometheus gets them, and as it reads them."""

from __future__ import annotations

import socket
from collections import Counter
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.support.messages import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

Labels = frozenset[tuple[str, str]]


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def got(address: str, path: str = "/metrics") -> tuple[int, str]:
    """Status and body of what is served at a path."""
    if address.startswith("unix:"):
        connection: HTTPConnection = _UnixConnection(address.removeprefix("unix:"))
    else:
        connection = HTTPConnection(address, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Scrape:
    """What one look at the metrics gave."""

    def __init__(self, address: str) -> None:
        status, self.text = got(address)
        assert status == 200, self.text
        self.samples: dict[tuple[str, Labels], float] = {}
        self.families: set[str] = set()
        for family in text_string_to_metric_families(self.text):
            self.families.add(f"{family.name}_total" if family.type == "counter" else family.name)
            for sample in family.samples:
                self.samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """The value of one time series; 0 where there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def summed(self, name: str, by: str, **labels: str) -> Counter[str]:
        """The sums of a metric's series that have these labels, by the value of another label; none of 0."""
        found: Counter[str] = Counter()
        for (other, have), value in self.samples.items():
            every = dict(have)
            if other == name and labels.items() <= every.items() and value:
                found[every[by]] += int(value)
        return found

    def statuses(self, **labels: str) -> Mapping[str, int]:
        """How many calls have ended, by status."""
        return self.summed("grpc_server_call_duration_seconds_count", "grpc_status", **labels)

    def label_sets(self, name: str) -> int:
        """How many label sets a metric has."""
        return sum(other == name for other, _ in self.samples)
