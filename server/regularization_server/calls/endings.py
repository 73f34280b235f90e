"""How calls end: errors become statuses, and clients that go away end them, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from ..contract.statuses import failure_of
from .context import Ending
from .grpc_internals import ClientGone

if TYPE_CHECKING:
    from ..contract.statuses import Failure
    from .context import CallContext

OK = Ending(grpc.StatusCode.OK)


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
    if not context.transport.is_active():
        # What a method makes of a stream that was cut off is not what ended the call.
        return _departure(context)
    return Ending(failure.code, failure.reason, failure.place)


def _departure(context: CallContext) -> Ending:
    """How a call ended whose client is gone, or was let go."""
    if context.progress.error is not None:
        failure = failure_of(context.progress.error)
        return Ending(failure.code, failure.reason, failure.place)
    remaining = context.transport.time_remaining()
    if remaining is not None and remaining <= 0:
        return Ending(grpc.StatusCode.DEADLINE_EXCEEDED)
    return Ending(grpc.StatusCode.CANCELLED)
