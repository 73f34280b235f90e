"""What happens around every call of the service, one inside the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .authorization import check_token
from .callers import caller_of
from .context import CallContext
from .endings import errors_to_statuses
from .held_messages import HeldMessages
from .log import logged

if TYPE_CHECKING:
    import grpc
    from structlog.typing import FilteringBoundLogger

    from .admission import Calls
    from .drain import Drain
    from .quotas import Quotas


class Stack:
    """The layers around a method.

    Args:
        log: Where each call leaves one line.
        token: The bearer token that callers must show; None for none.
        quotas: What each caller may have.
        calls: Where calls are counted and admitted.
        drain: How long calls last while the server stops.
        window: Bytes that a client may send of a stream before they are read.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        token: bytes | None,
        quotas: Quotas,
        calls: Calls,
        drain: Drain,
        window: int,
    ) -> None:
        self._log = log
        self._token = token
        self._quotas = quotas
        self._calls = calls
        self._drain = drain
        self._window = window

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
        context = CallContext(method, transport)
        with logged(context, self._log), errors_to_statuses(context):
            if self._token is not None:
                check_token(transport.invocation_metadata(), self._token)
            context.caller = caller_of(transport)
            window = self._window if streamed else 0
            with (
                self._quotas.counted(context),
                self._calls.admitted(context),
                HeldMessages(context.memory, window) as context.messages,
            ):
                yield context
                self._drain.hold(context)
