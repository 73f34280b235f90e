"""Fifty kills of replicas that Ray Serve keeps, each in the middle of a call; and how fast calls to one go.

Run it with ``python -m tests.full_size.ray_serve``; it needs ``ray[serve]``, starts a cluster of its own on
this host, and takes minutes. The caller is the one of examples/ray_serve.py.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from regularization_client import Client, L1Norm

from tests.support.processes import serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regularization_client import ProximalStepResult

    Array = np.ndarray[Any, np.dtype[np.float32]]

# Ray reads these when it is imported. It tells nobody of this run, and keeps its key in no home.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # Its workers are nicer than others by 15, and would wait for their callers on a host that both share.
    "RAY_worker_niceness": "0",
}
import ray
from ray import serve

from examples import ray_serve

KILLS = 50
REPLICAS = 2
PLACES = 8
"""At how many places of a call, one after the other."""
ELEMENTS = 8_000_000
ROUNDS = 15
ELEMENTS_IN_A_ROUND = 2**24
"""64 MiB of float32."""
SECONDS_TO_REPLACE = 60


def main() -> None:
    """Do both, and say what came of it."""
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)):
        (Path(name) / "plain").mkdir()
        for way, found in throughput(Path(name) / "plain").items():
            print(f"{way}: median {median(found):.0f} MiB/s, best {max(found):.0f}", flush=True)
        killed(KILLS)


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """A cluster on this host with the replicas of the example, and nothing left of it."""
    os.environ["XDG_CACHE_HOME"] = str(folder)  # a replica's machine code, for those in its place
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100 * 2**20,
        _temp_dir=str(folder),
    )
    try:
        serve.start(http_options={"location": "NoServer"})
        serve.run(ray_serve.application, name=ray_serve.APPLICATION, route_prefix=None)
        yield
        serve.shutdown()
    finally:
        ray.shutdown()


def throughput(folder: Path) -> dict[str, list[float]]:
    """MiB of parameters a second, of proximal steps in turn to a replica and to a server by itself."""
    x = np.random.default_rng(0).normal(size=ELEMENTS_IN_A_ROUND).astype(np.float32)
    out = np.empty_like(x)
    address = ray_serve.addresses()[0]
    host = address.rpartition(":")[0]
    with (
        serving(folder, address=f"{host}:{_free_port(host)}") as plain,
        Client(plain.address) as by_itself,
        Client(address) as of_serve,
    ):
        speeds: dict[str, list[float]] = {"by itself": [], "of Ray Serve": []}
        for turn in range(ROUNDS + 2):
            for found, client in zip(speeds.values(), (by_itself, of_serve), strict=True):
                begun = time.monotonic()
                client.proximal_step(x, L1Norm(strength=0.1), step_size=1.0, out=out)
                if turn >= 2:
                    found.append(x.nbytes / 2**20 / (time.monotonic() - begun))
    return speeds


def killed(kills: int) -> None:
    """Make calls in each of which the replica that has it is killed, and say what came of them."""
    x = np.random.default_rng(1).normal(size=ELEMENTS).astype(np.float32)
    with Client() as alone:
        expected = alone.proximal_step(x, L1Norm(strength=0.1), step_size=1.0).parameters.tobytes()
    right, absences = 0, []
    calls: dict[str, list[float]] = {"by a replica that was known": [], "by one that was asked for": []}
    caller = ray_serve.Replicas()
    for kill in range(kills):
        doom = _Doom((2 + kill % PLACES) / (PLACES + 4))
        begun = time.monotonic()
        got = caller.call(partial(_step, x, doom))
        calls[list(calls)[doom.called_again]].append(time.monotonic() - begun)
        right += got.parameters.tobytes() == expected
        until(lambda: len(ray_serve.addresses()) == REPLICAS, SECONDS_TO_REPLACE)
        absences.append(time.monotonic() - doom.came)
    caller.close()
    print(f"{kills} kills: {right} answers right to the bit")
    for name, found in {**calls, "replaced": absences}.items():
        print(f"{name}: {len(found)}, {_told(found)}")


def _told(seconds: list[float]) -> str:
    return f"median {median(seconds):.1f} s, longest {max(seconds):.1f} s" if seconds else "none"


def _step(x: Array, doom: _Doom, client: Client) -> ProximalStepResult[Array]:
    return client.proximal_step(x, L1Norm(strength=0.1), step_size=1.0, progress=doom)


class _Doom:
    """Kills the replica that has a call, once so much of it is done; it is told of the call's progress.

    Attributes:
        came: When it did; 0 before.
        called_again: Whether the client had no replica left, and the call was made with another.

    Args:
        share: Of the elements, from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self.came = 0.0
        self.called_again = False
        self._share = share
        self._done = 0
        self._replicas = _replicas()
        self._before: dict[psutil.Process, int] = {}

    def __call__(self, done: int, elements: int) -> None:
        if not self._before:
            self._before = {each: _nanoseconds(each) for each in self._replicas}
        # A client that makes a call again goes on from where it was.
        self.called_again |= done < self._done
        self._done = done
        if not self.came and done >= self._share * elements:
            self.came = time.monotonic()
            # The one that has computed since.
            max(self._replicas, key=lambda each: _nanoseconds(each) - self._before[each]).kill()


def _replicas() -> list[psutil.Process]:
    """Their processes."""
    ports = {int(address.rpartition(":")[2]) for address in ray_serve.addresses()}
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any(each.laddr.port in ports for each in process.net_connections() if each.status == "LISTEN")
    ]


def _nanoseconds(process: psutil.Process) -> int:
    """Processor time that its threads have taken: the process's own is told in hundredths of a second."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads)


def _free_port(host: str) -> int:
    with socket.socket() as listening:
        listening.bind((host, 0))
        port: int = listening.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
