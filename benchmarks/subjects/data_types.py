"""The L1 step in shared memory in every data type that takes no more room than float32, beside float32's.

Run it with ``python -m benchmarks.subjects.data_types``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from regularization_client import Client, L1Norm
from regularization_kernels.formats import DATA_TYPES, contract_name, is_coarse, round_into

from benchmarks.harness.measure import Spread, heading, print_table, timed
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import regularization_server, started

ELEMENTS = 1 << 24
QUICK_ELEMENTS = 1 << 22
FLOAT32 = "FLOAT32"
ALL_TYPES = (np.dtype(np.float32), *(data_type for data_type in DATA_TYPES if is_coarse(data_type)))
THRESHOLD = 0.07
"""Of numbers with deviation 0.1: about half become 0, and hardly one is out of fixed point's range."""
WITH_FIGURES = "with figures"


@dataclass(frozen=True, slots=True)
class DataTypes:
    """What came out.

    Args:
        rates: Elements a second over float32's in the same round, with figures, by data type.
    """

    rates: dict[str, Spread]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        names = ["BFLOAT16", "Q15"]
        return [Aim(f"{name} / float32, elements a second", 1.3, self.rates[name]) for name in names]


def run(*, quick: bool = False) -> DataTypes:
    """Measures every data type and prints the table."""
    elements, rounds = (QUICK_ELEMENTS, 3) if quick else (ELEMENTS, 9)
    heading(
        "Data types: an L1 step in shared memory",
        f"""
        {elements:,} normally distributed numbers with deviation 0.1, threshold {THRESHOLD}, rounded to
        nearest, the result beside the parameters, with all figures and without: elements a second, and
        those over float32's.
        """,
        rounds,
    )
    numbers = np.random.default_rng(0).standard_normal(elements) * 0.1
    needed = sum(2 * data_type.itemsize for data_type in ALL_TYPES) * elements
    cases: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        budget = f"--shared-memory-budget={2 * needed}"
        server = stack.enter_context(started(lambda address: regularization_server(address, budget)))
        client = stack.enter_context(Client(server.address))
        for data_type in ALL_TYPES:
            theta, out = (stack.enter_context(client.shared_array(elements, data_type)) for _ in range(2))
            round_into(numbers, theta)
            cases[contract_name(data_type)] = _step(client, theta, out, ())
            cases[f"{contract_name(data_type)}, {WITH_FIGURES}"] = _step(client, theta, out, None)
        for case in cases.values():
            case()
            server.settle()
        times = timed(rounds, cases)
    rates = {}
    rows = []
    for name, spread in times.items():
        beside = f"{FLOAT32}, {WITH_FIGURES}" if WITH_FIGURES in name else FLOAT32
        rates[name] = times[beside] / spread
        best = times[beside].best / spread.best
        rows.append(
            [name, spread.map(lambda t: elements / t / 1e9).text(), rates[name].text(), f"{best:.2f}"]
        )
    print_table(["L1 step", "10⁹ elements a second", "/ float32", "best / best"], rows)
    return DataTypes({name.split(",")[0]: rate for name, rate in rates.items() if WITH_FIGURES in name})


def _step(client: Client, theta: Any, out: Any, figures: tuple[()] | None) -> Callable[[], object]:
    choice: dict[str, Any] = {} if figures is None else {"figures": figures}
    regularizer = L1Norm(strength=THRESHOLD)
    return lambda: client.proximal_step(theta, regularizer, step_size=1.0, out=out, **choice)


if __name__ == "__main__":
    run_alone(run, __doc__)
