"""The regularization server, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("regularization-server")
SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 10.0


@contextmanager
def regularization_server() -> Iterator[str]:
    """Run `regularization-server` on a Unix socket, yield the socket's target, and stop it with SIGTERM.

    Raises:
        click.ClickException: If it does not start.
    """
    # Not in the output's directory: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="digits-") as folder:
        socket = Path(folder, "socket")
        process = subprocess.Popen([COMMAND, "--listen", f"unix:{socket}", "--log-level", "warning"])
        try:
            _wait_for(socket, process)
            yield f"unix:{socket}"
        finally:
            _stop(process)


def _wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for the socket: a call made from then on waits until it is served."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not socket.exists():
        if process.poll() is not None:
            code = process.returncode
            raise click.ClickException(f"{COMMAND.name} ended with exit code {code}; it says why above")
        if time.monotonic() > deadline:
            raise click.ClickException(f"{COMMAND.name} did not listen within {SECONDS_TO_START:g} s")
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
