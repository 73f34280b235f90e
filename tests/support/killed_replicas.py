"""Two replicas that are killed again and again, and a client that goes on."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from regularization_client import Client, L1Norm, RegularizationError, TopK

from tests.support.failpoints import ONCE, POINTS, Failpoint
from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.forked_servers import Forked, Nursery

ANYWHERE = "anywhere"
MOST_PASSINGS = 20
LATEST = 0.03
"""Seconds within which a server dies that is killed wherever it happens to be."""


@dataclass
class Report:
    """What came of it.

    Attributes:
        kills: How many servers were killed, by where.
        calls: How many calls had an answer.
        wrong: How many answers had another bit than those of a server that lives.
        failed: How many calls failed, by error.
        slowest: Seconds of the slowest call.
    """

    kills: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


def killed(nursery: Nursery, folder: Path, kills: int, calls: int, seed: int = 0) -> Report:
    """Make calls until so many have been answered and so many servers killed.

    Args:
        nursery: Forks the servers.
        folder: Has their sockets.
        kills: How many servers are to be killed at least.
        calls: How many calls are to be made at least.
        seed: Of where they are killed.
    """
    living = nursery.start(f"unix:{folder / 'living'}")
    with Client(living.address) as client:
        expected = [call(client) for call in CALLS]
    report = Report()
    doom = _Doom(nursery, folder, seed)
    with Client(doom.addresses, chunk_bytes=1 << 12) as client:
        while report.calls < calls or report.kills.total() < kills:
            which = report.calls % len(CALLS)
            began = time.monotonic()
            with doom.of_one() as place:
                try:
                    report.wrong += CALLS[which](client) != expected[which]
                except RegularizationError as error:
                    report.failed[type(error).__name__] += 1
                report.slowest = max(report.slowest, time.monotonic() - began)
            report.calls += 1
            report.kills[place] += doom.has_come
    return report


class _Doom:
    """Two replicas, one of which may die: each in its turn, for whoever has left one goes to the other.

    Attributes:
        addresses: Theirs.
        has_come: Whether the last that was to die has died.
    """

    def __init__(self, nursery: Nursery, folder: Path, seed: int) -> None:
        self.addresses = [f"unix:{folder / name}" for name in "ab"]
        self.has_come = False
        self._nursery = nursery
        self._random = random.Random(seed)  # noqa: S311 - the same fates each time
        self._replicas = deque(self._started(address) for address in self.addresses)

    @contextmanager
    def of_one(self) -> Iterator[str]:
        """Let one die in the block; the value is where. Both serve when it begins."""
        place, server = self._replicas[0]
        killing = threading.Timer(self._random.uniform(0, LATEST), server.signal, [signal.SIGKILL])
        if place == ANYWHERE:
            killing.start()
        else:
            self._fuse_of(server.address).touch()
        yield place.rpartition(".")[2]
        if place == ANYWHERE:
            killing.join()
            until(lambda: not server.is_alive)
        self._fuse_of(server.address).unlink(missing_ok=True)
        self.has_come = not server.is_alive
        if self.has_come:
            self._replicas.append(self._started(server.address))
            self._replicas.popleft()

    def _started(self, address: str) -> tuple[str, Forked]:
        """A server that serves, and the place where it will die."""
        place = self._random.choice([*POINTS, ANYWHERE])
        passing = 1 if place in ONCE else self._random.randint(1, MOST_PASSINGS)
        fuse = os.fspath(self._fuse_of(address))
        point = None if place == ANYWHERE else Failpoint(place, "kill", passing, armed_by=fuse)
        return place, self._nursery.start(address, failpoint=point)

    @staticmethod
    def _fuse_of(address: str) -> Path:
        """Where a file lets the server at the address die."""
        return Path(address.removeprefix("unix:") + ".fuse")


def _theta(size: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(3).standard_normal(size).astype(np.float32)


def _calls() -> Iterator[Callable[[Client], object]]:
    long, short, l1 = _theta(1 << 15), _theta(100), L1Norm(strength=0.1)

    def step(client: Client) -> object:
        result = client.proximal_step(long, l1, step_size=1.0)
        return result.parameters.tobytes(), result.exact_penalty

    def whole(client: Client) -> object:
        return client.proximal_step(long, TopK(count=100), step_size=1.0).parameters.tobytes()

    def gradient(client: Client) -> object:
        return client.gradient(long, l1).gradient.tobytes()

    def penalty(client: Client) -> object:
        return client.penalty(long, l1).exact_penalty

    def small(client: Client) -> object:
        return client.proximal_step(short, l1, step_size=1.0).parameters.tobytes()

    yield from (step, gradient, whole, penalty, small)


CALLS = tuple(_calls())
"""Of every method and length; what they give is compared bit by bit."""
