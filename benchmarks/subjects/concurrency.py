"""Threads or asyncio for the server? One fast stream, and small calls beside a thousand idle ones.

Run it with ``python -m benchmarks.subjects.concurrency``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.harness.measure import (
    KIBIBYTE,
    MEBIBYTE,
    heading,
    latencies,
    milliseconds,
    print_table,
    random_chunks,
    rate,
    timed,
)
from benchmarks.harness.report import run_alone
from benchmarks.harness.servers import ServerProcess, started
from benchmarks.rivals.echo import EchoClient, echo_server

IDLE_STREAMS = 1000
PAYLOAD_BYTES = 128 * MEBIBYTE
SMALL_BYTES = 4 * KIBIBYTE
MODELS = ("threads", "asyncio")


@contextmanager
def idle_streams(address: str, streams: int = IDLE_STREAMS) -> Iterator[None]:
    """Holds idle streams to a server, from another process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.rivals.idle",
        f"--address={address}",
        f"--streams={streams}",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{streams} idle streams could not be opened at {address}")
        try:
            yield
        finally:
            process.terminate()


def run(*, quick: bool = False) -> None:
    """Measures both models and prints the tables."""
    rounds = 2 if quick else 5
    heading(
        "Concurrency model: grpc.server on threads against grpc.aio",
        f"""
        The same handler on both: a bidirectional stream of raw bytes over a Unix socket, each message
        soft-thresholded by NumPy. Throughput: one stream of {PAYLOAD_BYTES // MEBIBYTE} MiB of float32 in
        1 MiB messages. Latency: one message of {SMALL_BYTES // KIBIBYTE} KiB up and one down, alone and
        beside {IDLE_STREAMS} open, idle streams of another process.
        """,
        rounds,
    )
    with ExitStack() as stack:
        alone = {model: _server(stack, model) for model in MODELS}
        beside = {model: _server(stack, model) for model in MODELS}
        empty = {model: server.resident for model, server in beside.items()}
        for server in beside.values():
            stack.enter_context(idle_streams(server.address))
        held = {model: (server.resident, server.threads) for model, server in beside.items()}
        _print_throughput(stack, alone, rounds)
        _print_latency(stack, alone, beside, rounds)
    rows = [
        [
            model,
            f"{empty[model] / MEBIBYTE:.0f} MiB",
            f"{held[model][0] / MEBIBYTE:.0f} MiB",
            f"{(held[model][0] - empty[model]) / IDLE_STREAMS / KIBIBYTE:.0f} KiB",
            str(held[model][1]),
        ]
        for model in MODELS
    ]
    print_table(["Resident memory", "idle", f"with {IDLE_STREAMS} streams", "a stream", "threads"], rows)


def _server(stack: ExitStack, model: str) -> ServerProcess:
    return stack.enter_context(started(echo_server("soft_threshold", model)))


def _print_throughput(stack: ExitStack, servers: dict[str, ServerProcess], rounds: int) -> None:
    chunks = random_chunks(PAYLOAD_BYTES)
    clients = {model: stack.enter_context(EchoClient(server.address)) for model, server in servers.items()}
    times = timed(rounds, {model: _Call(client, chunks) for model, client in clients.items()})
    rows = [
        [model, rate(times[model], PAYLOAD_BYTES), (times["threads"] / times[model]).text()]
        for model in MODELS
    ]
    print_table(["One stream", "GiB/s one way", "rate / threads"], rows)


def _print_latency(
    stack: ExitStack, alone: dict[str, ServerProcess], beside: dict[str, ServerProcess], rounds: int
) -> None:
    message = random_chunks(SMALL_BYTES)
    servers = {f"{model}, alone": alone[model] for model in MODELS}
    servers |= {f"{model}, {IDLE_STREAMS} idle streams": beside[model] for model in MODELS}
    clients = {name: stack.enter_context(EchoClient(server.address)) for name, server in servers.items()}
    figures = latencies(rounds, 200, {name: _Call(client, message) for name, client in clients.items()})
    reference = figures["threads, alone"]
    rows = [
        [
            name,
            milliseconds(p50),
            milliseconds(p99),
            (p50 / reference[0]).text(),
        ]
        for name, (p50, p99) in figures.items()
    ]
    print_table(["Small call", "p50 ms", "p99 ms", "p50 / threads alone"], rows)


class _Call:
    """One call with messages that are ready."""

    def __init__(self, client: EchoClient, messages: list[bytes]) -> None:
        self._client = client
        self._messages = messages

    def __call__(self) -> None:
        sent = sum(map(len, self._messages))
        if (received := self._client(self._messages)) != sent:
            raise RuntimeError(f"sent {sent} bytes, received {received}")


if __name__ == "__main__":
    run_alone(run, __doc__)
