"""What is told of the server's state: calls in flight, memory, and the process itself."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regularization_kernels import interruption

if TYPE_CHECKING:
    from regularization_kernels.engine import MemoryBudget

    from ..calls.admission import Calls
    from ..settings import Settings
    from ..shared_memory.regions import Regions
    from .instruments import Instruments

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class ServerState:
    """What a server's state is read from.

    Attributes:
        settings: Its settings, which have the limits.
        calls: Its calls in flight.
        budget: Its memory budget.
        regions: Its shared memory; None where it offers none.
    """

    settings: Settings
    calls: Calls
    budget: MemoryBudget
    regions: Regions | None


class StateMetrics:
    """Reads a server's state when it is asked to.

    Args:
        instruments: The metrics.
        state: What it reads.
    """

    def __init__(self, instruments: Instruments, state: ServerState) -> None:
        self._gauge = instruments.gauge
        self._state = state
        self._cpu = instruments.counter("process_cpu_seconds")
        self._cpu_counted = 0.0
        self._waits = instruments.counter("regularization_long_computations_wait_seconds")
        self._waits_counted = interruption.seconds_waited()
        instruments.counter("regularization_server_starts").inc()
        self._set("regularization_server_processes", 1)
        settings = state.settings
        self._set("regularization_calls_limit", settings.max_concurrent_calls)
        self._set("regularization_memory_budget_limit_bytes", state.budget.total)
        offers = state.regions is not None
        self._set("regularization_shared_memory_regions_limit", offers * settings.shared_memory_regions)
        self._set("regularization_shared_memory_limit_bytes", offers * (settings.shared_memory_budget or 0))
        self._set("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def refresh(self) -> None:
        """Take the state as it is now."""
        state = self._state
        self._set("regularization_calls_in_flight", state.calls.in_flight)
        self._set("regularization_memory_budget_used_bytes", state.budget.used)
        if state.regions is not None:
            self._set("regularization_shared_memory_regions", state.regions.mapped)
            self._set("regularization_shared_memory_used_bytes", state.regions.used)
        now = time.process_time()
        self._cpu.inc(now - self._cpu_counted)
        self._cpu_counted = now
        waited = interruption.seconds_waited()
        # Sums of other terms may be less by a rounding error.
        self._waits.inc(max(waited - self._waits_counted, 0.0))
        self._waits_counted = waited
        if _PROCESS.exists():
            pages = int((_PROCESS / "statm").read_text().split()[1])
            self._set("process_resident_memory_bytes", pages * _PAGE_BYTES)
            self._set("process_threads", _entries("task"))
            self._set("process_open_fds", _entries("fd"))

    def _set(self, name: str, value: float) -> None:
        self._gauge(name).set(value)


def _entries(folder: str) -> int:
    """How many entries a folder of the process has."""
    return len(list((_PROCESS / folder).iterdir()))
