"""What metrics cost: a small call to a server that keeps some, against one that keeps none.

Run it with ``python -m benchmarks.subjects.observability``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH
from benchmarks.harness.measure import Spread, heading, interleaved, milliseconds, print_table, seconds
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import ServerProcess, regularization_server, started

ELEMENTS = 1024
CALLS = 200
PLAIN, COUNTED = "without", "with metrics"
ROUNDS, QUICK_ROUNDS = 41, 9


@dataclass(frozen=True, slots=True)
class Costs:
    """What came out.

    Args:
        latency: Of each server, the seconds of the round's p50.
        processor: Of each server, its processor seconds for a call.
    """

    latency: dict[str, Spread]
    processor: dict[str, Spread]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        mine, plain = self.latency[COUNTED], self.latency[PLAIN]
        words = f"p50 of {ELEMENTS:,} elements: {COUNTED} / {PLAIN}"
        return [Aim(words, 1.03, mine / plain, False, mine.best / plain.best)]


def run(*, quick: bool = False) -> Costs:
    """Measures small calls and prints the table."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    heading(
        "Observability: a small ProximalStep with and without",
        f"""
        One call at a time with {ELEMENTS:,} float32 numbers over a Unix socket; {CALLS} calls of each in
        turn. Processor time is the server's, for a call.
        """,
        rounds,
    )
    parameters = np.linspace(-1, 1, ELEMENTS, dtype=np.float32)
    with ExitStack() as stack:

        def burst_at(*options: str) -> Callable[[], tuple[float, float]]:
            server = stack.enter_context(started(lambda address: _command(address, options)))
            client = stack.enter_context(Client(server.address))
            return _burst(server, client, parameters)

        runs = interleaved(rounds, {PLAIN: burst_at(), COUNTED: burst_at("--metrics-listen=127.0.0.1:0")})
    costs = Costs(
        {name: Spread(tuple(latency for latency, _ in each)) for name, each in runs.items()},
        {name: Spread(tuple(processor for _, processor in each)) for name, each in runs.items()},
    )
    rows = [
        [
            name,
            milliseconds(costs.latency[name]),
            (costs.latency[name] / costs.latency[PLAIN]).text(".3f"),
            milliseconds(costs.processor[name]),
            (costs.processor[name] / costs.processor[PLAIN]).text(".3f"),
        ]
        for name in runs
    ]
    print_table(["Small call", "p50 ms", "/ without", "processor ms", "/ without"], rows)
    return costs


def _command(address: str, options: Sequence[str]) -> Sequence[str]:
    return regularization_server(address, *options)


def _burst(
    server: ServerProcess, client: Client, parameters: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> Callable[[], tuple[float, float]]:
    regularizer = L1Norm(strength=STRENGTH)

    def call() -> None:
        client.proximal_step(parameters, regularizer, step_size=STEP_SIZE)

    def run() -> tuple[float, float]:
        before = server.processor_seconds
        times = [seconds(call) for _ in range(CALLS)]
        return float(np.median(times)), (server.processor_seconds - before) / CALLS

    return run


if __name__ == "__main__":
    run_alone(run, __doc__)
