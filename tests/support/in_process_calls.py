"""Calls of the service's handlers without gRPC: bytes in, bytes and a status out, and nothing in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from regularization_kernels.engine import MemoryBudget
from regularization_server import Settings
from regularization_server.calls.admission import Calls
from regularization_server.calls.arrivals import Arrivals
from regularization_server.calls.drain import Drain
from regularization_server.calls.handlers import handlers_of
from regularization_server.calls.progress import Limits, Watchdog
from regularization_server.calls.quotas import quotas_of
from regularization_server.calls.service import SERVICE, RegularizationService
from regularization_server.calls.stack import Stack
from regularization_server.process.line_limit import LineLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DETAILS = "grpc-status-details-bin"


class Ended(NamedTuple):
    """How a call ended, and what came before.

    Attributes:
        answers: The messages of its answer.
        code: Its status.
        reason: The reason of an error; None without one.
    """

    answers: list[bytes]
    code: grpc.StatusCode
    reason: str | None


class Service:
    """The service's handlers, with all layers around them.

    Args:
        memory: Bytes of the budget.

    Attributes:
        budget: The memory budget.
        faults: What went wrong in calls that ended with INTERNAL.
    """

    def __init__(self, memory: int) -> None:
        settings = Settings()
        self.budget = MemoryBudget(memory)
        self.faults: list[BaseException] = []
        limits = Limits(settings.stream_idle_timeout)
        log = structlog.wrap_logger(None, processors=[self._keep_fault])
        self._calls = Calls(settings.max_concurrent_calls)
        stack = Stack(
            log,
            LineLimit(log, "failed calls"),
            None,
            quotas_of(settings, self.budget),
            self._calls,
            Drain(),
            Watchdog(limits, Arrivals(1, limits.idle)),
            window=0,
        )
        self._handlers = handlers_of(RegularizationService(), stack)

    @property
    def is_at_rest(self) -> bool:
        """Whether no call is in flight, and none has left anything in the budget."""
        return self._calls.in_flight == 0 and self.budget.used == 0

    def call(self, method: str, messages: Sequence[bytes]) -> Ended:
        """Make a call with these messages."""
        handler: Any = self._handlers.service(_Details(f"/{SERVICE}/{method}", ()))
        transport: Any = _Transport()
        answers: list[bytes] = []
        try:
            if handler.response_streaming:
                answers.extend(handler.stream_stream(iter(messages), transport))
            else:
                answers.append(handler.stream_unary(iter(messages), transport))
        except _AbortedError as error:
            return Ended(answers, error.code, error.reason)
        finally:
            transport.end()
        return Ended(answers, grpc.StatusCode.OK, None)

    def _keep_fault(self, logger: Any, name: str, event: Any) -> Any:
        if isinstance(event.get("exc_info"), BaseException):
            self.faults.append(event["exc_info"])
        raise structlog.DropEvent


class _Details(NamedTuple):
    """What gRPC tells of a call to find its handler."""

    method: str
    invocation_metadata: tuple[()]


class _AbortedError(grpc.RpcError):
    """A call that ended with a status that is not OK."""

    def __init__(self, code: grpc.StatusCode, reason: str | None) -> None:
        super().__init__()
        self.code = code
        self.reason = reason


class _Transport:
    """What a handler sees of gRPC."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def end(self) -> None:
        """Tell those who wait for it that the call is over."""
        for callback in self._callbacks:
            callback()

    def peer(self) -> str:
        """A peer on this host."""
        return "unix:"

    def invocation_metadata(self) -> tuple[()]:
        """None."""
        return ()

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Send none."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call something at the end."""
        self._callbacks.append(callback)
        return True

    def is_active(self) -> bool:
        """Nobody goes away."""
        return True

    def time_remaining(self) -> None:
        """There is no deadline."""

    def code(self) -> None:
        """Nobody has set one."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call without a reason."""
        raise _AbortedError(code, None)

    def abort_with_status(self, status: grpc.Status) -> None:
        """End the call with a reason."""
        raw = dict(status.trailing_metadata)[DETAILS]
        information = error_details_pb2.ErrorInfo()
        status_pb2.Status.FromString(raw).details[0].Unpack(information)
        raise _AbortedError(status.code, information.reason or None)
