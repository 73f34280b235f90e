"""Signals, one after the other, for a main thread that waits for them."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable, Iterable
from types import FrameType


class Signals:
    """The signals that come from now on.

    A signal is also a byte on a socket. A thread that waits for a lock or a queue may miss it: where it comes
    between the last look and the wait, its handler runs when the wait is over.

    Args:
        numbers: Which. Handlers are what makes the first process of a container hear signals at all.
        on_signal: Called in the main thread with each.
    """

    def __init__(
        self, numbers: Iterable[int], on_signal: Callable[[int], None] = lambda number: None
    ) -> None:
        self._received, self._sent = socket.socketpair()
        self._received.setblocking(False)
        self._sent.setblocking(False)
        signal.set_wakeup_fd(self._sent.fileno(), warn_on_full_buffer=False)

        def handle(number: int, frame: FrameType | None) -> None:
            on_signal(number)

        for number in numbers:
            signal.signal(number, handle)

    def put(self, number: int) -> None:
        """Behave as if a signal had come; from any thread."""
        self._sent.send(bytes([number]))

    def next(self, timeout: float | None) -> int | None:
        """The next signal; None where there is none in so many seconds."""
        select.select([self._received], [], [], timeout)
        try:
            (number,) = self._received.recv(1)
        except BlockingIOError:
            return None
        return number
