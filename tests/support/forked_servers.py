"""Servers that start in hundredths of a second: each is forked from a process that has loaded all of them.

That process has begun nothing: it has no threads and no gRPC that runs. So a forked server is as one that is
started by its command, without the second that loading takes.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.support.failpoints import Failpoint
from tests.support.faults import functions
from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOADED = ("regularization_server.server", "regularization_server.process.loops")
"""What the command loads only once it serves."""

_SIGNAL_AT_PARENTS_DEATH = 1


@dataclass(frozen=True)
class Forked:
    """A server that has been forked."""

    pid: int
    address: str

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Nursery:
    """Forks servers.

    Args:
        folder: Where their logs, and what they compile, are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._lock = threading.Lock()
        # Which is what the command sets by default before it loads anything.
        environment = {"OPENBLAS_NUM_THREADS": "1", "XDG_CACHE_HOME": os.fspath(folder / "cache")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked_servers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def start(self, address: str, *arguments: str, failpoint: Failpoint | None = None) -> Forked:
        """Start a server; it serves, unless the failpoint has ended it.

        Args:
            address: Where it listens.
            arguments: Of its command.
            failpoint: What is to happen in it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._count += 1
            log = self._folder / f"log{self._count}"
            order = {
                "arguments": ["--listen", address, *arguments],
                "log": os.fspath(log),
                "failpoint": None if failpoint is None else asdict(failpoint),
            }
            self._process.stdin.write(f"{json.dumps(order)}\n")
            self._process.stdin.flush()
            server = Forked(int(self._process.stdout.readline()), address)
        until(lambda: not server.is_alive or (log.exists() and "event=serving" in log.read_text()))
        return server

    def close(self) -> None:
        """End all of them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """What forks servers, all of which end with the block."""
    made = Nursery(folder)
    try:
        yield made
    finally:
        made.close()


def _obey() -> None:
    for name in LOADED:
        importlib.import_module(name)
    functions()  # which loads what a call runs through
    # Whoever ends is then gone, without being waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _serve(json.loads(line))
        print(pid, flush=True)


def _serve(order: dict[str, Any]) -> None:
    from regularization_server.command import main

    ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, flags, path in ((0, os.O_RDONLY, os.devnull), (1, os.O_WRONLY, os.devnull)):
        os.dup2(os.open(path, flags), number)
    os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT, 0o600), 2)
    if order["failpoint"] is not None:
        Failpoint(**order["failpoint"]).lay()
    main([*order["arguments"], "--log-format=logfmt"])


if __name__ == "__main__":
    _obey()
