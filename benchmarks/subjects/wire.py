"""The L1 proximal step over the wire against an identity echo of the same bytes.

Run it with ``python -m benchmarks.subjects.wire``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH
from benchmarks.harness.measure import MEBIBYTE, heading, print_table, random_chunks, rate, timed
from benchmarks.harness.report import run_alone
from benchmarks.harness.requests import METHOD, StubClient, proximal_step_requests
from benchmarks.harness.servers import regularization_server, started
from benchmarks.rivals.echo import EchoClient, echo_server

PAYLOAD_BYTES = 128 * MEBIBYTE
QUICK_BYTES = 64 * MEBIBYTE
ECHO = "identity echo"


def run(*, quick: bool = False) -> None:
    """Measures the wire and prints the table."""
    size, rounds = (QUICK_BYTES, 3) if quick else (PAYLOAD_BYTES, 5)
    heading(
        "Wire: ProximalStep against an identity echo",
        f"""
        One stream of {size // MEBIBYTE} MiB of float32 in 1 MiB chunks over a Unix socket, there and
        back. The echo is a bare grpcio server that answers every message with itself, without serializer
        or deserializer on either side; once more with malloc set as the service sets it. The service is
        a regularization-server process with default settings that takes the proximal step of L1 with all
        figures of the summary, called with ready-made bytes (the server's own cost; once more with no
        figures), through the generated stub with ready-made messages, and by Client.proximal_step on an
        array.
        """,
        rounds,
    )
    with ExitStack() as stack:
        times = timed(rounds, _cases(stack, size))
    echo = times[ECHO]
    rows = [[name, rate(t, size), (t / echo).text(), (echo / t).text()] for name, t in times.items()]
    print_table(["Stream", "GiB/s one way", "time / echo", "rate / echo"], rows)


def _cases(stack: ExitStack, size: int) -> dict[str, Callable[[], object]]:
    echo_address = stack.enter_context(started(echo_server())).address
    prepared_address = stack.enter_context(started(echo_server("echo", "threads", "--prepared"))).address
    server = stack.enter_context(started(regularization_server))
    address = server.address
    chunks = random_chunks(size)
    requests = list(proximal_step_requests(chunks, size))
    encoded = [request.SerializeToString() for request in requests]
    first = next(proximal_step_requests(chunks, size, figures=False))
    without_figures = [first.SerializeToString(), *encoded[1:]]
    parameters = np.frombuffer(b"".join(chunks), np.float32)
    out = np.empty_like(parameters)
    regularizer = L1Norm(strength=STRENGTH)
    echo = stack.enter_context(EchoClient(echo_address))
    prepared_echo = stack.enter_context(EchoClient(prepared_address))
    bare = stack.enter_context(EchoClient(address, METHOD))
    stub = stack.enter_context(StubClient(address))
    client = stack.enter_context(Client(address))
    for messages in (encoded, without_figures):
        bare(messages)
    server.settle()
    return {
        ECHO: lambda: _all_back(echo(chunks), size),
        "identity echo, malloc as the service": lambda: _all_back(prepared_echo(chunks), size),
        "ready-made bytes": lambda: _all_back(bare(encoded), size),
        "ready-made bytes, no figures": lambda: _all_back(bare(without_figures), size),
        "generated stub": lambda: _all_back(stub(requests), size),
        "Client": lambda: client.proximal_step(
            parameters, regularizer, step_size=STEP_SIZE, out=out, sparse=False
        ),
    }


def _all_back(received: int, size: int) -> None:
    if received < size:
        raise RuntimeError(f"sent {size} bytes of parameters, received {received}")


if __name__ == "__main__":
    run_alone(run, __doc__)
