"""A small call's latency against a bare echo of one message each way.

Run it with ``python -m benchmarks.latency``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.echo import EchoClient
from benchmarks.measure import (
    echo_server,
    heading,
    latencies,
    milliseconds,
    print_table,
    regularization_server,
    run_alone,
    started,
)
from benchmarks.requests import METHOD, STEP_SIZE, STRENGTH, StubClient, proximal_step_requests

ELEMENTS = 1024
CALLS = 200
ECHO = "bidirectional echo"


def run(*, quick: bool = False) -> None:
    """Measures small calls and prints the table."""
    rounds = 3 if quick else 11
    heading(
        "Latency: a small ProximalStep against a bare bidirectional echo",
        f"""
        One call at a time with {ELEMENTS:,} float32 numbers over a Unix socket, channel open, {CALLS}
        calls of each a round. The echo is a bare grpcio server, one message each way, without serializer
        or deserializer; it is also called as a unary method, which on the wire is the same. The service
        is a regularization-server process with default settings that takes the proximal step of L1 with
        all figures, called with ready-made bytes (the server's own cost), through the generated stub,
        and by Client.proximal_step on an array.
        """,
        rounds,
    )
    with ExitStack() as stack:
        figures = latencies(rounds, CALLS, _cases(stack))
    echo = figures[ECHO]
    rows = [
        [name, milliseconds(p50), milliseconds(p99), (p50 / echo[0]).text(), (p99 / echo[1]).text()]
        for name, (p50, p99) in figures.items()
    ]
    print_table(["Call", "p50 ms", "p99 ms", "p50 / echo", "p99 / echo"], rows)


def _cases(stack: ExitStack) -> dict[str, Callable[[], object]]:
    echo_address = stack.enter_context(started(echo_server())).address
    address = stack.enter_context(started(regularization_server)).address
    parameters = np.random.default_rng(0).standard_normal(ELEMENTS, dtype=np.float32)
    message = parameters.tobytes()
    requests = list(proximal_step_requests([message], len(message)))
    encoded = [request.SerializeToString() for request in requests]
    regularizer = L1Norm(strength=STRENGTH)
    echo = stack.enter_context(EchoClient(echo_address))
    bare = stack.enter_context(EchoClient(address, METHOD))
    stub = stack.enter_context(StubClient(address))
    client = stack.enter_context(Client(address))
    return {
        ECHO: lambda: echo([message]),
        "echo, called as unary": lambda: echo.once(message),
        "ready-made bytes": lambda: bare(encoded),
        "generated stub": lambda: stub(requests),
        "Client": lambda: client.proximal_step(parameters, regularizer, step_size=STEP_SIZE),
    }


if __name__ == "__main__":
    run_alone(run, __doc__)
