"""One line in the log for each call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from .context import CallContext, Ending


@contextmanager
def logged(context: CallContext, log: FilteringBoundLogger) -> Iterator[None]:
    """Write a call's line once its ending is known."""
    try:
        yield
    finally:
        if context.ending is not None:
            # What becomes of its line is nothing to the call.
            with suppress(Exception):
                _write(log, context, context.ending)
            # A fault knows the frames it was raised in, and these know the context: both would stay.
            context.ending = None


def _write(log: FilteringBoundLogger, context: CallContext, ending: Ending) -> None:
    fields: dict[str, Any] = {} if ending.place is None else dict(ending.place)
    if ending.reason is not None:
        fields["reason"] = ending.reason
    fields |= {
        "method": context.method,
        "peer": context.peer,
        "request_id": context.request_id,
        "elements": context.elements,
    }
    if context.in_shared_memory:
        fields["shared"] = True
    fields |= {
        "bytes_received": context.bytes_received,
        "bytes_sent": context.bytes_sent,
        "seconds": round(context.seconds, 6),
        "status": ending.code.name,
    }
    if ending.fault is None:
        log.info("call", **fields)
    else:
        log.error("call", **fields, exc_info=ending.fault)
