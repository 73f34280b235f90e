"""Replicas that are killed at every place of a call: each call has its answer, to the bit."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from regularization_client import Client, L1Norm, Retry, UnavailableError

from tests.support.failpoints import CHUNK_FED, HEADER_READ, POINTS, Failpoint
from tests.support.forked_servers import Nursery, nursery
from tests.support.killed_replicas import CALLS, killed
from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

THETA = np.random.default_rng(6).standard_normal(1 << 14).astype(np.float32)
L1 = L1Norm(strength=0.1)
KILLS = 6


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """What forks servers."""
    with nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


def test_a_killed_server_costs_no_answer(servers: Nursery, socket_folder: Path) -> None:
    """Two replicas die at all places, one after the other; the answers have the bits of one that lives."""
    report = killed(servers, socket_folder, KILLS, len(CALLS))
    assert sum(report.kills.values()) >= KILLS
    assert report.calls >= len(CALLS)
    assert (report.wrong, dict(report.failed)) == (0, {})


@pytest.mark.parametrize("place", POINTS, ids=lambda name: name.rpartition(".")[2])
def test_a_server_dies_where_it_is_told_to(servers: Nursery, socket_folder: Path, place: str) -> None:
    """Each place is on the way of a call: without another attempt, the call breaks off there."""
    server = servers.start(f"unix:{socket_folder / 's'}", failpoint=Failpoint(place, "kill"))
    with Client(server.address, retry=Retry(attempts=1)) as client, pytest.raises(UnavailableError):
        client.proximal_step(THETA, L1, step_size=1.0)
    until(lambda: not server.is_alive)


def test_a_place_may_be_passed_before_it_counts(servers: Nursery, socket_folder: Path) -> None:
    """At the third chunk two have been answered; the others have their answers of the next attempt."""
    address = f"unix:{socket_folder / 's'}"
    server = servers.start(address, failpoint=Failpoint(CHUNK_FED, "kill", 3))
    progress: list[int] = []

    def go_on(done: int, total: int) -> None:
        if not progress:
            until(lambda: not server.is_alive)
            servers.start(address)
        progress.append(done)

    with Client(address, chunk_bytes=1 << 12) as client:
        step = client.proximal_step(THETA, L1, step_size=1.0, progress=go_on)
        again = client.proximal_step(THETA, L1, step_size=1.0)
    assert step.parameters.tobytes() == again.parameters.tobytes()
    assert progress == sorted(set(progress))


def test_a_server_that_stops_in_a_call_is_left_for_another(servers: Nursery, socket_folder: Path) -> None:
    """It stops by itself, as a debugger or a frozen container would stop it, and is not waited for."""
    point = Failpoint(HEADER_READ, "stop")
    stopped = servers.start(f"unix:{socket_folder / 'a'}", failpoint=point)
    other = servers.start(f"unix:{socket_folder / 'b'}")
    patience = 1.0
    with Client([stopped.address, other.address], retry=Retry(longest_silence=patience)) as client:
        took = []
        for _ in range(4):
            began = time.monotonic()
            assert client.proximal_step(THETA, L1, step_size=1.0).elements == THETA.size
            took.append(time.monotonic() - began)
    stopped.signal(signal.SIGCONT)
    assert sum(each > patience / 2 for each in took) == 1
    assert max(took) < 20 * patience


def test_a_server_that_only_takes_its_time_is_waited_for(servers: Nursery, socket_folder: Path) -> None:
    """A tenth of the time after which it would be left for another, once."""
    point = Failpoint(HEADER_READ, "wait")
    slow = servers.start(f"unix:{socket_folder / 's'}", failpoint=point)
    with Client(slow.address, retry=Retry(attempts=1)) as client:
        began = time.monotonic()
        assert client.proximal_step(THETA, L1, step_size=1.0).elements == THETA.size
    assert time.monotonic() - began >= 0.2
