"""How calls end: errors become statuses, and clients that go away end them, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from ..contract.statuses import FAULT, failure_of
from .context import Ending
from .grpc_internals import ClientGone

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ..contract.statuses import Failure
    from .context import CallContext

OK = Ending(grpc.StatusCode.OK)

SECONDS_ON_THE_WAY = 0.1
"""Time that a call may take to come, where machines are busy."""


@contextmanager
def nothing_told(transport: grpc.ServicerContext, log: FilteringBoundLogger) -> Iterator[None]:
    """End a call with INTERNAL whose own layers fail: gRPC would tell the client the error's text."""
    try:
        yield
    except (GeneratorExit, grpc.RpcError):
        raise
    except Exception as error:
        if type(error) is Exception and not error.args:
            # What gRPC raises by itself where a call is ended with a status.
            raise
        log.exception("call failed", exc_info=error)
        transport.abort(grpc.StatusCode.INTERNAL, FAULT)


@contextmanager
def errors_to_statuses(context: CallContext) -> Iterator[None]:
    """End a call with the status of the error that leaves the block, and note how it ended."""
    try:
        yield
    except (GeneratorExit, grpc.RpcError):
        context.ending = departure(context)
        raise
    except ClientGone:
        context.ending = departure(context)
        context.transport.abort(context.ending.code, "")
    except Exception as error:
        failure = failure_of(error, context.request_id)
        context.ending = _ending(context, failure, error)
        context.transport.abort_with_status(failure.status)
    else:
        context.ending = _good_end(context)


def _good_end(context: CallContext) -> Ending:
    if not context.transport.is_active():
        return departure(context)
    code: grpc.StatusCode | None = context.transport.code()  # type: ignore[attr-defined] # its types miss it
    return OK if code is None else Ending(code)


def _ending(context: CallContext, failure: Failure, error: Exception) -> Ending:
    if failure.code is grpc.StatusCode.INTERNAL:
        return Ending(failure.code, failure.reason, fault=error)
    if not context.transport.is_active() or context.was_cut_off():
        # What a method makes of a stream that was cut off is not what ended the call.
        return departure(context)
    return Ending(failure.code, failure.reason, failure.place)


def departure(context: CallContext) -> Ending:
    """How a call ended whose client is gone, or was let go."""
    if context.progress.error is not None:
        failure = failure_of(context.progress.error, context.request_id)
        return Ending(failure.code, failure.reason, failure.place)
    remaining = context.transport.time_remaining()
    if remaining is not None and remaining <= _early(remaining + context.seconds):
        return Ending(grpc.StatusCode.DEADLINE_EXCEEDED)
    return Ending(grpc.StatusCode.CANCELLED)


def _early(timeout: float) -> float:
    """Seconds before its deadline from which on a client that goes is taken to go because of it.

    A client's own deadline comes before the server's: gRPC rounds what is left of it up to about a hundredth,
    and the call was on its way meanwhile.
    """
    return min(timeout / 100 + SECONDS_ON_THE_WAY, timeout / 4)
