"""What is counted of every call."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import grpc

if TYPE_CHECKING:
    from ..calls.context import CallContext, Ending
    from .instruments import Instruments

OTHER = "other"
"""The method of calls whose method there is not: a caller's names make no label."""

REASON_PREFIX = "ERROR_REASON_"


class _Ended(NamedTuple):
    """What is told of a call that has ended, for one method and status."""

    seconds: Callable[[float], None]
    received: Callable[[float], None]
    sent: Callable[[float], None]


class CallMetrics:
    """Counts calls by method and status. Safe to use from many threads.

    There are as many label sets as there are methods and statuses, whatever callers send.

    Args:
        instruments: The metrics.
    """

    def __init__(self, instruments: Instruments) -> None:
        started = instruments.counter("grpc_server_call_started")
        seconds = instruments.histogram("grpc_server_call_duration_seconds")
        received = instruments.histogram("grpc_server_call_rcvd_total_compressed_message_size_bytes")
        sent = instruments.histogram("grpc_server_call_sent_total_compressed_message_size_bytes")
        elements = instruments.counter("regularization_elements")
        refusals = instruments.counter("regularization_refusals")

        # A look into a table of one's own takes a fraction of what looking labels up does.
        @cache
        def started_of(method: str) -> Callable[[], None]:
            return started.labels(_without_slash(method)).inc

        @cache
        def ended_of(method: str, code: grpc.StatusCode) -> _Ended:
            labels = _without_slash(method), code.name
            return _Ended(*(each.labels(*labels).observe for each in (seconds, received, sent)))

        @cache
        def elements_of(method: str, shared: bool) -> Callable[[float], None]:
            return elements.labels(_without_slash(method), "shared" if shared else "streamed").inc

        @cache
        def refusals_of(reason: str, scope: str, token: str) -> Callable[[], None]:
            return refusals.labels(reason.removeprefix(REASON_PREFIX), scope, token).inc

        self._started, self._ended, self._elements, self._refusals = (
            started_of,
            ended_of,
            elements_of,
            refusals_of,
        )
        self._faults = instruments.counter("regularization_faults")

    def begun(self, context: CallContext) -> Callable[[Ending], None]:
        """Count a call that begins; what is returned counts its end."""
        self._started(context.method)()
        return partial(self._count_end, context)

    def _count_end(self, context: CallContext, ending: Ending) -> None:
        self.count(context.method, ending.code, context.seconds, context.bytes_received, context.bytes_sent)
        if context.elements:
            self._elements(context.method, context.in_shared_memory)(context.elements)
        if ending.fault is not None:
            self._faults.inc()
        elif ending.reason is not None:
            scope = (ending.place or {}).get("scope", "")
            # The names are the operator's own, and as many as the file of tokens has.
            token = context.token_name if scope == "caller" else None
            self._refusals(ending.reason, scope, token or "")()

    def count(
        self, method: str, code: grpc.StatusCode, seconds: float, received: int = 0, sent: int = 0
    ) -> None:
        """Count how a call has ended."""
        observe = self._ended(method, code)
        observe.seconds(seconds)
        observe.received(received)
        observe.sent(sent)

    def unknown(self) -> None:
        """Count a call whose method there is not."""
        self._started(OTHER)()
        self.count(OTHER, grpc.StatusCode.UNIMPLEMENTED, 0.0)


def _without_slash(method: str) -> str:
    return method.removeprefix("/")
