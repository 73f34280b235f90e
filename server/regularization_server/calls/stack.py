"""What happens around every call of the service, one inside the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..observability.request_ids import HEADER
from .context import CallContext
from .endings import errors_to_statuses, nothing_told
from .log import logged
from .watched import Watcher, watched

if TYPE_CHECKING:
    import grpc
    from structlog.typing import FilteringBoundLogger

    from ..process.line_limit import LineLimit
    from .admission import Calls
    from .authorization import Authorize
    from .drain import Drain


class Stack:
    """The layers around a method.

    Args:
        log: Where each call leaves one line.
        authorize: Looks at the bearer token that a call shows; None where none is asked for.
        failures: How many lines of calls that fail there may be.
        calls: Where calls are counted and admitted.
        drain: How long calls last while the server stops.
        watchers: Who is told of calls.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        failures: LineLimit,
        authorize: Authorize | None,
        calls: Calls,
        drain: Drain,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._log = log
        self._failures = failures
        self._authorize = authorize
        self._calls = calls
        self._drain = drain
        self._watchers = watchers

    @contextmanager
    def around(self, method: str, transport: grpc.ServicerContext) -> Iterator[CallContext]:
        """Go through all layers, from the outermost on, and give the method the call's context."""
        with nothing_told(transport, self._log):
            context = CallContext(method, transport)
            transport.set_trailing_metadata(((HEADER, context.request_id),))
            with (
                logged(context, self._log, self._failures),
                watched(context, self._watchers),
                errors_to_statuses(context),
            ):
                if self._authorize is not None:
                    context.token_name = self._authorize(transport.invocation_metadata())
                with self._calls.admitted(context):
                    yield context
                    self._drain.hold(context)
