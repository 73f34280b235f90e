"""What happens around every call of the service, one inside the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .authorization import check_token
from .context import CallContext
from .endings import errors_to_statuses
from .log import logged

if TYPE_CHECKING:
    import grpc
    from structlog.typing import FilteringBoundLogger

    from .admission import Calls
    from .drain import Drain
    from .progress import Watchdog


class Stack:
    """The layers around a method.

    Args:
        log: Where each call leaves one line.
        token: The bearer token that callers must show; None for none.
        calls: Where calls are counted and admitted.
        drain: How long calls last while the server stops.
        watchdog: What lets go of calls that get nowhere.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        token: bytes | None,
        calls: Calls,
        drain: Drain,
        watchdog: Watchdog,
    ) -> None:
        self._log = log
        self._token = token
        self._calls = calls
        self._drain = drain
        self._watchdog = watchdog

    @contextmanager
    def around(self, method: str, transport: grpc.ServicerContext) -> Iterator[CallContext]:
        """Go through all layers, from the outermost on, and give the method the call's context."""
        context = CallContext(method, transport, self._watchdog.watch(transport))
        try:
            with logged(context, self._log), errors_to_statuses(context):
                if self._token is not None:
                    check_token(transport.invocation_metadata(), self._token)
                with self._calls.admitted(context):
                    yield context
                    self._drain.hold(context)
        finally:
            context.progress.ended()

    @contextmanager
    def around_health(
        self, method: str, transport: grpc.ServicerContext, *, lasts: bool = False
    ) -> Iterator[CallContext]:
        """Go through the layers around a call of health: a prober has no token.

        Args:
            method: Its full name, with slashes.
            transport: gRPC's context of it.
            lasts: Whether it goes on when its handler is done.
        """
        context = CallContext(method, transport, self._watchdog.watch(transport, lasts=lasts))
        with self._quietly(context), errors_to_statuses(context):
            yield context
        if not lasts:
            context.progress.ended()

    @contextmanager
    def around_reflection(
        self, method: str, transport: grpc.ServicerContext, streams: Calls
    ) -> Iterator[CallContext]:
        """Go through the layers around a call of reflection, which is counted apart from others.

        Args:
            method: Its full name, with slashes.
            transport: gRPC's context of it.
            streams: Where it is counted.
        """
        context = CallContext(method, transport, self._watchdog.watch(transport))
        try:
            with self._quietly(context), errors_to_statuses(context):
                if self._token is not None:
                    check_token(transport.invocation_metadata(), self._token)
                with streams.admitted(context):
                    yield context
        finally:
            context.progress.ended()

    @contextmanager
    def _quietly(self, context: CallContext) -> Iterator[None]:
        """Write a line at debug when the call is over, and one at error where it shows a fault."""
        context.transport.add_callback(
            lambda: self._log.debug(
                "call", method=context.method, peer=context.peer, seconds=round(context.seconds, 6)
            )
        )
        try:
            yield
        finally:
            ending, context.ending = context.ending, None
            if ending is not None and ending.fault is not None:
                self._log.error("call", method=context.method, peer=context.peer, exc_info=ending.fault)
