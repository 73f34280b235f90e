"""The standard health service. Nobody who asks, or does not read the answer, keeps another waiting."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2

from ..contract.refusals import TooManyCalls
from ..contract.retries import SECONDS_FOR_A_CALL

if TYPE_CHECKING:
    import grpc

    from .progress import Progress
    from .threads import CallThreads

Response = health_pb2.HealthCheckResponse
SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
"""Full name of the service."""


class Health:
    """Whether services are served, for those who ask and for those who watch.

    Args:
        watchers: How many may watch at once.
        telling: Threads that tell them.
    """

    def __init__(self, watchers: int, telling: CallThreads) -> None:
        self._limit = watchers
        self._telling = telling
        self._lock = Lock()
        self._statuses = {"": Response.SERVING}
        self._stops = False
        self._watchers: set[_Watcher] = set()

    def serve(self, *services: str) -> None:
        """Say from now on that these are served."""
        with self._lock:
            self._statuses |= dict.fromkeys(services, Response.SERVING)
            watchers = list(self._watchers)
        self._tell(watchers)

    def stop(self) -> None:
        """Say from now on that nothing is served."""
        with self._lock:
            self._stops = True
            watchers = list(self._watchers)
        self._tell(watchers)

    def status_of(self, service: str) -> int | None:
        """The status of a service; None of one that is not known."""
        status = self._statuses.get(service)
        return Response.NOT_SERVING if self._stops and status is not None else status

    def statuses(self) -> dict[str, int | None]:
        """The status of every service."""
        return {name: self.status_of(name) for name in tuple(self._statuses)}

    def watch(
        self,
        service: str,
        transport: grpc.ServicerContext,
        progress: Progress,
        send: Callable[[health_pb2.HealthCheckResponse], None],
    ) -> None:
        """Send the status of a service now, and whenever it changes, until the call ends.

        Raises:
            TooManyCalls: If as many watch as may.
        """
        watcher = _Watcher(self, service, progress, send)
        with self._lock:
            if len(self._watchers) >= self._limit:
                text = f"the server takes {self._limit} watchers of its health: ask for it instead"
                raise TooManyCalls(text, "server", SECONDS_FOR_A_CALL)
            self._watchers.add(watcher)
        if not transport.add_callback(lambda: self._leave(watcher)):
            self._leave(watcher)
        watcher.tell()

    def _tell(self, watchers: list[_Watcher]) -> None:
        for watcher in watchers:
            self._telling.run(watcher.tell)

    def _leave(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)


class _Watcher:
    """One who watches a service, and what he was told last."""

    def __init__(
        self,
        health: Health,
        service: str,
        progress: Progress,
        send: Callable[[health_pb2.HealthCheckResponse], None],
    ) -> None:
        self._health = health
        self._service = service
        self._progress = progress
        self._send = send
        self._told: int | None = None
        self._lock = Lock()

    def tell(self) -> None:
        """Send the status, where it is another one than before. This lasts until it is read."""
        with self._lock:
            status = self._health.status_of(self._service)
            status = Response.SERVICE_UNKNOWN if status is None else status
            if status != self._told:
                self._told = status
                with self._progress.waiting():
                    self._send(Response(status=status))
