"""The same vector through everything that could do the work, side by side.

Run it with ``python -m benchmarks.subjects.comparison``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from regularization_kernels import compilation

from benchmarks.harness.arithmetic import STRENGTH
from benchmarks.harness.cases import Case, Timing, timings
from benchmarks.harness.measure import MEBIBYTE, Spread, console, heading, print_table
from benchmarks.harness.report import Aim, run_alone
from benchmarks.rivals import in_process
from benchmarks.rivals.in_process import CORES, ONE_LINER, fused
from benchmarks.rivals.remote import (
    ECHO,
    FLIGHT,
    OURS,
    REPEATED_SHARE,
    SHARED,
    SHARED_FIGURES,
    WIRE_FIGURES,
    WIRE_TWO,
    Remote,
)

PAYLOAD_BYTES = 256 * MEBIBYTE
QUICK_BYTES = 32 * MEBIBYTE
ROUNDS, QUICK_ROUNDS = 5, 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out.

    Args:
        step: Of the proximal step, by case.
        penalty: Of the penalty, by case.
        sparse_bytes: Of a result with 95 % zeros, sparse bytes for each dense one.
    """

    step: dict[str, Timing]
    penalty: dict[str, Timing]
    sparse_bytes: float

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        aims = [
            self._aim(SHARED, ONE_LINER, 5.0),
            self._aim(SHARED_FIGURES, ONE_LINER, 3.5),
            self._aim(SHARED, fused(CORES, figures=False), 0.85),
            self._aim(SHARED_FIGURES, fused(CORES, figures=True), 0.85),
        ]
        flight = [FLIGHT] if FLIGHT in self.step else []
        aims += [self._aim(SHARED, other, 8.0) for other in flight]
        for ours in (WIRE_FIGURES, WIRE_TWO):
            aims.append(self._aim(ours, ECHO, 0.9))
            aims += [self._aim(ours, other, 1.0) for other in flight]
        sparse = Spread((self.sparse_bytes,))
        return [*aims, Aim("bytes of a result with 95 % zeros / dense", 0.09, sparse, at_least=False)]

    def _aim(self, ours: str, theirs: str, bound: float) -> Aim:
        mine, other = self.step[ours], self.step[theirs]
        words = f"rate: {ours} / {theirs}"
        return Aim(words, bound, mine.times(other), best=mine.best_times(other))


def run(*, quick: bool = False) -> Comparison:
    """Measures everything and prints the tables."""
    size, rounds = (QUICK_BYTES, QUICK_ROUNDS) if quick else (PAYLOAD_BYTES, ROUNDS)
    heading(
        "Comparison: the L1 proximal step and the penalty, by whatever could do it",
        f"""
        {size // MEBIBYTE} MiB of float32. In process: the expression that one writes with NumPy, the same
        operations into memory that is used again, PyTorch, the project's kernel ("fused"), a copy. Over a
        Unix socket, each server a process of its own: an echo in grpcio without serializers and without
        arithmetic, Arrow Flight DoExchange, two plain services through protobuf objects (repeated float: of
        {size // MEBIBYTE // REPEATED_SHARE} MiB), and a bare socket; all but the echo do the same soft
        threshold, without figures, in the cache. Ours, in bold: a regularization-server process with
        default settings, called by Client on arrays, over the wire in chunks and in shared memory; float16
        is as many elements in half the bytes, its rate in bytes of float32. Every case leaves the result in
        an array that is used again, but the first echo, which only counts bytes, the one-liner and PyTorch,
        which make new arrays. Columns 2 to 4 are ratios of rates: medians of the rounds' own ratios, and
        "best" that of the best rounds of either, which fresh pages and neighbours disturb least. CPU is
        processor seconds for each GiB, of the caller and of the server.
        """,
        rounds,
    )
    missing = [name for name in ("pyarrow", "torch") if find_spec(name) is None]
    if missing:
        console.print(f"Not installed, so not compared with: {', '.join(missing)}.")
    parameters = np.random.default_rng(0).standard_normal(size // 4, dtype=np.float32)
    out = np.empty_like(parameters)
    with ExitStack() as stack:
        remote = Remote(stack, parameters, out)
        step = in_process.one_liner(parameters)
        step_cases = {**in_process.step_cases(parameters, out, step), **remote.step_cases(step)}
        penalty = STRENGTH * float(np.abs(parameters).sum(dtype=np.float64))
        penalty_cases = {**in_process.penalty_cases(parameters, penalty), **remote.penalty_cases(penalty)}
        for cases in (step_cases, penalty_cases):
            _check(cases)
        compilation.wait_until_compiled()
        remote.server.settle()
        found = Comparison(timings(rounds, step_cases), timings(rounds, penalty_cases), remote.sparse_bytes())
    _print("Proximal step", found.step)
    _print("Penalty", found.penalty)
    return found


def _check(cases: Mapping[str, Case]) -> None:
    for name, case in cases.items():
        case.check(name)


def _print(title: str, measured: Mapping[str, Timing]) -> None:
    one_liner, echo = measured[ONE_LINER], measured[ECHO]
    rows = [
        [
            f"[bold]{name}" if name in OURS else name,
            timing.rate.text(),
            f"{timing.times(one_liner).median:.2f}",
            f"{timing.best_times(one_liner):.2f}",
            f"{timing.times(echo).median:.2f}",
            f"{timing.caller:.2f}",
            "" if timing.server is None else f"{timing.server:.2f}",
        ]
        for name, timing in measured.items()
    ]
    columns = ["GiB/s", "/ one-liner", "best", "/ echo", "CPU", "server"]
    print_table([title, *columns], rows)


if __name__ == "__main__":
    run_alone(run, __doc__)
