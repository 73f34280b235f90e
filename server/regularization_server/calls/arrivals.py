"""Calls of which no message is there yet: they hold no thread, and are let go where none comes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ..contract.refusals import StreamIdle, TooManyCalls
from ..contract.retries import SECONDS_FOR_A_CALL

if TYPE_CHECKING:
    import grpc

    from .callers import Caller
    from .grpc_internals import WaitingCall

    CallerOf = Callable[[grpc.ServicerContext], Caller]
    GiveThread = Callable[[Callable[[], None], grpc.ServicerContext], object]

SECONDS_TO_CANCEL = 0.02
"""Of a stream that ends without a message, gRPC says only a moment later that it was cancelled."""


class _Waiting(NamedTuple):
    begin: float
    give_thread: GiveThread


class _Shares:
    """Which waiting calls are whose. Callers are looked at only where too many wait, and each call's once.

    Args:
        caller_of: Who makes a call; None where all are one.
    """

    def __init__(self, caller_of: CallerOf | None) -> None:
        self._caller_of = caller_of
        self._new: dict[WaitingCall, None] = {}
        self._callers: dict[WaitingCall, Hashable] = {}
        self._calls: dict[Hashable, dict[WaitingCall, None]] = {}

    def add(self, call: WaitingCall) -> None:
        """Take a call in, behind all others."""
        self._new[call] = None

    def discard(self, call: WaitingCall) -> None:
        """Forget a call."""
        if call not in self._callers:
            del self._new[call]
            return
        caller = self._callers.pop(call)
        del self._calls[caller][call]
        if not self._calls[caller]:
            del self._calls[caller]

    def oldest_of_most(self) -> WaitingCall:
        """Of the caller who lets most calls wait, the one that has waited longest; there is a call."""
        for call in self._new:
            caller = self._callers[call] = self._who_makes(call)
            self._calls.setdefault(caller, {})[call] = None
        self._new.clear()
        caller = max(self._calls, key=lambda caller: len(self._calls[caller]))
        return next(iter(self._calls[caller]))

    def _who_makes(self, call: WaitingCall) -> Hashable:
        # In gRPC's thread, an error would end the server.
        with suppress(Exception):
            return None if self._caller_of is None else self._caller_of(call.transport)
        return None


class Arrivals:
    """The calls that wait for their first message.

    Args:
        limit: How many may; beyond it the caller with most of them loses the one that has waited longest.
        timeout: Seconds that each may.
        caller_of: Who makes a call; None where all are one caller's.
    """

    def __init__(self, limit: int, timeout: float, caller_of: CallerOf | None = None) -> None:
        self._limit = limit
        self._timeout = timeout
        self._lock = Lock()
        self._waiting: dict[WaitingCall, _Waiting] = {}
        self._shares = _Shares(caller_of)
        # However many are refused at once, one thread says so: the others are for those that are not.
        self._refusing = ThreadPoolExecutor(1, thread_name_prefix="refusals")

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, call: WaitingCall, give_thread: GiveThread) -> None:
        """Let a call wait.

        Args:
            call: The call.
            give_thread: What gives it a thread, once its first message is there; it is given what to run, and
                the context of the call.
        """
        with self._lock:
            self._waiting[call] = _Waiting(time.monotonic(), give_thread)
            self._shares.add(call)
            refused = self._shares.oldest_of_most() if len(self._waiting) > self._limit else None
        call.requests.ask(lambda: self._arrived(call))
        if refused is not None:
            text = f"{self._limit} calls wait for their first message: send it with the call, or try again"
            self._refuse(refused, TooManyCalls(text, "server", SECONDS_FOR_A_CALL))

    def end_overdue(self) -> float:
        """Refuse those that have waited for too long; when the next one will have, if there is one."""
        while True:
            with self._lock:
                oldest = next(iter(self._waiting), None)
                if oldest is None:
                    return math.inf
                end = self._waiting[oldest].begin + self._timeout
                if time.monotonic() < end:
                    return end
            self._refuse(oldest, StreamIdle.sender(self._timeout))

    def close(self) -> None:
        """Refuse no more."""
        self._refusing.shutdown(wait=False, cancel_futures=True)

    def _arrived(self, call: WaitingCall) -> None:
        """Go on with a call whose first message is there, or will not come."""
        waiting = self._taken(call)
        if waiting is None:
            return
        if call.requests.is_cancelled:
            call.drop()
        elif call.requests.has_message:
            waiting.give_thread(call.serve, call.transport)
        else:
            self._submit(_serve_later, call, time.monotonic() + SECONDS_TO_CANCEL)

    def _refuse(self, call: WaitingCall, error: Exception) -> None:
        if self._taken(call) is not None:
            call.requests.refuse(error)
            self._submit(call.serve)

    def _taken(self, call: WaitingCall) -> _Waiting | None:
        with self._lock:
            waiting = self._waiting.pop(call, None)
            if waiting is not None:
                self._shares.discard(call)
            return waiting

    def _submit(self, *what: object) -> None:
        # In gRPC's thread, an error would end the server. There is none to give while it is closed.
        with suppress(RuntimeError):
            self._refusing.submit(*what)  # type: ignore[arg-type] # a function and its arguments


def _serve_later(call: WaitingCall, when: float) -> None:
    time.sleep(max(when - time.monotonic(), 0.0))
    call.serve()
