from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from regularization_server.observability.endpoint import MOST_CONNECTIONS, MetricsEndpoint
from regularization_server.observability.instruments import Instruments
from regularization_server.settings import SettingInvalid

from tests.support.metrics import got

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNTER = "regularization_faults_total"


@pytest.fixture
def registry() -> CollectorRegistry:
    """All metrics, without a server."""
    registry = CollectorRegistry()
    Instruments(registry)
    return registry


@pytest.fixture
def endpoint(registry: CollectorRegistry) -> Iterator[MetricsEndpoint]:
    """An endpoint that serves."""
    endpoint = MetricsEndpoint("127.0.0.1:0", registry)
    endpoint.start()
    yield endpoint
    endpoint.stop()


def test_what_is_served(endpoint: MetricsEndpoint) -> None:
    """The metrics at /metrics, and nothing elsewhere."""
    status, text = got(endpoint.address)
    assert status == 200
    assert f"{COUNTER} 0.0" in text
    assert got(endpoint.address, "/metrics?name[]=regularization_faults_total")[0] == 200
    assert got(endpoint.address, "/secrets")[0] == 404


def test_a_unix_socket(registry: CollectorRegistry, tmp_path: Path) -> None:
    """It can be read over a file, which goes when the server does."""
    path = tmp_path / "metrics"
    endpoint = MetricsEndpoint(f"unix:{path}", registry)
    endpoint.start()
    assert COUNTER in got(endpoint.address)[1]
    endpoint.stop()
    assert not path.exists()


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:x", "unix-abstract:name", "unix:/no/such/s"])
def test_addresses_that_are_none(registry: CollectorRegistry, address: str) -> None:
    """The error is that of the setting."""
    with pytest.raises(SettingInvalid) as caught:
        MetricsEndpoint(address, registry)
    assert caught.value.setting == "metrics_listen"


def test_an_address_that_is_taken(registry: CollectorRegistry, endpoint: MetricsEndpoint) -> None:
    """Nobody listens where another does."""
    with pytest.raises(SettingInvalid, match="in use"):
        MetricsEndpoint(endpoint.address, registry)


def test_slow_clients_keep_nobody_out(endpoint: MetricsEndpoint) -> None:
    """Beside more silent connections than there may be, a look is answered: the oldest have to go."""
    host, _, port = endpoint.address.rpartition(":")
    with ExitStack() as opened:
        silent = [
            opened.enter_context(socket.create_connection((host, int(port))))
            for _ in range(2 * MOST_CONNECTIONS)
        ]
        silent[-1].sendall(b"GET /metrics HTT")
        assert COUNTER in got(endpoint.address)[1]
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b""
