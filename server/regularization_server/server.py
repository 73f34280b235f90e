"""The server: made of its settings, started, stopped."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Self

import grpc
from regularization_kernels.engine import MemoryBudget

from .calls.admission import Calls
from .calls.arrivals import Arrivals
from .calls.callers import caller_shown
from .calls.drain import Drain
from .calls.handlers import handlers_for_training, handlers_of
from .calls.health import Health
from .calls.health_and_reflection import StandardThreads, standard_handlers
from .calls.progress import Limits, Watchdog
from .calls.quotas import USUAL_PERCENT, part_of, quotas_of
from .calls.service import SERVICE, RegularizationService
from .calls.stack import Stack
from .calls.threads import CallThreads
from .calls.training import AUGMENTATION, EARLY_STOPPING, TrainingServices
from .calls.unknown_methods import UnknownMethods
from .health_listener import HealthListener
from .observability.state_metrics import ServerState
from .process.addresses import is_unix, listen
from .process.cores import usable_cores
from .process.credentials import Credentials
from .process.grpc_options import grpc_options, most_threads, most_waiting, stream_window
from .process.line_limit import LineLimit
from .process.logs import library_logger
from .process.memory_limit import MEMORY_BUDGET, SHARED_MEMORY_BUDGET, with_budgets
from .process.plan_folder import PlanFolder
from .settings import SettingInvalid, Settings
from .shared_memory.hand_off import HandOff
from .shared_memory.listener import group_of, listen_for_hand_off
from .shared_memory.regions import SYSTEM_SHARES_MEMORY, Regions, Share

if TYPE_CHECKING:
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    from .calls.authorization import Authorize
    from .calls.callers import Caller
    from .observability.metrics import Metrics
    from .observability.spans import Spans

SERVICES = (SERVICE, EARLY_STOPPING, AUGMENTATION)
"""Full names of its own services."""

SECONDS_TO_CLOSE = 0.5
"""Time for connections to close in order once no call is in flight."""


class Server:
    """A server of ``regularization.v1`` and ``training.v1`` with the standard health and reflection services.

    It may live inside another program: it takes no signals, writes nothing but to its logger, and sets
    nothing of the process. Every call in flight holds one thread.

    Args:
        settings: What can be set.
        log: Where each call leaves one line; the standard library's logger ``regularization_server``
            by default.
        metrics: What counts calls, where another process serves it; made where the settings ask for it.

    Raises:
        SettingInvalid: If the settings ask for several processes.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        log: FilteringBoundLogger | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = with_budgets(settings or Settings())
        if self.settings.processes != 1:
            text = f"must be 1 for a server in one process, got {self.settings.processes}: start the command"
            raise SettingInvalid("processes", text)
        self.budget = MemoryBudget(self.settings.memory_budget or MEMORY_BUDGET)
        self.quotas = quotas_of(self.settings, self.budget)
        self.regions = _regions(self.settings)
        self._log = log or library_logger()
        self._failures = LineLimit(self._log, "failed calls")
        self._plans: PlanFolder | None = None
        self._calls = Calls(self.settings.max_concurrent_calls)
        self._drain = Drain()
        self._addresses: list[str] = []
        self._limits = limits = Limits(
            self.settings.stream_idle_timeout, self.settings.max_call_seconds or math.inf
        )
        self._arrivals = Arrivals(most_waiting(self.settings), limits.idle, self._caller_of)
        self._watchdog = Watchdog(limits, self._arrivals)
        self._threads = CallThreads(
            most_threads(self.settings), self._log, self._arrivals, caller_of=self._caller_of
        )
        self._standard_threads = StandardThreads.made(self._log, self._arrivals)
        self._health = Health(self.settings.max_concurrent_calls, self._standard_threads.watching)
        self._server: grpc.Server | None = None
        self._health_listener: HealthListener | None = None
        self._hand_off: HandOff | None = None
        self._credentials: Credentials | None = None
        self._metrics = metrics or _metrics(self.settings)
        self._spans = _spans(self.settings)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that it listens on, with the ports that were taken for port 0."""
        return tuple(self._addresses)

    @property
    def metrics_address(self) -> str | None:
        """Where its metrics are served, with the port that was taken for port 0; None where they are not."""
        return None if self._metrics is None else self._metrics.address

    @property
    def health_address(self) -> str | None:
        """Where health is served beside that, with the port that was taken for port 0; None for nowhere."""
        return None if self._health_listener is None else self._health_listener.address

    def start(self) -> None:
        """Listen on every address, and serve.

        Raises:
            SettingInvalid: If an address cannot be listened on, a file cannot be read, or a plan is wrong.
            RuntimeError: If it was started before.
        """
        if self._server is not None:
            raise RuntimeError("a server starts once")
        credentials = self._credentials = Credentials(self.settings, self._log)
        if self.settings.plans is not None:
            self._plans = PlanFolder(self.settings.plans, self._log)
        self._server = self._with_services(credentials.authorize)
        try:
            for address in self.settings.listen:
                tls = credentials.for_address()
                self._addresses.append(listen(self._server, address, self.settings, tls))
            self._offer_shared_memory()
            self._listen_for_health()
            if self._metrics is not None:
                state = ServerState(self.settings, self._calls, self.budget, self.regions)
                self._metrics.start(state)
        except SettingInvalid:
            # Only a server that was started gives its addresses back.
            self._calls.close()
            self._server.start()
            self._close()
            raise
        self._server.start()
        credentials.start()
        self._watchdog.start()
        if self._hand_off is not None:
            self._hand_off.start()
        self._health.serve(*SERVICES)
        if self._health_listener is not None:
            self._health_listener.health.serve(*SERVICES)
            self._health_listener.start()
        places = {"health": self.health_address, "metrics": self.metrics_address}
        self._log.info(
            "serving",
            addresses=list(self.addresses),
            shared_memory=self.regions is not None,
            **{name: place for name, place in places.items() if place is not None},
        )

    def stop(self, grace: float | None = None) -> bool:
        """Tell by health, take no new calls after the drain delay, let those in flight finish, and stop.

        Args:
            grace: Seconds that they have; the settings' by default. Those that take longer are cut off
                with UNAVAILABLE.

        Returns:
            Whether all of them finished.
        """
        if self._server is None:
            return True
        grace = self.settings.grace_period if grace is None else grace
        self._health.stop()
        if self._health_listener is not None:
            # It goes on to say so until the last call is done.
            self._health_listener.health.stop()
        if self.settings.drain_delay:
            self._log.info("draining", seconds=self.settings.drain_delay)
            time.sleep(self.settings.drain_delay)
        started = time.perf_counter()
        self._log.info("stopping", grace=grace)
        # Calls that have just ended have this time, too: with the next line their connections are closed.
        time.sleep(self._drain.begin(self.settings.linger, grace))
        grace -= time.perf_counter() - started
        self._calls.close()
        # Before the others are free: whoever takes those over takes these, too.
        if self._hand_off is not None:
            self._hand_off.stop_listening()
        stopped = self._server.stop(max(grace, 0.0))
        finished = self._calls.wait_until_none(grace)
        # Clients hear of a connection that is closed in order. Who only watches health would keep it open.
        if finished:
            stopped.wait(SECONDS_TO_CLOSE)
        self._close()
        self._log.info("stopped", finished=finished, seconds=round(time.perf_counter() - started, 3))
        return finished

    def _caller_of(self, transport: grpc.ServicerContext) -> Caller:
        return caller_shown(transport, None if self._credentials is None else self._credentials.authorize)

    def _with_services(self, authorize: Authorize | None) -> grpc.Server:
        metrics = self._metrics
        server = grpc.server(
            self._threads,
            interceptors=[] if metrics is None else [UnknownMethods(metrics.calls.unknown)],
            options=grpc_options(self.settings, stream_window(self.budget.total)),
        )
        threads = self.settings.threads or usable_cores()
        plans = None if metrics is None else metrics.plans
        service = RegularizationService(self.regions, threads, self._plans, plans)
        stack = self._stack(authorize, self._watchdog)
        training = handlers_for_training(TrainingServices(), stack)
        standard = standard_handlers(self._health, SERVICES, stack, self._standard_threads)
        server.add_generic_rpc_handlers((handlers_of(service, stack), *training, *standard))
        return server

    def _stack(self, authorize: Authorize | None, watchdog: Watchdog) -> Stack:
        return Stack(
            self._log,
            self._failures,
            authorize,
            self.quotas,
            self._calls,
            self._drain,
            watchdog,
            window=stream_window(self.budget.total),
            counting=None if self._metrics is None else self._metrics.calls,
            tracing=self._spans,
        )

    def _listen_for_health(self) -> None:
        if self.settings.health_listen is None:
            return
        self._health_listener = HealthListener(
            self.settings.health_listen,
            self.settings,
            self._limits,
            self._log,
            lambda watchdog: self._stack(None, watchdog),
            self._metrics,
        )
        self._health_listener.listen()

    def _offer_shared_memory(self) -> None:
        if self.regions is None:
            return
        group = group_of(self.settings)
        self._hand_off = HandOff(self.regions, group, self.settings.shared_memory_regions, self._log)
        for address in filter(is_unix, self.addresses):
            self._hand_off.add(listen_for_hand_off(address, group))

    def _close(self) -> None:
        """End everything now: what is still open is the watching of health, or past its grace."""
        if self._server is not None:
            self._server.stop(None)
        if self._health_listener is not None:
            self._health_listener.close()
        if self._credentials is not None:
            self._credentials.stop()
        self._failures.tell()
        if self._hand_off is not None:
            self._hand_off.close()
            self._hand_off = None
        if self._metrics is not None:
            self._metrics.stop()
        if self._spans is not None:
            self._spans.stop()
        self._watchdog.close()
        self._arrivals.close()
        self._standard_threads.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def check_files(settings: Settings, log: FilteringBoundLogger) -> None:
    """Check certificates, tokens and plans as a start does.

    Raises:
        SettingInvalid: If a file cannot be read, or is not what it should be.
    """
    Credentials(settings, log)
    if settings.plans is not None:
        PlanFolder(settings.plans, log)


def _metrics(settings: Settings) -> Metrics | None:
    """What the settings ask for; nothing of it is imported where they do not."""
    if settings.metrics_listen is None:
        return None
    from .observability.metrics import Metrics

    return Metrics(settings.metrics_listen)


def _spans(settings: Settings) -> Spans | None:
    """Likewise.

    Raises:
        SettingInvalid: If they are asked for, and what makes them is not installed.
    """
    if settings.traces_endpoint is None:
        return None
    try:
        from .observability.spans import Spans
    except ImportError as error:
        raise SettingInvalid("traces_endpoint", f"needs the extra: traces ({error})") from error
    return Spans(settings.traces_endpoint)


def _share_of_regions(settings: Settings, budget: int) -> Share:
    """What one user of the host may have of shared memory: all, where none other comes and nothing is set."""
    usual = 100 if settings.shared_memory_group is None else USUAL_PERCENT
    regions = settings.max_regions_per_caller
    return Share(
        part_of(budget, settings.memory_share_per_caller or usual),
        part_of(settings.shared_memory_regions, usual) if regions is None else regions,
    )


def _regions(settings: Settings) -> Regions | None:
    """Memory to share; None where it is not wanted, no client could get it, or the system has none such."""
    if settings.shared_memory and SYSTEM_SHARES_MEMORY and any(map(is_unix, settings.listen)):
        budget = settings.shared_memory_budget or SHARED_MEMORY_BUDGET
        return Regions(budget, settings.shared_memory_regions, _share_of_regions(settings, budget))
    return None
