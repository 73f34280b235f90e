"""Server processes: started on a Unix socket of their own, watched, and stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

START_SECONDS = 20.0
"""How long a server process may take to answer."""

SETTLE_SECONDS = 30.0
"""How long a server process may take to finish what it does in the background."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that runs as a process of its own.

    Args:
        address: Where it listens.
        process: The process.
    """

    address: str
    process: subprocess.Popen[bytes]

    def settle(self) -> None:
        """Wait until it does nothing: loops are compiled beside it at their first use."""
        end = time.monotonic() + SETTLE_SECONDS
        before, used = -1.0, self._seconds_of_all
        while used - before > 0.02 and time.monotonic() < end:
            time.sleep(0.3)
            before, used = used, self._seconds_of_all

    @property
    def resident(self) -> int:
        """Its resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def processor_seconds(self) -> float:
        """How much processor time it has used, in its own code and in the kernel."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)

    @property
    def _seconds_of_all(self) -> float:
        """Its processor time, and that of the processes that it has started, ended or not."""
        server = psutil.Process(self.process.pid)
        used = server.cpu_times()
        total = float(used.user + used.system + used.children_user + used.children_system)
        for each in server.children():
            with suppress(psutil.NoSuchProcess):
                total += sum(each.cpu_times()[:2])
        return total

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return int(psutil.Process(self.process.pid).num_threads())


def speaks_grpc(address: str) -> bool:
    """Whether a gRPC server answers in time."""
    with grpc.insecure_channel(address, options=[("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=START_SECONDS)
        except grpc.FutureTimeoutError:
            return False
    return True


def takes_connections(address: str) -> bool:
    """Whether something listens on the Unix socket in time."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(address.removeprefix("unix:")) == 0:
                return True
        time.sleep(0.05)
    return False


@contextmanager
def started(
    command: Callable[[str], Sequence[str]], answers: Callable[[str], bool] = speaks_grpc
) -> Iterator[ServerProcess]:
    """Starts a server on a Unix socket of its own, waits until it answers, and stops it at the end.

    Args:
        command: Makes the command line from the address to listen on.
        answers: Waits for its answer.

    Yields:
        The running server.
    """
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/socket"
        log = Path(folder, "log")
        # A log file, for a pipe that nobody reads would fill and stop the server.
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(address), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            if not answers(address):
                raise RuntimeError(f"{process.args!r} does not answer; its log: {log.read_text()}")
            yield ServerProcess(address, process)
        finally:
            process.terminate()
            process.communicate()


def module_server(module: str, *options: str) -> Callable[[str], Sequence[str]]:
    """The command line of a server that is a module of its own."""
    return lambda address: [sys.executable, "-m", module, f"--address={address}", *options]


def regularization_server(address: str, *options: str) -> Sequence[str]:
    """The command line of the project's own server, with its default settings but for the options."""
    return [str(Path(sys.executable).with_name("regularization-server")), "--listen", address, *options]
