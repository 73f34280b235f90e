"""The threads that calls run in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

P = ParamSpec("P")
T = TypeVar("T")


class CallThreads(ThreadPoolExecutor):
    """Threads made on demand, up to a number; where the system gives no more, calls wait for a free one.

    Args:
        limit: How many there may be.
        log: Where a lack of threads is logged.
    """

    def __init__(self, limit: int, log: FilteringBoundLogger) -> None:
        super().__init__(limit, thread_name_prefix="call")
        self._log = log

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread."""
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            # In gRPC this would end the only polling thread, and with it the server. The work is queued
            # by now: the next thread that is free takes it.
            self._log.warning("no thread for a call", error=str(error))
            unused: Future[Any] = Future()
            return unused
