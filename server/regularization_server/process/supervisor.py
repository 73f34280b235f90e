"""Several server processes, and the one that starts, watches and stops them.

Each is a program of its own, ``regularization-server`` with its share of the settings, so nothing is forked
that has gRPC in it: the supervisor has none, and one thread, which writes its log. TCP ports are shared by
``SO_REUSEPORT``, and the system spreads connections over the processes. A Unix socket belongs to one process.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, overload

from .addresses import errors_name, is_unix
from .cores import usable_cores
from .memory_limit import with_budgets
from .options import arguments_of
from .ports import reserved
from .signals import Signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from ..observability.shared_values import SharedMetrics
    from ..settings import Settings

FIRST_PAUSE = 0.1
"""Seconds before a process that has ended is started again; doubled each time that it ends soon."""

LONGEST_PAUSE = 5.0
"""Upper bound of that, in seconds, for a process that ends before it serves: the next may end so, too."""

LONGEST_PAUSE_OF_SERVING = 1.0
"""The same of a process that has served: whatever has killed it, without it calls wait or fail."""

LONG_RUN = 10.0
"""Seconds after which a process has run well: when it ends, the first pause is due again."""

SPARE_SECONDS = 5.0
"""Seconds beyond the grace period until a process that does not stop is killed."""

INVALID_SETTINGS = 2
"""Exit status of a server that cannot start with its settings: the next try would end the same way."""

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def shares(settings: Settings) -> list[Settings]:
    """The settings of each process: its addresses, and its share of what all may take together.

    Raises:
        SettingInvalid: If a share is too small.
    """
    settings, count = with_budgets(settings), settings.processes
    return [
        replace(
            settings,
            processes=1,
            reuse_port=True,
            listen=tuple(_address_of(address, index) for address in settings.listen),
            memory_budget=_divided(settings.memory_budget, count, at_least=0),
            shared_memory_budget=_divided(settings.shared_memory_budget, count, at_least=0),
            shared_memory_regions=_divided(settings.shared_memory_regions, count),
            max_regions_per_caller=_divided(settings.max_regions_per_caller, count),
            threads=_divided(settings.threads or usable_cores(), count),
            health_listen=settings.health_listen and _address_of(settings.health_listen, index),
            metrics_listen=None,
        )
        for index in range(count)
    ]


@dataclass
class Child:
    """One process, over all its starts."""

    index: int
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    due: float | None = 0.0
    """When it is to be started; None where it runs."""
    _line: socket.socket | None = None
    """Its other end is the process's standard input."""
    _started: float = 0.0
    _pause: float = FIRST_PAUSE
    statuses: list[int] = field(default_factory=list)
    """Exit status of each start that is over."""

    def start(self) -> int:
        """Start it; its process id."""
        # Not from the working directory, and not in the terminal's group: Ctrl-C is for the supervisor. The
        # child stops when its input ends, which it does when the supervisor is gone, in whatever way. What it
        # writes there says that it serves.
        command = [sys.executable, "-P", "-m", "regularization_server.command", *self.arguments]
        self._line, its_end = socket.socketpair()
        with its_end:
            self.process = subprocess.Popen(  # noqa: S603 - the project's own command
                command, stdin=its_end.fileno(), process_group=0
            )
        self.starts += 1
        self.due = None
        self._started = time.monotonic()
        return self.process.pid

    def ended(self) -> bool:
        """Whether it has ended since it was last asked; it is then due after a pause."""
        if self.process is None or (status := self.process.poll()) is None:
            return False
        longest = LONGEST_PAUSE_OF_SERVING if self._has_served() else LONGEST_PAUSE
        self.process = None
        self.statuses.append(status)
        now = time.monotonic()
        if now - self._started >= LONG_RUN:
            self._pause = FIRST_PAUSE
        pause = min(self._pause, longest)
        self.due = now + pause
        self._pause = 2 * pause
        return True

    def _has_served(self) -> bool:
        """Whether the process that has ended had served; what it was heard on is closed."""
        if self._line is None:
            return False
        with self._line:
            try:
                return self._line.recv(1, socket.MSG_DONTWAIT) != b""
            except OSError:
                # It has closed its end without a word, or something that it has started has that.
                return False


