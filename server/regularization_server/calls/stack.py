"""What happens around every call of the service, one inside the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..observability.request_ids import HEADER
from .callers import caller_of
from .context import CallContext
from .endings import errors_to_statuses, nothing_told
from .held_messages import HeldMessages
from .log import logged
from .watched import Watcher, watched, watched_until_gone

if TYPE_CHECKING:
    import grpc
    from structlog.typing import FilteringBoundLogger

    from ..process.line_limit import LineLimit
    from .admission import Calls
    from .authorization import Authorize
    from .drain import Drain
    from .progress import Watchdog
    from .quotas import Quotas


class Stack:
    """The layers around a method.

    Args:
        log: Where each call leaves one line.
        authorize: Looks at the bearer token that a call shows; None where none is asked for.
        failures: How many lines of calls that fail there may be.
        quotas: What each caller may have.
        calls: Where calls are counted and admitted.
        drain: How long calls last while the server stops.
        watchdog: What lets go of calls that get nowhere.
        window: Bytes that a client may send of a stream before they are read.
        counting: Who is told of every call; None for nobody.
        tracing: Who is told of all calls but those of health and reflection; None for nobody.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        failures: LineLimit,
        authorize: Authorize | None,
        quotas: Quotas,
        calls: Calls,
        drain: Drain,
        watchdog: Watchdog,
        *,
        window: int,
        counting: Watcher | None = None,
        tracing: Watcher | None = None,
    ) -> None:
        self._log = log
        self._failures = failures
        self._authorize = authorize
        self._quotas = quotas
        self._calls = calls
        self._drain = drain
        self._watchdog = watchdog
        self._window = window
        self._counting = [each for each in (counting,) if each is not None]
        self._watchers = [each for each in (counting, tracing) if each is not None]

    @contextmanager
    def around(
        self, method: str, transport: grpc.ServicerContext, *, streamed: bool = True
    ) -> Iterator[CallContext]:
        """Go through all layers, from the outermost on, and give the method the call's context.

        Args:
            method: Its full name, with slashes.
            transport: gRPC's context of the call.
            streamed: Whether the client may send more than one message.
        """
        window = self._window if streamed else 0
        with self._begun(method, transport) as context:
            try:
                with (
                    logged(context, self._log, self._failures),
                    watched(context, self._watchers),
                    errors_to_statuses(context),
                ):
                    self._check_token(context)
                    context.caller = caller_of(transport, context.token_name)
                    with (
                        self._quotas.counted(context),
                        self._calls.admitted(context),
                        HeldMessages(context.memory, window) as context.messages,
                    ):
                        yield context
                        self._drain.hold(context)
            finally:
                context.progress.ended()

    @contextmanager
    def around_health(self, method: str, transport: grpc.ServicerContext) -> Iterator[CallContext]:
        """Go through the layers around a call of health: a prober has no token."""
        with self._begun(method, transport) as context:
            try:
                with (
                    self._quietly(context),
                    watched(context, self._counting),
                    errors_to_statuses(context),
                ):
                    yield context
            finally:
                context.progress.ended()

    @contextmanager
    def around_watch(self, method: str, transport: grpc.ServicerContext) -> Iterator[CallContext]:
        """Likewise around a call that goes on when its handler is done, for as long as its client wants."""
        with (
            self._begun(method, transport, lasts=True) as context,
            self._quietly(context),
            watched_until_gone(context, self._counting),
            errors_to_statuses(context),
        ):
            yield context

    @contextmanager
    def around_reflection(
        self, method: str, transport: grpc.ServicerContext, streams: Calls, quotas: Quotas
    ) -> Iterator[CallContext]:
        """Go through the layers around a call of reflection, which is counted apart from others.

        Args:
            method: Its full name, with slashes.
            transport: gRPC's context of it.
            streams: Where it is counted.
            quotas: Where it is counted as its caller's.
        """
        with self._begun(method, transport) as context:
            try:
                with (
                    self._quietly(context),
                    watched(context, self._counting),
                    errors_to_statuses(context),
                ):
                    self._check_token(context)
                    context.caller = caller_of(transport, context.token_name)
                    with quotas.counted(context), streams.admitted(context):
                        yield context
            finally:
                context.progress.ended()

    @contextmanager
    def _begun(
        self, method: str, transport: grpc.ServicerContext, *, lasts: bool = False
    ) -> Iterator[CallContext]:
        with nothing_told(transport, self._log):
            context = CallContext(method, transport, self._watchdog.watch(transport, lasts=lasts))
            transport.set_trailing_metadata(((HEADER, context.request_id),))
            yield context

    def _check_token(self, context: CallContext) -> None:
        if self._authorize is not None:
            context.token_name = self._authorize(context.transport.invocation_metadata())

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
                self._log.error(
                    "call",
                    method=context.method,
                    peer=context.peer,
                    request_id=context.request_id,
                    exc_info=ending.fault,
                )
