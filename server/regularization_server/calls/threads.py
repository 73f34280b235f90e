"""The threads that calls run in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakSet

from regularization_kernels.fair_queue import FairQueue

from .grpc_internals import waiting_call

if TYPE_CHECKING:
    import grpc
    from structlog.typing import FilteringBoundLogger

    from .arrivals import Arrivals
    from .callers import Caller

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[[], Any]

SECONDS_TO_STAY = 5.0
"""How long a thread stays that has nothing to do."""


class CallThreads(ThreadPoolExecutor):
    """Threads made on demand, up to a number, which end when there is nothing for them to do.

    Who was busy last has the next work, so the others do end. Where the system gives no more threads, work
    waits for a free one. A call of gRPC's has a thread from its first message on.

    gRPC's own thread, which every call goes through, starts none: another does so, one after the other. What
    waits for it is taken by callers in turn, so who begins thousands of calls at once keeps himself waiting.

    It is a ``ThreadPoolExecutor`` since gRPC takes nothing else, and has nothing of it but the interface.

    Args:
        limit: How many there may be.
        log: Where a lack of threads is logged.
        arrivals: Where calls wait for their first message.
        name: What their names begin with.
        caller_of: Who makes a call; None where calls have their turns as they come.
    """

    def __init__(
        self,
        limit: int,
        log: FilteringBoundLogger,
        arrivals: Arrivals,
        name: str = "call",
        caller_of: Callable[[grpc.ServicerContext], Caller] | None = None,
    ) -> None:
        super().__init__(limit)
        self._limit = limit
        self._log = log
        self._arrivals = arrivals
        self._name = name
        self._caller_of = caller_of
        self._count = 0
        self._changing = threading.Condition()
        self._free: list[SimpleQueue[Work | None]] = []
        self._waiting: FairQueue[Work] = FairQueue()
        self._has_starter = False
        self._closed = False
        _all.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread, of which the future says nothing."""
        call = waiting_call(fn, args)
        if call is None:
            self.run(lambda: fn(*args, **kwargs))
        else:
            self._arrivals.add(call, self._run_call)
        return Future()

    def run(self, work: Work) -> None:
        """Run something in a thread; an error of its goes to the log."""
        self._run_for(None, work)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Begin nothing more.

        Args:
            wait: Is taken for False: whoever has something to do ends when that is done.
            cancel_futures: Whether to drop what waits for a thread.
        """
        with self._changing:
            self._closed = True
            if cancel_futures:
                self._waiting.clear()
            free, self._free = self._free, []
            self._changing.notify_all()
        for inbox in free:
            inbox.put(None)

    def _run_call(self, work: Work, transport: grpc.ServicerContext) -> None:
        caller = None
        if self._caller_of is not None and self._waiting:
            # In gRPC's thread, an error would end the server.
            with suppress(Exception):
                caller = self._caller_of(transport)
        self._run_for(caller, work)

    def _run_for(self, caller: Caller | None, work: Work) -> None:
        with self._changing:
            inbox = self._free.pop() if self._free else None
            begins = False
            if inbox is None:
                self._waiting.put(caller, work)
                begins = self._may_start() and not self._has_starter
                self._has_starter |= begins
                self._changing.notify()
        if inbox is not None:
            inbox.put(work)
        elif begins:
            self._start("starts", self._start_others)

    def _may_start(self) -> bool:
        return bool(self._waiting) and self._count < self._limit and not self._closed

    def _start_others(self) -> None:
        """Start a thread for whatever waits for one, until there is nothing to do, or none to be had."""
        while (work := self._next_to_start()) is not None:
            inbox: SimpleQueue[Work | None] = SimpleQueue()
            inbox.put(work)
            if not self._start(f"{id(inbox):x}", partial(self._serve, inbox)):
                with self._changing:
                    self._count -= 1
                    self._waiting.put(None, work)
                return
            del work, inbox

    def _next_to_start(self) -> Work | None:
        """What to start a thread with; None where for some time nothing was, and this thread ends."""
        with self._changing:
            self._changing.wait_for(lambda: self._may_start() or self._closed, SECONDS_TO_STAY)
            self._has_starter = self._may_start()
            if not self._has_starter:
                return None
            self._count += 1
            return self._waiting.take()

    def _start(self, name: str, target: Callable[[], None]) -> bool:
        """Start a thread; whether there is one to be had."""
        try:
            threading.Thread(target=target, name=f"{self._name}_{name}").start()
        except RuntimeError as error:
            # In gRPC this would end the only polling thread, and with it the server. The next thread that is
            # free takes the work, or with the next call one is started for both.
            with self._changing:
                self._has_starter = False
            self._log.warning("no thread for a call", error=str(error))
            return False
        return True

    def _serve(self, inbox: SimpleQueue[Work | None]) -> None:
        while (work := self._next(inbox)) is not None:
            self._do(work)
            # What a call has goes with it, not with the next one.
            del work
            with self._changing:
                if self._waiting:
                    inbox.put(self._waiting.take())
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
