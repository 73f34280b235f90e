"""One case of a comparison: checked once, then timed with the processor time of both sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness.measure import GIBIBYTE, Spread, interleaved
from benchmarks.harness.servers import ServerProcess

AnyVector = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A way to do the work.

    Args:
        call: Does it; a result that is not in `result` is what it returns.
        size: How many bytes of parameters go through.
        server: The process that does the arithmetic; None for this one.
        result: The array that it leaves the result in.
        expected: What the result must be; None where the call is no proximal step of the parameters.
    """

    call: Callable[[], object]
    size: int
    server: ServerProcess | None = None
    result: AnyVector | None = None
    expected: AnyVector | float | None = None

    def check(self, name: str) -> None:
        """Do it once.

        Raises:
            RuntimeError: If the result is wrong.
        """
        if self.result is not None:
            self.result.fill(np.nan)
        returned = self.call()
        result = returned if self.result is None else self.result
        if isinstance(self.expected, float):
            right = isinstance(result, float) and bool(np.isclose(result, self.expected, rtol=1e-5))
        else:
            right = self.expected is None or bool(np.array_equal(np.asarray(result), self.expected))
        if not right:
            raise RuntimeError(f"{name} gives a wrong result")


@dataclass(frozen=True, slots=True)
class Timing:
    """What a case took for each GiB of parameters.

    Args:
        seconds: In each round.
        caller: Processor seconds of this process, over all rounds.
        server: Processor seconds of the server's process, over all rounds; None where there is none.
    """

    seconds: Spread
    caller: float
    server: float | None

    @property
    def rate(self) -> Spread:
        """GiB of parameters in a second."""
        return self.seconds.map(lambda value: 1 / value)

    def times(self, other: Timing) -> Spread:
        """How many times as fast as another it was, round by round."""
        return other.seconds / self.seconds

    def best_times(self, other: Timing) -> float:
        """How many times as fast as another, each in its best round."""
        return other.seconds.best / self.seconds.best


def timings(rounds: int, cases: Mapping[str, Case]) -> dict[str, Timing]:
    """Time every case once a round; see `interleaved`."""
    measured = interleaved(rounds, {name: _timer(case) for name, case in cases.items()})
    found = {}
    for name, figures in measured.items():
        gibibytes = cases[name].size / GIBIBYTE
        elapsed, caller, server = (tuple(column) for column in zip(*figures, strict=True))
        scale = 1 / (gibibytes * len(figures))
        found[name] = Timing(
            Spread(tuple(value / gibibytes for value in elapsed)),
            sum(caller) * scale,
            sum(server) * scale if cases[name].server else None,
        )
    return found


def _timer(case: Case) -> Callable[[], tuple[float, float, float]]:
    def used() -> float:
        return case.server.processor_seconds if case.server else 0.0

    def run() -> tuple[float, float, float]:
        server, caller, start = used(), time.process_time(), time.perf_counter()
        case.call()
        elapsed = time.perf_counter() - start
        return elapsed, time.process_time() - caller, used() - server

    return run
