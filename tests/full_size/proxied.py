"""Fifty kills of replicas behind Envoy, each in the middle of a call; and how fast calls go through it.

Run it with ``python -m tests.full_size.proxied``; it needs the extra ``deployment``, and takes minutes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from regularization_client import Client, L1Norm

from tests.support.envoy import before_replicas, calls_beside_kills

KILLS = 50
ROUNDS = 15
ELEMENTS = 2**24
"""64 MiB of float32."""


def main() -> None:
    """Do both, and say what came of it."""
    with tempfile.TemporaryDirectory() as name:
        speeds = throughput(Path(name))
    for way, found in speeds.items():
        print(f"{way}: median {median(found):.0f} MiB/s, best {max(found):.0f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        calls = calls_beside_kills(Path(name), KILLS)
    took = f"median {median(calls.seconds):.1f} s, longest {max(calls.seconds):.1f} s"
    print(f"{KILLS} kills: {calls.right} answers right to the bit, {took}")


def throughput(folder: Path) -> dict[str, list[float]]:
    """MiB of parameters a second, of proximal steps in turn through Envoy and directly, after one of each."""
    x = np.random.default_rng(0).normal(size=ELEMENTS).astype(np.float32)
    out = np.empty_like(x)
    with (
        before_replicas(folder, 1) as fronted,
        Client(f"127.0.0.1:{fronted.port}") as through,
        Client(f"127.0.0.1:{next(iter(fronted.replicas))}") as direct,
    ):
        speeds: dict[str, list[float]] = {"direct": [], "through Envoy": []}
        for turn in range(ROUNDS + 1):
            for found, client in zip(speeds.values(), (direct, through), strict=True):
                begun = time.monotonic()
                client.proximal_step(x, L1Norm(strength=0.1), step_size=1.0, out=out)
                if turn:
                    found.append(x.nbytes / 2**20 / (time.monotonic() - begun))
    return speeds


if __name__ == "__main__":
    main()
