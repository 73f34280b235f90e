"""What happens around every call of the service, one inside the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..observability.request_ids import HEADER
from .authorization import check_token
from .context import CallContext
from .endings import errors_to_statuses
from .log import logged
from .watched import Watcher, watched

if TYPE_CHECKING:
    import grpc
    from structlog.typing import FilteringBoundLogger

    from .admission import Calls
    from .drain import Drain


class Stack:
    """The layers around a method.

    Args:
        log: Where each call leaves one line.
        token: The bearer token that callers must show; None for none.
        calls: Where calls are counted and admitted.
        drain: How long calls last while the server stops.
        watchers: Who is told of calls.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        token: bytes | None,
        calls: Calls,
        drain: Drain,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._log = log
        self._token = token
        self._calls = calls
        self._drain = drain
        self._watchers = watchers

    @contextmanager
    def around(self, method: str, transport: grpc.ServicerContext) -> Iterator[CallContext]:
        """Go through all layers, from the outermost on, and give the method the call's context."""
        context = CallContext(method, transport)
        transport.set_trailing_metadata(((HEADER, context.request_id),))
        with logged(context, self._log), watched(context, self._watchers), errors_to_statuses(context):
            if self._token is not None:
                check_token(transport.invocation_metadata(), self._token)
            with self._calls.admitted(context):
                yield context
                self._drain.hold(context)
