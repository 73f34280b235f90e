"""Envoy, as docker/envoy sets it up, before replicas on this host; it needs PyYAML."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from regularization_client import Client, L1Norm, Retry

from examples.web import serve
from tests.support.processes import ServerProcess, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVOY = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
ELEMENTS = 8_000_000


@dataclass
class Fronted:
    """Replicas behind an Envoy.

    Attributes:
        folder: Of their files.
        port: Envoy's.
        replicas: The replicas' ports, and each one's process.
    """

    folder: Path
    port: int
    replicas: dict[int, ServerProcess] = field(default_factory=dict)


@contextmanager
def before_replicas(folder: Path, count: int) -> Iterator[Fronted]:
    """An Envoy before so many replicas, once it knows that all serve."""
    ports = [serve.free_port() for _ in range(count)]
    front = serve.free_port()
    fronted = Fronted(folder, front)
    with ExitStack() as stack:
        for port in ports:
            fronted.replicas[port] = stack.enter_context(_replica(folder, port))
        stack.enter_context(serve.envoy(folder, ports, front))
        yield fronted


@contextmanager
def _replica(folder: Path, port: int) -> Iterator[ServerProcess]:
    own = folder / str(port)
    own.mkdir(exist_ok=True)
    with serving(own, address=f"127.0.0.1:{port}") as server:
        yield server


@dataclass
class Calls:
    """What came of calls beside which replicas were killed.

    Attributes:
        right: How many answers had the bits of a server by itself.
        seconds: How long each took.
    """

    right: int = 0
    seconds: list[float] = field(default_factory=list)


def calls_beside_kills(folder: Path, kills: int) -> Calls:
    """Make calls through an Envoy before two replicas; in the middle of each, one of them is killed."""
    x = np.random.default_rng(1).normal(size=ELEMENTS).astype(np.float32)
    with Client() as alone:
        expected = alone.proximal_step(x, L1Norm(strength=0.1), step_size=1.0).parameters.tobytes()
    calls = Calls()
    with (
        before_replicas(folder, 2) as fronted,
        ExitStack() as restarted,
        Client(f"127.0.0.1:{fronted.port}", retry=Retry(attempts=8)) as client,
    ):
        ports = list(fronted.replicas)
        for kill in range(kills):
            victim = ports[kill % 2]
            process = fronted.replicas[victim].process
            timer = threading.Timer(0.02 * (1 + kill % 4), process.kill)
            timer.start()
            begun = time.monotonic()
            got = client.proximal_step(x, L1Norm(strength=0.1), step_size=1.0)
            calls.seconds.append(time.monotonic() - begun)
            calls.right += got.parameters.tobytes() == expected
            timer.join()
            process.wait()
            fronted.replicas[victim] = restarted.enter_context(_replica(folder, victim))
    return calls
