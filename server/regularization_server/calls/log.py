"""One line in the log for each call, but for those that fail by the hundred."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ..process.line_limit import LineLimit
    from .context import CallContext, Ending


@contextmanager
def logged(context: CallContext, log: FilteringBoundLogger, failures: LineLimit) -> Iterator[None]:
    """Write a call's line once its ending is known.

    Args:
        context: The call.
        log: Where its line goes.
        failures: How many lines of calls that failed there may be.
    """
    try:
        yield
    finally:
        if context.ending is not None:
            # What becomes of its line is nothing to the call.
            with suppress(Exception):
                if _is_told(context, context.ending, failures):
                    _write(log, context, context.ending)
            # A fault knows the frames it was raised in, and these know the context: both would stay.
            context.ending = None


def _is_told(context: CallContext, ending: Ending, failures: LineLimit) -> bool:
    """Whether a call has a line: any that went well or by a fault of the server, and of the others some."""
    if ending.code is grpc.StatusCode.OK or ending.fault is not None:
        return True
    if ending.code is grpc.StatusCode.CANCELLED and not context.bytes_received:
        # A stream that is opened and reset costs its client nothing, and tells nothing.
        failures.leave_out()
        return False
    return failures.has_room()


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
