"""Streams a long vector through a server: ``python -m benchmarks.harness.stream``, a process of its own.

It prints ``ready`` after a short call, waits for a line, makes the long one, prints ``done`` and ends.
"""

from __future__ import annotations

import argparse
import mmap
import sys

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH
from benchmarks.harness.measure import MEBIBYTE

SHORT_BYTES = 64 * MEBIBYTE
LET_GO_BYTES = 4 * MEBIBYTE


def step(client: Client, size: int) -> None:
    """Take one proximal step of so many bytes, without keeping the result."""
    parameters = np.frombuffer(_memory(size), np.float32)
    results = _memory(size)
    given_back = 0

    def give_back(done: int, _: int) -> None:
        nonlocal given_back
        if 4 * done - given_back >= LET_GO_BYTES:
            end = 4 * done // mmap.PAGESIZE * mmap.PAGESIZE
            results.madvise(mmap.MADV_DONTNEED, given_back, end - given_back)
            given_back = end

    client.proximal_step(
        parameters,
        L1Norm(strength=STRENGTH),
        step_size=STEP_SIZE,
        out=np.frombuffer(results, np.float32),
        progress=give_back,
        sparse=False,
    )


def _memory(size: int) -> mmap.mmap:
    """Memory that takes room only where it is written to."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def main() -> None:
    """Stream as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--bytes", type=int, required=True)
    arguments = parser.parse_args()
    with Client(arguments.address, timeout=None) as client:
        step(client, SHORT_BYTES)
        print("ready", flush=True)
        sys.stdin.readline()
        step(client, arguments.bytes)
        print("done", flush=True)


if __name__ == "__main__":
    main()
