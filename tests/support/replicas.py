"""Replicas on ports of their own, restarted one after the other, beside calls that are never replayed."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import grpc

from tests.support.messages import good_call
from tests.support.processes import ServerProcess, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUND_ROBIN = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
)
"""Turns among replicas that say that they serve, by gRPC's own client."""


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Replica:
    """A server process that is started again at its address."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._arguments = arguments
        self._running = ExitStack()
        self.server: ServerProcess | None = None

    def start(self) -> None:
        """Start it; it serves."""
        self._folder.mkdir(exist_ok=True)
        self.server = self._running.enter_context(
            serving(self._folder, *self._arguments, address=self.address)
        )

    def has_been_called(self) -> bool:
        """Whether a client has found it since its last start."""
        return self.server is not None and "event=call " in self.server.log

    def stop(self) -> int:
        """Stop it in order; its exit status."""
        assert self.server is not None
        self.server.signal(signal.SIGTERM)
        status = self.server.wait()
        self._running.close()
        return status

    def kill(self) -> None:
        """End it, wherever it is."""
        self._running.close()


@contextmanager
def replicas(folder: Path, count: int, *arguments: str) -> Iterator[list[Replica]]:
    """So many replicas that serve."""
    made = [Replica(folder / str(index), *arguments) for index in range(count)]
    try:
        for each in made:
            each.start()
        yield made
    finally:
        for each in made:
            each.kill()


class Caller:
    """Calls, one after the other, over a channel that takes turns; none is made twice.

    Attributes:
        codes: How they ended.
    """

    def __init__(self, target: str, seconds_between: float = 0.0) -> None:
        self.codes: Counter[str] = Counter()
        self._between = seconds_between
        self._over = threading.Event()
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.service_config", ROUND_ROBIN),
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Caller:
        grpc.channel_ready_future(self._channel).result(30)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._channel.close()

    def _run(self) -> None:
        while not self._over.wait(self._between):
            try:
                good_call(self._channel)
                self.codes["OK"] += 1
            except grpc.RpcError as error:
                self.codes[f"{error.code().name}: {error.details()}"] += 1


def restarted_in_turn(folder: Path, restarts: int, drain_delay: float) -> Counter[str]:
    """How calls end while two replicas are restarted in turn, so often together."""
    flags = (f"--drain-delay={drain_delay}",)
    with ExitStack() as stack:
        both = stack.enter_context(replicas(folder, 2, *flags))
        caller = stack.enter_context(Caller(f"ipv4:{','.join(each.address for each in both)}"))
        for number in range(restarts):
            for each in both:
                until(each.has_been_called)
            assert both[number % 2].stop() == 0
            both[number % 2].start()
        until(both[0].has_been_called)
    return caller.codes
