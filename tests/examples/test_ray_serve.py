"""The page for Ray Serve, without a cluster: its replica and its caller; tests/full_size has the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from regularization_client import Client, L1Norm, Retry, UnavailableError
from regularization_server import Server, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("ray.serve", reason="Ray is not installed: pip install 'ray[serve]'")

from examples import ray_serve

ONCE = Retry(attempts=1)
Replica = ray_serve.Regularization.func_or_class


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is not the replica's: it keeps its environment, its memory and its loops as they are."""
    monkeypatch.setattr(ray_serve, "prepare", lambda: None)
    monkeypatch.setattr(ray_serve, "make_loops_ready", lambda *_: None)
    monkeypatch.setattr(ray_serve.ray.util, "get_node_ip_address", lambda: "127.0.0.1")


@pytest.fixture
def replica() -> Iterator[ray_serve.Regularization]:
    """A replica as Serve makes it."""
    made = Replica("--max-concurrent-calls", "7")
    yield made
    made.__del__()


def test_a_replica_serves_where_it_says(replica: ray_serve.Regularization) -> None:
    """On a free port, and its health says so."""
    replica.check_health()
    with Client(replica.address()) as client:
        step = client.proximal_step(np.array([0.75, -0.25]), L1Norm(strength=0.25), step_size=1.0)
    assert step.parameters.tolist() == [0.5, 0.0]


def test_settings_are_the_command_s(
    replica: ray_serve.Regularization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags first, then the environment."""
    monkeypatch.setenv("REGULARIZATION_MAX_CONCURRENT_CALLS", "9")
    monkeypatch.setenv("REGULARIZATION_MEMORY_BUDGET", "64MiB")
    settings = ray_serve.settings_of(("--max-concurrent-calls", "8"))
    assert (settings.max_concurrent_calls, settings.memory_budget) == (8, 64 * 2**20)
    assert replica.server.settings.max_concurrent_calls == 7


def test_a_replica_that_does_not_serve_is_found_out(replica: ray_serve.Regularization) -> None:
    """Its health check fails, so that Serve replaces it."""
    replica.server.stop(grace=0)
    with pytest.raises(RuntimeError, match="UNAVAILABLE"):
        replica.check_health()


def test_a_replica_stops_once(replica: ray_serve.Regularization) -> None:
    """Serve calls ``__del__``, and so may Python; nobody answers afterwards."""
    address = replica.address()
    replica.__del__()
    replica.__del__()
    with Client(address, retry=ONCE) as client, pytest.raises(UnavailableError):
        client.penalty(np.ones(2), L1Norm(strength=1.0))


def test_a_caller_asks_again_where_no_replica_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before, within the time for which it takes addresses for good."""
    asked = []
    servers = [Server(Settings(listen=("127.0.0.1:0",))) for _ in range(2)]

    def addresses() -> list[str]:
        asked.append(servers[0].addresses[0])
        return asked[-1:]

    monkeypatch.setattr(ray_serve, "addresses", addresses)
    caller = ray_serve.Replicas(seconds=3600, retry=ONCE)

    def penalty(client: Client) -> float:
        return client.penalty(np.ones(2), L1Norm(strength=1.0)).penalty

    servers[0].start()
    assert [caller.call(penalty) for _ in range(2)] == [2.0, 2.0]
    servers.pop(0).stop(grace=0)
    with servers[0]:
        assert caller.call(penalty) == 2.0
        assert len(set(asked)) == len(asked) == 2
        caller.close()
