"""The server's resident memory while much more than it holds streams through.

Run it with ``python -m benchmarks.memory``.
"""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType

from benchmarks.measure import (
    CHUNK_BYTES,
    GIBIBYTE,
    MEBIBYTE,
    ServerProcess,
    heading,
    print_table,
    random_chunks,
    regularization_server,
    run_alone,
    started,
)
from benchmarks.requests import StubClient, proximal_step_requests

STREAM_BYTES = 4 * GIBIBYTE
QUICK_BYTES = GIBIBYTE // 2
INTERVAL = 0.02


class Sampler:
    """Reads a process's resident memory every 20 ms while it is entered.

    Args:
        server: The process.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.samples: list[int] = []
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._done.wait(INTERVAL):
            self.samples.append(self._server.resident)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()


def run(*, quick: bool = False) -> None:
    """Streams once and prints the table."""
    size = QUICK_BYTES if quick else STREAM_BYTES
    heading(
        "Memory: the server while a long stream goes through",
        f"""
        One ProximalStep of L1 with all figures over {size / GIBIBYTE:g} GiB of float32 in 1 MiB chunks,
        through the generated stub; the client sends the same megabyte again and again and keeps no
        answer. The resident memory of the regularization-server process is read every 20 ms. One stream,
        so no spread.
        """,
    )
    chunk = random_chunks(CHUNK_BYTES)[0]
    with started(regularization_server) as server, StubClient(server.address) as stub:
        before = server.resident
        start = time.perf_counter()
        with Sampler(server) as sampler:
            stub(proximal_step_requests(itertools.repeat(chunk, size // CHUNK_BYTES), size))
        elapsed = time.perf_counter() - start
    samples = sampler.samples
    quarter = max(samples[: len(samples) // 4])
    rows = [
        ["before", f"{before / MEBIBYTE:.1f}"],
        ["greatest in the first quarter of the stream", f"{quarter / MEBIBYTE:.1f}"],
        ["greatest", f"{max(samples) / MEBIBYTE:.1f}"],
        ["growth: greatest less before", f"{(max(samples) - before) / MEBIBYTE:.1f}"],
    ]
    print_table([f"Resident memory, {len(samples)} samples in {elapsed:.1f} s", "MiB"], rows)


if __name__ == "__main__":
    run_alone(run, __doc__)
