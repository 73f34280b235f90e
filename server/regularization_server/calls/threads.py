"""The threads that calls run in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .grpc_internals import waiting_call

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from .arrivals import Arrivals

P = ParamSpec("P")
T = TypeVar("T")


class CallThreads(ThreadPoolExecutor):
    """Threads made on demand, up to a number; where the system gives no more, calls wait for a free one.

    A call of gRPC's has one from its first message on.

    Args:
        limit: How many there may be.
        log: Where a lack of threads is logged.
        arrivals: Where calls wait for their first message.
        name: What their names begin with.
    """

    def __init__(self, limit: int, log: FilteringBoundLogger, arrivals: Arrivals, name: str = "call") -> None:
        super().__init__(limit, thread_name_prefix=name)
        self._log = log
        self._arrivals = arrivals

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread."""
        call = waiting_call(fn, args)
        if call is None:
            return self._run(fn, *args, **kwargs)
        self._arrivals.add(call, self._run)
        return _unused()

    def _run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            # In gRPC this would end the only polling thread, and with it the server. The work is queued
            # by now: the next thread that is free takes it.
            self._log.warning("no thread for a call", error=str(error))
            return _unused()


def _unused() -> Future[Any]:
    """A future that nobody waits for."""
    return Future()
