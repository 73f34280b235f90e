"""The threads that calls run in."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakSet

from .grpc_internals import waiting_call

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from .arrivals import Arrivals

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[[], Any]

SECONDS_TO_STAY = 5.0
"""How long a thread stays that has nothing to do."""


class CallThreads(ThreadPoolExecutor):
    """Threads made on demand, up to a number, which end when there is nothing for them to do.

    Who was busy last has the next work, so the others do end. Where the system gives no more threads, work
    waits for a free one. A call of gRPC's has a thread from its first message on.

    It is a ``ThreadPoolExecutor`` since gRPC takes nothing else, and has nothing of it but the interface.

    Args:
        limit: How many there may be.
        log: Where a lack of threads is logged.
        arrivals: Where calls wait for their first message.
        name: What their names begin with.
    """

    def __init__(self, limit: int, log: FilteringBoundLogger, arrivals: Arrivals, name: str = "call") -> None:
        super().__init__(limit)
        self._limit = limit
        self._log = log
        self._arrivals = arrivals
        self._name = name
        self._count = 0
        self._changing = threading.Lock()
        self._free: list[SimpleQueue[Work | None]] = []
        self._backlog: deque[Work] = deque()
        self._closed = False
        _all.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread, of which the future says nothing."""
        call = waiting_call(fn, args)
        if call is None:
            self.run(lambda: fn(*args, **kwargs))
        else:
            self._arrivals.add(call, self.run)
        return Future()

    def run(self, work: Work) -> None:
        """Run something in a thread; an error of its goes to the log."""
        with self._changing:
            inbox = self._free.pop() if self._free else None
            if inbox is None and (self._count == self._limit or self._closed):
                self._backlog.append(work)
                return
            self._count += inbox is None
        if inbox is None:
            self._start(work)
        else:
            inbox.put(work)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Begin nothing more.

        Args:
            wait: Is taken for False: whoever has something to do ends when that is done.
            cancel_futures: Whether to drop what waits for a thread.
        """
        with self._changing:
            self._closed = True
            if cancel_futures:
                self._backlog.clear()
            free, self._free = self._free, []
        for inbox in free:
            inbox.put(None)

    def _start(self, work: Work) -> None:
        inbox: SimpleQueue[Work | None] = SimpleQueue()
        inbox.put(work)
        try:
            threading.Thread(target=self._serve, args=(inbox,), name=f"{self._name}_{id(inbox):x}").start()
        except RuntimeError as error:
            # In gRPC this would end the only polling thread, and with it the server. The next thread that is
            # free takes the work.
            with self._changing:
                self._count -= 1
                self._backlog.append(work)
            self._log.warning("no thread for a call", error=str(error))

    def _serve(self, inbox: SimpleQueue[Work | None]) -> None:
        while (work := self._next(inbox)) is not None:
            self._do(work)
            # What a call has goes with it, not with the next one.
            del work
            with self._changing:
                if self._backlog:
                    inbox.put(self._backlog.popleft())
                elif self._closed:
                    inbox.put(None)
                else:
                    self._free.append(inbox)

    def _do(self, work: Work) -> None:
        try:
            work()
        except Exception as error:
            # Calls end with a status. Whatever else goes wrong, the thread is there for the next one.
            self._log.error("work failed", exc_info=error)

    def _next(self, inbox: SimpleQueue[Work | None]) -> Work | None:
        """What to do next; None for nothing more."""
        try:
            work = inbox.get(timeout=SECONDS_TO_STAY)
        except Empty:
            with self._changing:
                stays = inbox not in self._free
                if not stays:
                    self._free.remove(inbox)
            # Somebody has just taken it out, to give it something.
            work = inbox.get() if stays else None
        if work is None:
            with self._changing:
                self._count -= 1
        return work


_all: WeakSet[CallThreads] = WeakSet()


def _shut_all_down() -> None:
    for each in list(_all):
        each.shutdown()


# The interpreter ends when all threads have; those with nothing to do should not keep it so long.
getattr(threading, "_register_atexit", lambda _: None)(_shut_all_down)
