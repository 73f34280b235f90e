"""Resident memory of both sides while much more than they hold streams through.

Run it with ``python -m benchmarks.subjects.memory``.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import psutil

from benchmarks.harness.measure import GIBIBYTE, MEBIBYTE, Spread, console, heading, print_table
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import regularization_server, started

STREAM_BYTES = 8 * GIBIBYTE
QUICK_BYTES = GIBIBYTE
INTERVAL = 0.02
CALLER, SERVER = "caller", "server"


@dataclass(frozen=True, slots=True)
class Streaming:
    """What came out.

    Args:
        start: Resident bytes of the server that has not done anything yet.
        before: Resident bytes of each side before the call.
        samples: And during it, every so often.
        elapsed: How many seconds the call took.
        size: How many bytes went through.
    """

    start: int
    before: dict[str, int]
    samples: dict[str, list[int]]
    elapsed: float
    size: int

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        return [
            Aim(f"MiB by which the {side} grows while streaming", 64.0, Spread((self.growth(side),)), False)
            for side in self.before
        ]

    def growth(self, side: str) -> float:
        """By how many MiB a side grew at most."""
        return (max(self.samples[side]) - self.before[side]) / MEBIBYTE


def resident(process: psutil.Process) -> int:
    """Its resident memory in bytes."""
    return int(process.memory_info().rss)


def private(process: psutil.Process) -> int:
    """Its resident memory in bytes, without what it shares with others."""
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


class Sampler:
    """Reads the memory of processes every 20 ms while it is entered.

    Args:
        processes: The processes, by name.
        memory: What is read of each.
    """

    def __init__(
        self,
        processes: dict[str, psutil.Process],
        memory: Callable[[psutil.Process], int] = resident,
    ) -> None:
        self._memory = memory
        self.samples: dict[str, list[int]] = {name: [] for name in processes}
        self._processes = processes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._done.wait(INTERVAL):
            for name, process in self._processes.items():
                self.samples[name].append(self._memory(process))

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()


def run(*, quick: bool = False) -> Streaming:
    """Streams once and prints the table."""
    size = QUICK_BYTES if quick else STREAM_BYTES
    heading(
        "Memory: both sides while a long stream goes through",
        f"""
        One Client.proximal_step of L1 with all figures over {size / GIBIBYTE:g} GiB of float32, over the
        wire, in a process of its own, whose vector is memory that was never written to, and which gives the
        pages of the result back as they come, so that neither counts. Before, it makes a call over 64 MiB,
        so that both sides have what every call needs. Resident memory is read every 20 ms. One stream, so
        no spread.
        """,
    )
    with started(regularization_server) as server:
        idle = server.resident
        command = [
            sys.executable,
            "-m",
            "benchmarks.harness.stream",
            f"--address={server.address}",
            f"--bytes={size}",
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
            if caller.stdin is None or caller.stdout is None or caller.stdout.readline() != "ready\n":
                raise RuntimeError("the caller did not get ready")
            server.settle()
            processes = {CALLER: psutil.Process(caller.pid), SERVER: psutil.Process(server.process.pid)}
            before = {name: process.memory_info().rss for name, process in processes.items()}
            start = time.perf_counter()
            with Sampler(processes) as sampler:
                print("go", file=caller.stdin, flush=True)
                if caller.stdout.readline() != "done\n":
                    raise RuntimeError("the caller did not finish")
            elapsed = time.perf_counter() - start
    found = Streaming(idle, before, sampler.samples, elapsed, size)
    _print(found)
    return found


def _print(found: Streaming) -> None:
    rows = []
    for side, samples in found.samples.items():
        quarter = max(samples[: len(samples) // 4])
        figures = (found.before[side], quarter, max(samples))
        rows.append([side, *(f"{value / MEBIBYTE:.1f}" for value in figures), f"{found.growth(side):.1f}"])
    rate = found.size / found.elapsed / GIBIBYTE
    console.print(f"A server that has not been called yet: {found.start / MEBIBYTE:.0f} MiB.")
    title = f"Resident MiB; {found.elapsed:.1f} s, {rate:.2f} GiB/s"
    print_table([title, "before", "most in the first quarter", "most", "growth"], rows)


if __name__ == "__main__":
    run_alone(run, __doc__)
