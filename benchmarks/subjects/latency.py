"""A small call's latency against a bare echo of one message each way.

Run it with ``python -m benchmarks.subjects.latency``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH, Vector
from benchmarks.harness.measure import Spread, heading, latencies, milliseconds, print_table
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.requests import METHOD, StubClient, proximal_step_requests
from benchmarks.harness.servers import regularization_server, started
from benchmarks.rivals.echo import UNARY_METHOD, EchoClient, echo_server

ELEMENTS = 1024
CALLS = 200
QUICK_CALLS = 100
ECHO, ECHO_AS_UNARY, UNARY = "bidirectional echo", "the same, called as unary", "unary echo"
BYTES, STUB = "ready-made bytes", "generated stub"
CLIENT, CLIENT_BARE = "Client, figures", "Client"
SHARED, SHARED_FIGURES = "Client, shared memory", "Client, shared memory, figures"
OURS = (CLIENT, CLIENT_BARE, SHARED, SHARED_FIGURES)


@dataclass(frozen=True, slots=True)
class Latencies:
    """What came out.

    Args:
        figures: Of each case, the seconds of the round's p50 and of its p99.
    """

    figures: dict[str, tuple[Spread, Spread]]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        return [self._aim(CLIENT, 1.15), self._aim(SHARED_FIGURES, 1.2)]

    def _aim(self, name: str, bound: float) -> Aim:
        mine, echo = self.figures[name][0], self.figures[ECHO][0]
        words = f"p50 of {ELEMENTS:,} elements: {name} / {ECHO}"
        return Aim(words, bound, mine / echo, False, mine.best / echo.best)


def run(*, quick: bool = False) -> Latencies:
    """Measures small calls and prints the table."""
    rounds, calls = (3, QUICK_CALLS) if quick else (9, CALLS)
    heading(
        "Latency: a small ProximalStep against bare echoes",
        f"""
        One call at a time with {ELEMENTS:,} float32 numbers over a Unix socket, channel open, {calls} calls
        of each a round. The echoes are a bare grpcio server, one message each way, without serializer or
        deserializer: a bidirectional method, the same called as a unary one, which on the wire is the same,
        and a unary method. The service is a regularization-server process with default settings that takes
        the proximal step of L1, called with ready-made bytes and all figures (the server's own cost),
        through the generated stub, and by Client.proximal_step on an array: in a chunk, and in shared
        memory.
        """,
        rounds,
    )
    with ExitStack() as stack:
        found = Latencies(latencies(rounds, calls, _cases(stack)))
    echo = found.figures[ECHO]
    rows = [
        [
            f"[bold]{name}" if name in OURS else name,
            milliseconds(p50),
            milliseconds(p99),
            (p50 / echo[0]).text(),
            f"{(p99 / echo[1]).median:.2f}",
        ]
        for name, (p50, p99) in found.figures.items()
    ]
    print_table(["Call", "p50 ms", "p99 ms", "p50 / echo", "p99 / echo"], rows)
    return found


def _cases(stack: ExitStack) -> dict[str, Callable[[], object]]:
    echo_address = stack.enter_context(started(echo_server())).address
    address = stack.enter_context(started(regularization_server)).address
    parameters = np.random.default_rng(0).standard_normal(ELEMENTS, dtype=np.float32)
    message = parameters.tobytes()
    requests = list(proximal_step_requests([message], len(message)))
    encoded = [request.SerializeToString() for request in requests]
    regularizer = L1Norm(strength=STRENGTH)
    echo = stack.enter_context(EchoClient(echo_address))
    unary = stack.enter_context(EchoClient(echo_address, UNARY_METHOD))
    bare = stack.enter_context(EchoClient(address, METHOD))
    stub = stack.enter_context(StubClient(address))
    client = stack.enter_context(Client(address))
    out = np.empty_like(parameters)
    shared = stack.enter_context(client.shared_arrays({"parameters": ELEMENTS, "result": ELEMENTS}))
    shared["parameters"][:] = parameters

    def step(array: Vector, result: Vector, **options: Any) -> Callable[[], object]:
        return lambda: client.proximal_step(array, regularizer, step_size=STEP_SIZE, out=result, **options)

    return {
        ECHO: lambda: echo([message]),
        ECHO_AS_UNARY: lambda: echo.once(message),
        UNARY: lambda: unary.once(message),
        BYTES: lambda: bare(encoded),
        STUB: lambda: stub(requests),
        CLIENT_BARE: step(parameters, out, figures=()),
        CLIENT: step(parameters, out),
        SHARED: step(shared["parameters"], shared["result"], figures=()),
        SHARED_FIGURES: step(shared["parameters"], shared["result"]),
    }


if __name__ == "__main__":
    run_alone(run, __doc__)
