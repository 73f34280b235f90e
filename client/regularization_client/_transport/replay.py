"""Replay a call where a server goes away or asks to wait, while there is time; or end it early."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import grpc

from .._errors import RegularizationError, TlsError, UnavailableError
from .base import Conditions

T = TypeVar("T")


class Cancellable(Protocol):
    """A call under way."""

    def cancel(self) -> object:
        """End it."""


class Cancellation:
    """Ends calls from another thread: those under way, and those that are about to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called_off = threading.Event()
        self._calls: list[Cancellable] = []

    def covers(self, call: Cancellable) -> None:
        """Let a call that has started be ended; at once, if it is too late for it."""
        with self._lock:
            self._calls.append(call)
            too_late = self._called_off.is_set()
        if too_late:
            call.cancel()

    def call_off(self) -> None:
        """End every call, and every pause."""
        with self._lock:
            self._called_off.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    def pause(self, seconds: float) -> bool:
        """Wait; return whether to go on."""
        return not self._called_off.wait(seconds)


_ON_THE_WAY = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)


def broke_off(error: RegularizationError) -> bool:
    """Whether a call ended for want of a server, and not by what one said: that has a reason.

    A proxy puts the crash of a server behind it as INTERNAL, UNKNOWN or CANCELLED.
    """
    if isinstance(error, TlsError):
        return False
    return isinstance(error, UnavailableError) or (error.reason is None and error.code in _ON_THE_WAY)


def replayed(
    attempt: Callable[[float | None], T],
    conditions: Conditions,
    cancellation: Cancellation | None = None,
    harmless: Callable[[RegularizationError], bool] = lambda error: True,
) -> T:
    """Return what the attempt returns, given the seconds that are left, again where the call broke off.

    Or where the server asks for another attempt: it is made no sooner than it says.

    Args:
        attempt: Given the seconds that are left.
        conditions: How often, and how long in all.
        cancellation: What may end it early.
        harmless: Whether there may be another attempt after an error.

    Raises:
        RegularizationError: Of the last attempt that there was time for.
    """
    retry = conditions.retry
    deadline = None if conditions.timeout is None else time.monotonic() + conditions.timeout
    timeout = conditions.timeout
    number = 0
    while True:
        number += 1
        try:
            return attempt(timeout)
        except RegularizationError as error:
            if not broke_off(error) and error.retry_after is None:
                raise
            # At random, so that those that one server has left do not meet again at the next, all at once.
            # Never so short that all attempts are over before a server can be back.
            bound = min(retry.first_pause * 2.0 ** min(number - 1, 60), retry.longest_pause)
            pause = (error.retry_after or 0.0) + random.uniform(bound / 2, bound)  # noqa: S311 - no secret
            if number >= retry.attempts or not _in_time(pause, deadline) or not harmless(error):
                raise
            if not _paused(pause, cancellation):
                raise
            timeout = None if deadline is None else max(deadline - time.monotonic(), 0.0)


def _in_time(pause: float, deadline: float | None) -> bool:
    return deadline is None or time.monotonic() + pause < deadline


def _paused(seconds: float, cancellation: Cancellation | None) -> bool:
    if cancellation is not None:
        return cancellation.pause(seconds)
    time.sleep(seconds)
    return True
