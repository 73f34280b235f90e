"""Health on an address of its own, which shares no port, no thread and no limit with callers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from .calls.arrivals import Arrivals
from .calls.callers import caller_of
from .calls.health import Health
from .calls.health_and_reflection import StandardThreads, health_handler
from .calls.progress import Watchdog
from .calls.unknown_methods import UnknownMethods
from .process.addresses import errors_name, listen
from .process.grpc_options import grpc_options, stream_window
from .units import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from .calls.progress import Limits
    from .calls.stack import Stack
    from .observability.metrics import Metrics
    from .settings import Settings

WATCHERS = 64
"""Who may watch at once."""

WAITING = 256
"""Calls that may wait for their message; whoever sends it with the call does not wait."""

MOST_BYTES = 64 * KIB
"""Of a request, which is a service's name: the least that may be set of messages."""


class HealthListener:
    """Serves ``grpc.health.v1``, and nothing else, to whoever may connect: in plain text, without a token.

    Args:
        address: host:port, where port 0 takes a free one, unix:/path or unix-abstract:name.
        settings: Of the server: how connections are held, and who may write to a socket's file.
        limits: How long calls may take.
        log: Where a lack of threads is logged.
        around: Makes the layers around each call, with what lets go of calls that get nowhere.
        metrics: What counts calls; None for nothing.
    """

    def __init__(
        self,
        address: str,
        settings: Settings,
        limits: Limits,
        log: FilteringBoundLogger,
        around: Callable[[Watchdog], Stack],
        metrics: Metrics | None,
    ) -> None:
        self._settings = replace(settings, max_message_bytes=MOST_BYTES)
        self._arrivals = Arrivals(WAITING, limits.idle, caller_of)
        self._watchdog = Watchdog(limits, self._arrivals)
        self._threads = StandardThreads.made(log, self._arrivals)
        self._server = grpc.server(
            self._threads.checking,
            interceptors=[] if metrics is None else [UnknownMethods(metrics.calls.unknown)],
            options=grpc_options(self._settings, stream_window(0)),
        )
        self.health = Health(WATCHERS, self._threads.watching)
        stack = around(self._watchdog)
        self._server.add_generic_rpc_handlers((health_handler(self.health, stack, self._threads),))
        self.address = address
        self._started = False

    def listen(self) -> None:
        """Bind the address; it has the port that was taken for port 0 from then on.

        Raises:
            SettingInvalid: If it cannot be listened on.
        """
        with errors_name("health_listen"):
            self.address = listen(self._server, self.address, self._settings, None)

    def start(self) -> None:
        """Serve."""
        self._started = True
        self._server.start()
        self._watchdog.start()

    def close(self) -> None:
        """Serve no more, and give the address back."""
        if not self._started:
            # Only a server that was started gives its address back.
            self._started = True
            self._server.start()
        self._server.stop(None)
        self._watchdog.close()
        self._arrivals.close()
        self._threads.close()
