"""The metrics of a server: made, kept up to date, and served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from .call_metrics import CallMetrics
from .endpoint import MetricsEndpoint
from .instruments import Instruments
from .plan_metrics import PlanMetrics
from .shared_values import keep_values_in
from .state_metrics import ServerState, StateMetrics

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import Metric

SECONDS_BETWEEN_LOOKS = 1.0
"""How often a process writes down its state, where it does not serve its metrics itself."""


class Metrics:
    """The metrics of one server.

    Args:
        address: Where they are served; None where another process does that.
    """

    def __init__(self, address: str | None = None) -> None:
        self._registry = _Registry(self)
        self._instruments = Instruments(self._registry)
        self._address = address
        self._endpoint: MetricsEndpoint | None = None
        self._state: StateMetrics | None = None
        self._stopped = Event()
        self.calls = CallMetrics(self._instruments)
        self.plans = PlanMetrics(self._instruments)

    @classmethod
    def in_folder(cls, folder: Path, process: int) -> Metrics:
        """The metrics of one of several processes, whose values another process reads and serves.

        Args:
            folder: Where they are kept.
            process: Which of the processes this is.
        """
        keep_values_in(folder, process)
        return cls()

    @property
    def address(self) -> str | None:
        """The address that they are served at, with the port that was taken for port 0."""
        return None if self._endpoint is None else self._endpoint.address

    def start(self, state: ServerState) -> None:
        """Serve them, or keep them written down.

        Args:
            state: What the server's state is read from.

        Raises:
            SettingInvalid: If their address cannot be listened on.
        """
        self._state = StateMetrics(self._instruments, state)
        if self._address is not None:
            self._endpoint = MetricsEndpoint(self._address, self._registry)
            self._endpoint.start()
        else:
            Thread(target=self._keep_written, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Serve them no more."""
        self._stopped.set()
        if self._endpoint is not None:
            self._endpoint.stop()
            self._endpoint = None

    def refresh(self) -> None:
        """Take what is looked at now and then."""
        if self._state is not None:
            self._state.refresh()
        self.plans.refresh()

    def _keep_written(self) -> None:
        self.refresh()
        while not self._stopped.wait(SECONDS_BETWEEN_LOOKS):
            # Where no more files may be opened, it cannot look at itself; calls end, and then it can.
            with suppress(OSError):
                self.refresh()


class _Registry(CollectorRegistry):
    """Metrics that are brought up to date when they are asked for, without the time that each was made at."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        self._metrics.refresh()
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
