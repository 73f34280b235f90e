"""Ctrl-C and SIGTERM in the middle of a call."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_SECONDS_BETWEEN_LOOKS = 0.1


def interruptibly(work: Callable[[], T], cancel: Callable[[], object]) -> T:
    """Return what work returns; on Ctrl-C or SIGTERM cancel it, wait until it has ended, and exit.

    The work is done in a thread of its own, as signals only come to the main thread: an exception that a
    handler raised in the middle of grpc's code would leave its locks in disorder.

    Args:
        work: What to do.
        cancel: Makes the work end soon; called from another thread.

    Raises:
        SystemExit: With status 128 + the signal's number, if there was one.
    """
    with _noted() as received, ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while wait([future], _SECONDS_BETWEEN_LOOKS).not_done and not received:
            pass
        if received:
            cancel()
            wait([future])
            raise SystemExit(128 + received[0])
        return future.result()


@contextmanager
def exiting_on_sigterm() -> Iterator[None]:
    """Unwind on SIGTERM, as on Ctrl-C, so that nothing half-written is left."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    with _handling(leave, signal.SIGTERM):
        yield


@contextmanager
def _noted() -> Iterator[list[int]]:
    """Collect the signals that ask this process to stop."""
    received: list[int] = []
    with _handling(lambda number, _: received.append(number), signal.SIGINT, signal.SIGTERM):
        yield received


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], Any], *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals in another way for a while, but for those that are to be ignored."""
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in heeded.items():
            signal.signal(number, old)
