"""How the time of a proximal step grows, from a thousand numbers to a thousand million.

Run it with ``python -m benchmarks.subjects.growth``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import psutil
from regularization_client import Client, L1Norm
from regularization_kernels import compilation

from benchmarks.harness.arithmetic import STRENGTH, Vector
from benchmarks.harness.measure import GIBIBYTE, Spread, console, heading, interleaved, print_table, seconds
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import ServerProcess, regularization_server, started
from benchmarks.rivals.in_process import CORES, ONE_LINER, fused_step, one_liner
from benchmarks.rivals.remote import NO_CHANGE

SIZES = tuple(10**power for power in range(3, 10))
QUICK_LARGEST = 10**7
WIRE_LARGEST = 10**8
ONE_LINER_LARGEST = 10**8
"""Beyond, its temporaries and a copy of the result would be several times the vector."""

KERNEL, SHARED, WIRE = f"fused, {CORES} threads", "shared memory", "wire"
ROUNDS = 5
LARGE_ROUNDS = 3
"""From 10^8 elements on."""

ELEMENTS_A_ROUND = 2_000_000
"""A small call is repeated until so many elements went through, at most 100 times."""

MARGIN = 2 * GIBIBYTE
"""Memory that is left alone."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What came out.

    Args:
        seconds: Of one call, by case and number of elements.
    """

    seconds: dict[str, dict[int, Spread]]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        times = self.seconds[SHARED]
        if SIZES[-1] not in times:
            return []
        larger, smaller = times[SIZES[-1]], times[SIZES[-2]]
        best = larger.best / smaller.best
        return [Aim("time: 10^9 / 10^8 elements, shared memory", 10.5, larger / smaller, False, best)]


def run(*, quick: bool = False) -> Growth:
    """Measures every size and prints the table."""
    heading(
        "Growth: the time of a proximal step by the number of elements",
        f"""
        float32, L1, in place and without figures, so that the largest vector needs no second one: the
        kernel in this process on {CORES} threads, and a call on shared memory, both on the same memory; up
        to {WIRE_LARGEST:.0e} elements also a call over the wire, whose result goes to another array, and up
        to {ONE_LINER_LARGEST:.0e} the NumPy one-liner, which makes new arrays. Small calls are repeated in
        a round and averaged. From 1e8 elements on: {LARGE_ROUNDS} rounds.
        """,
        ROUNDS,
    )
    available = psutil.virtual_memory().available - MARGIN
    wanted = [size for size in SIZES if not quick or size <= QUICK_LARGEST]
    # Up to the largest that the one-liner and the wire get, the result and temporaries come on top.
    sizes = [size for size in wanted if 4 * size + 16 * min(size, ONE_LINER_LARGEST) <= available]
    if sizes != wanted:
        left_out = ", ".join(f"{size:.0e}" for size in wanted if size not in sizes)
        console.print(f"Left out for want of memory: {left_out} elements.")
    largest = sizes[-1]
    budget = f"--shared-memory-budget={4 * largest + GIBIBYTE}"
    with ExitStack() as stack:
        server = stack.enter_context(started(lambda address: regularization_server(address, budget)))
        client = stack.enter_context(Client(server.address))
        theta = stack.enter_context(client.shared_array(largest, np.float32))
        _fill(theta)
        out = np.empty(min(largest, WIRE_LARGEST), np.float32)
        _warm_up(server, _cases(client, theta[: min(largest, 10**7)], out))
        found: dict[str, dict[int, Spread]] = {name: {} for name in (KERNEL, SHARED, WIRE, ONE_LINER)}
        for size in sizes:
            for name, spread in _measured(size, _cases(client, theta[:size], out)).items():
                found[name][size] = spread
    _print(found, sizes)
    return Growth(found)


def _fill(theta: Vector) -> None:
    some = np.random.default_rng(0).standard_normal(min(theta.size, 10**6), dtype=np.float32)
    for begin in range(0, theta.size, some.size):
        theta[begin : begin + some.size] = some[: theta.size - begin]


def _cases(client: Client, theta: Vector, out: Vector) -> dict[str, Callable[[], object]]:
    regularizer = L1Norm(strength=STRENGTH)

    def call(parameters: Vector, result: Vector) -> Callable[[], object]:
        return lambda: client.proximal_step(
            parameters, regularizer, step_size=NO_CHANGE, out=result, figures=(), sparse=False
        )

    cases = {
        KERNEL: fused_step(theta, theta, CORES, figures=False, step_size=NO_CHANGE),
        SHARED: call(theta, theta),
    }
    if theta.size <= WIRE_LARGEST:
        cases[WIRE] = call(theta, out[: theta.size])
    if theta.size <= ONE_LINER_LARGEST:
        cases[ONE_LINER] = lambda: one_liner(theta)
    return cases


def _warm_up(server: ServerProcess, cases: Mapping[str, Callable[[], object]]) -> None:
    for case in cases.values():
        case()
    compilation.wait_until_compiled()
    server.settle()


def _measured(size: int, cases: Mapping[str, Callable[[], object]]) -> dict[str, Spread]:
    calls = max(1, min(100, ELEMENTS_A_ROUND // size))

    def repeated(case: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds(lambda: [case() for _ in range(calls)]) / calls

    rounds = ROUNDS if size < 10**8 else LARGE_ROUNDS
    measured = interleaved(rounds, {name: repeated(case) for name, case in cases.items()})
    return {name: Spread(tuple(values)) for name, values in measured.items()}


def _print(found: Mapping[str, Mapping[int, Spread]], sizes: list[int]) -> None:
    rows = [[f"{size:,}", *(_milliseconds(times.get(size)) for times in found.values())] for size in sizes]
    print_table(["Elements, ms a call", *found], rows)


def _milliseconds(elapsed: Spread | None) -> str:
    return "" if elapsed is None else elapsed.map(lambda value: value * 1e3).text(".3g")


if __name__ == "__main__":
    run_alone(run, __doc__)
