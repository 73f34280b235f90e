"""What all benchmarks share: interleaved rounds, medians with spread, machine facts, tables."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

T = TypeVar("T")

KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30
CHUNK_BYTES = MEBIBYTE

# A file or a pipe has no width of its own, and rich would take 80.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure from each round: reported as the median, with the least and the greatest.

    Args:
        values: The figures, in the order of the rounds.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        """The least one: of times, that of the round which was disturbed least."""
        return min(self.values)

    def __truediv__(self, other: Spread) -> Spread:
        return Spread(tuple(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def map(self, function: Callable[[float], float]) -> Spread:
        """Applies a function to every round's figure."""
        return Spread(tuple(function(value) for value in self.values))

    def text(self, pattern: str = ".2f") -> str:
        """Writes ``median (least–greatest)``; one figure alone as it is."""
        if len(self.values) == 1:
            return format(self.median, pattern)
        low, middle, high = (format(v, pattern) for v in (min(self.values), self.median, max(self.values)))
        return f"{middle} ({low}–{high})"  # noqa: RUF001 - a range is written with an en dash


def interleaved(rounds: int, cases: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Runs every case once a round, after one round that is thrown away.

    What disturbs the machine for a while then disturbs every case, and a ratio within a round stays fair.
    Every other round runs backwards, so that no case always follows the same one.

    Args:
        rounds: Number of rounds that count.
        cases: What to run, by name.

    Returns:
        What each case returned, by name, in the order of the rounds.
    """
    results: dict[str, list[T]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        order = list(cases) if number % 2 else list(cases)[::-1]
        for name in order:
            result = cases[name]()
            if number:
                results[name].append(result)
    return results


def seconds(function: Callable[[], object]) -> float:
    """Runs a function once and returns the seconds it took."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(rounds: int, cases: Mapping[str, Callable[[], object]]) -> dict[str, Spread]:
    """Times every case once a round; see `interleaved`."""

    def timer(case: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds(case)

    runs = interleaved(rounds, {name: timer(case) for name, case in cases.items()})
    return {name: Spread(tuple(values)) for name, values in runs.items()}


def latencies(
    rounds: int, calls: int, cases: Mapping[str, Callable[[], object]]
) -> dict[str, tuple[Spread, Spread]]:
    """Times every case call by call, many calls a round.

    Args:
        rounds: Number of rounds that count.
        calls: Calls of each case in a round.
        cases: What to call, by name.

    Returns:
        For each case, the spread over the rounds of the round's p50 and of its p99, in seconds.
    """

    def burst(case: Callable[[], object]) -> Callable[[], tuple[float, float]]:
        def run() -> tuple[float, float]:
            times = [seconds(case) for _ in range(calls)]
            return float(np.percentile(times, 50)), float(np.percentile(times, 99))

        return run

    runs = interleaved(rounds, {name: burst(case) for name, case in cases.items()})
    return {
        name: (Spread(tuple(p50 for p50, _ in pairs)), Spread(tuple(p99 for _, p99 in pairs)))
        for name, pairs in runs.items()
    }


def rate(elapsed: Spread, size: int) -> str:
    """Writes how many GiB/s a pass over ``size`` bytes makes."""
    return elapsed.map(lambda value: size / value / GIBIBYTE).text()


def random_chunks(size: int, chunk_size: int = CHUNK_BYTES, seed: int = 0) -> list[bytes]:
    """Makes ``size`` bytes of normally distributed float32 numbers, cut into chunks."""
    values = np.random.default_rng(seed).standard_normal(size // 4, dtype=np.float32)
    step = chunk_size // 4
    return [values[begin : begin + step].tobytes() for begin in range(0, values.size, step)]


def machine() -> str:
    """Says in one line which machine and which versions the figures are of."""
    model = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("grpcio", "protobuf", "numpy"))
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / GIBIBYTE
    load = os.getloadavg()[0]
    return (
        f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}; load {load:.1f}"
    )


def heading(title: str, explanation: str, rounds: int | None = None) -> None:
    """Prints a benchmark's title, what it times, and on which machine.

    Args:
        title: The title.
        explanation: What it times, in words; they are wrapped anew.
        rounds: How many rounds the figures are of; None for a single run.
    """
    console.print()
    console.rule(f"[bold]{title}", align="left")
    console.print(" ".join(explanation.split()))
    if rounds is not None:
        console.print(f"Figures are the median of {rounds} interleaved rounds (least–greatest).")  # noqa: RUF001
    console.print(f"[dim]{machine()}")


def milliseconds(elapsed: Spread) -> str:
    """Writes seconds as milliseconds."""
    return elapsed.map(lambda value: value * 1e3).text()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table whose first column is words and whose others are figures."""
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console.print(table)
