"""How calls end: errors become statuses, and clients that go away end them, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import grpc

from ..contract.statuses import FAULT, failure_of
from .context import ClientGone, Ending

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ..contract.statuses import Failure
    from .context import CallContext

OK = Ending(grpc.StatusCode.OK)

SECONDS_TO_HEAR_OF_A_DEPARTURE = 0.1
"""Time in which gRPC tells that a client is gone, after it has told that its stream is at an end."""


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
        context.ending = _departure(context)
        raise
    except ClientGone:
        context.ending = _departure(context)
        context.transport.abort(context.ending.code, "")
    except Exception as error:
        failure = failure_of(error)
        context.ending = _ending(context, failure, error)
        context.transport.abort_with_status(failure.status)
    else:
        context.ending = OK


def _ending(context: CallContext, failure: Failure, error: Exception) -> Ending:
    if failure.code is grpc.StatusCode.INTERNAL:
        return Ending(failure.code, failure.reason, fault=error)
    if context.requests_ended:
        _hear_of_a_departure(context)
    if not context.transport.is_active():
        # What a method makes of a stream that was cut off is not what ended the call.
        return _departure(context)
    return Ending(failure.code, failure.reason, failure.place)


def _hear_of_a_departure(context: CallContext) -> None:
    """Wait a moment where a stream ended too soon: of one that broke off, gRPC may tell the end first."""
    gone = Event()
    if context.transport.add_callback(gone.set):
        gone.wait(SECONDS_TO_HEAR_OF_A_DEPARTURE)


def _departure(context: CallContext) -> Ending:
    """How a call ended whose client is gone."""
    remaining = context.transport.time_remaining()
    if remaining is not None and remaining <= 0:
        return Ending(grpc.StatusCode.DEADLINE_EXCEEDED)
    return Ending(grpc.StatusCode.CANCELLED)
