"""The gateway: a server with a plan, in a network namespace, whose memory the kernel limits."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from link import End

COMMAND = Path(sys.executable).with_name("regularization-server")
PLANS = Path(__file__).with_name("plans")
PORT = 50051
SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 30.0


class Memory:
    """A control group that limits memory, of either version of the kernel's interface.

    Args:
        name: Of the group, which is made.
        limit: Bytes.
    """

    def __init__(self, name: str, limit: int) -> None:
        root = Path("/sys/fs/cgroup")
        first = (root / "memory").is_dir()
        self.folder = (root / "memory" if first else root) / name
        self._peak = "memory.max_usage_in_bytes" if first else "memory.peak"
        self.folder.mkdir()
        (self.folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))

    @property
    def peak(self) -> int:
        """The most that the group ever had, with the files that it read, in bytes."""
        return int((self.folder / self._peak).read_text())

    def remove(self) -> None:
        """Remove the group, once nothing runs in it."""
        self.folder.rmdir()


class Gateway:
    """A server that can be killed and started again.

    Args:
        end: Where it listens.
        memory: What it runs in.

    Attributes:
        address: Its address and port.
        seconds_to_start: How long its last start took.
    """

    def __init__(self, end: End, memory: Memory) -> None:
        self.address = f"{end.address}:{PORT}"
        self._end, self._memory = end, memory
        self.seconds_to_start = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            RuntimeError: If it does not come up.
        """
        serve = [COMMAND, "--listen", self.address, "--plans", PLANS, "--max-connection-idle", "60"]
        # The group first: in the namespace its folder is not there.
        enter = f"echo $$ > {self._memory.folder}/cgroup.procs && exec "
        command = enter + shlex.join(self._end.command(*map(str, serve)))
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(["sh", "-c", command], stderr=log, env=environment)
            begin = time.monotonic()
            until = begin + SECONDS_TO_START
            while b"serving" not in os.pread(log.fileno(), 1 << 16, 0):
                if time.monotonic() > until or self._process.poll() is not None:
                    raise RuntimeError("the gateway does not come up")
                time.sleep(0.02)
            self.seconds_to_start = time.monotonic() - begin

    @property
    def resident(self) -> int:
        """The most memory that it had resident, in bytes; 0 where it does not run."""
        if self._process is None:
            return 0
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return peak * 1024

    def restart(self) -> None:
        """Kill it, as a fault of the power would, and start it anew."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """Have it end at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS_TO_STOP)
            self._process = None


@contextmanager
def gateway(end: End, limit: int) -> Iterator[tuple[Gateway, Memory]]:
    """A gateway that serves, and the memory that it has."""
    memory = Memory("regularization-edge", limit)
    server = Gateway(end, memory)
    try:
        server.start()
        yield server, memory
    finally:
        server.kill()
        memory.remove()
