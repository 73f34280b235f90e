"""A server as its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECONDS_TO_START = 60
SECONDS_TO_STOP = 30
COMMAND = Path(sys.executable).with_name("regularization-server")


@dataclass(frozen=True)
class ServerProcess:
    """A running ``regularization-server``."""

    process: subprocess.Popen[bytes]
    address: str
    log_file: Path

    @property
    def log(self) -> str:
        """What it has written to its log."""
        return self.log_file.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it ends by itself."""
        return self.process.wait(SECONDS_TO_STOP)


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    address: str | None = None,
    environment: dict[str, str] | None = None,
    command: Sequence[str | Path] = (COMMAND,),
    seconds_to_start: float = SECONDS_TO_START,
) -> Iterator[ServerProcess]:
    """A server process that is ready, on a Unix socket unless another address is given.

    It takes machine code from the folder of the run's tests, and keeps its own there.
    """
    address = address or f"unix:{folder / 's'}"
    log_file = folder / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--listen", address, *arguments],
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    server = ServerProcess(process, address, log_file)
    try:
        until(lambda: process.poll() is not None or "serving" in server.log, seconds_to_start)
        assert process.poll() is None, server.log
        yield server
    finally:
        process.kill()
        process.wait()


@contextmanager
def channel_to(address: str) -> Iterator[grpc.Channel]:
    """A channel with a connection of its own."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        grpc.channel_ready_future(channel).result(SECONDS_TO_START)
        yield channel


def until(condition: Callable[[], bool], seconds: float = SECONDS_TO_START) -> None:
    """Wait until something holds that must hold soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