class Supervisor:
    """Keeps as many processes running as the settings say.

    Args:
        settings: Of all together.
        arguments: The command's other flags, the same for each process.
        log: Where starts and ends are logged.

    Raises:
        SettingInvalid: If an address cannot be listened on, or a share is too small.
    """

    def __init__(self, settings: Settings, arguments: Sequence[str], log: FilteringBoundLogger) -> None:
        self._log = log
        self._seconds_to_stop = settings.drain_delay + settings.grace_period + SPARE_SECONDS
        self._ports = ExitStack()
        self._metrics = _metrics_of(settings)
        if self._metrics is not None:
            self._ports.callback(self._metrics.close)
            arguments = [*arguments, f"--metrics-folder={self._metrics.folder}"]
            log.info("metrics", address=self._metrics.address)
        listen = tuple(
            address if is_unix(address) else self._ports.enter_context(reserved(address))
            for address in settings.listen
        )
        health = settings.health_listen
        if health is not None and not is_unix(health):
            with errors_name("health_listen"):
                health = self._ports.enter_context(reserved(health))
        settings = replace(settings, listen=listen, health_listen=health)
        self._children = [
            Child(index, [*arguments_of(share), f"--process={index}", *arguments])
            for index, share in enumerate(shares(settings))
        ]

    def run(self) -> int:
        """Start the processes, and keep them running until a signal to stop; the exit status."""
        self._signals = Signals((*_STOPPING, signal.SIGCHLD))
        with self._ports:
            invalid = self._keep_running()
            status = self._stop()
            return INVALID_SETTINGS if invalid else status

    def _keep_running(self) -> bool:
        """Until a signal to stop; whether a process could not start with its settings."""
        while True:
            for child in self._children:
                if child.ended():
                    status = child.statuses[-1]
                    self._log.warning("process ended", process=child.index, status=status)
                    if self._metrics is not None:
                        self._metrics.forget_state_of(child.index)
                    if status == INVALID_SETTINGS and child.starts == 1:
                        return True
                if child.due is not None and child.due <= time.monotonic():
                    pid = child.start()
                    self._log.info("process started", process=child.index, pid=pid, starts=child.starts)
            due = [child.due for child in self._children if child.due is not None]
            if self._event(min(due, default=None)) in _STOPPING:
                return False

    def _stop(self) -> int:
        """Stop all processes and wait for them; the exit status: 0 if each has stopped in order."""
        running = [child for child in self._children if child.process is not None]
        self._log.info("stopping processes", processes=len(running))
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self._seconds_to_stop
        forced = None
        while any(not child.ended() for child in running if child.process is not None):
            number = self._event(deadline)
            if number in _STOPPING and forced is None:
                # The second signal ends a server at once.
                forced = number
                self._signal(signal.SIGTERM)
            elif time.monotonic() >= deadline:
                self._signal(signal.SIGKILL)
                deadline += SPARE_SECONDS
        if forced is not None:
            return 128 + forced
        # A process that is told to stop before it handles signals ends by the signal.
        return int(any(child.statuses[-1] not in (0, -signal.SIGTERM) for child in running))

    def _signal(self, number: int) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.send_signal(number)

    def _event(self, until: float | None) -> int | None:
        """The next signal; None where there is none in time."""
        return self._signals.next(None if until is None else max(until - time.monotonic(), 0.0))


def _metrics_of(settings: Settings) -> SharedMetrics | None:
    """Where the processes keep their metrics together; nothing of it is imported where none are kept."""
    if settings.metrics_listen is None:
        return None
    from ..observability.shared_values import SharedMetrics

    return SharedMetrics(settings.metrics_listen)


@overload
def _divided(number: int, count: int, at_least: int = 1) -> int: ...
@overload
def _divided(number: int | None, count: int, at_least: int = 1) -> int | None: ...
def _divided(number: int | None, count: int, at_least: int = 1) -> int | None:
    """The share of one of so many processes; None where nothing is set."""
    return None if number is None else max(number // count, at_least)


def _address_of(address: str, index: int) -> str:
    return f"{address}.{index}" if is_unix(address) and index else address
