"""One call on a model of a thousand small arrays, beside one array of as many elements.

Run it with ``python -m benchmarks.subjects.small_segments``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH
from benchmarks.harness.measure import Spread, heading, print_table, timed
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import regularization_server, started

Regularizers: TypeAlias = L1Norm | dict[str, L1Norm | None]

SEGMENTS, ELEMENTS = 1000, 1000
MANY, MANY_SHARED, ONE, ONE_SHARED = "many", "many, shared memory", "one", "one, shared memory"
ALTERNATING, ALTERNATING_SHARED = "every other exempt", "every other exempt, shared memory"


@dataclass(frozen=True, slots=True)
class SmallSegments:
    """What came out.

    Args:
        milliseconds: Of a call of each case.
    """

    milliseconds: dict[str, Spread]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        return [
            Aim(f"{SEGMENTS:,} segments of {ELEMENTS:,}: {words}, ms", 25, spread, False, spread.best)
            for words, spread in self.milliseconds.items()
            if words not in (ONE, ONE_SHARED)
        ]


def run(*, quick: bool = False) -> SmallSegments:
    """Measures the calls and prints the table."""
    rounds = 5 if quick else 25
    heading(
        "Small segments: an L1 step on many arrays in one call",
        f"""
        {SEGMENTS:,} arrays of {ELEMENTS:,} float32 numbers, with all figures of each, all of them regularized
        or every other one, as where biases are exempt; and one array of as many elements; over a Unix socket
        and in shared memory, by the same client, again and again as a trainer calls. The server is a process
        with default settings.
        """,
        rounds,
    )
    with ExitStack() as stack:
        server = stack.enter_context(started(regularization_server))
        client = stack.enter_context(Client(server.address))
        cases = _cases(stack, client)
        for case in cases.values():
            case()
        server.settle()
        times = timed(rounds, cases)
    found = SmallSegments({name: spread.map(lambda value: value * 1e3) for name, spread in times.items()})
    rows = [
        [
            name,
            spread.text(),
            "" if name in (ONE, ONE_SHARED) else spread.map(lambda value: 1e3 * value / SEGMENTS).text(),
        ]
        for name, spread in found.milliseconds.items()
    ]
    print_table(["Arrays", "ms", "µs a segment"], rows)
    return found


def _cases(stack: ExitStack, client: Client) -> dict[str, Callable[[], object]]:
    sizes = {f"layer{index // 2}.{'bias' if index % 2 else 'weight'}": ELEMENTS for index in range(SEGMENTS)}
    numbers = np.random.default_rng(0).standard_normal(SEGMENTS * ELEMENTS, dtype=np.float32)
    shared = [stack.enter_context(client.shared_arrays(sizes)) for _ in range(2)]
    shared_one = [stack.enter_context(client.shared_array(numbers.size, np.float32)) for _ in range(2)]
    many = dict(zip(sizes, np.split(numbers, SEGMENTS), strict=True))
    for name, array in many.items():
        shared[0][name][:] = array
    shared_one[0][:] = numbers
    out = {name: np.empty_like(array) for name, array in many.items()}
    everything = L1Norm(strength=STRENGTH)
    weights = {"*.weight": everything, "*.bias": None}
    return {
        MANY: _step(client, many, everything, out),
        MANY_SHARED: _step(client, shared[0], everything, shared[1]),
        ALTERNATING: _step(client, many, weights, out),
        ALTERNATING_SHARED: _step(client, shared[0], weights, shared[1]),
        ONE: _step(client, numbers, everything, np.empty_like(numbers)),
        ONE_SHARED: _step(client, shared_one[0], everything, shared_one[1]),
    }


def _step(client: Client, theta: Any, regularizer: Regularizers, out: Any) -> Callable[[], object]:
    return lambda: client.proximal_step(theta, regularizer, step_size=STEP_SIZE, out=out)


if __name__ == "__main__":
    run_alone(run, __doc__)
