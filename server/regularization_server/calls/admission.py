"""The calls in flight: their record, how many there may be, and when none is left."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Condition, Event
from typing import TYPE_CHECKING

from ..contract.refusals import ShuttingDown, TooManyCalls

if TYPE_CHECKING:
    import grpc


UNIX_PEER = "unix"
"""What the peers of calls on the same host have; between sockets of one host nothing is lost."""


@dataclass
class CallRecord:
    """What the log says of one call."""

    method: str
    peer: str
    elements: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    shared: bool = False
    _started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Age of the call."""
        return time.perf_counter() - self._started


_record: ContextVar[CallRecord | None] = ContextVar("record", default=None)


def count_elements(elements: int) -> None:
    """Add to the elements that the present call has received."""
    record = _record.get()
    if record is not None:
        record.elements += elements


def note_shared_memory() -> None:
    """Say that the elements of the present call lie in shared memory."""
    record = _record.get()
    if record is not None:
        record.shared = True


class ClientGone(Exception):
    """Nobody waits for the call's answer any more: it was cancelled, or its time is over."""


def check_wanted(context: grpc.ServicerContext) -> None:
    """Go on only where somebody waits for the answer.

    Raises:
        ClientGone: If nobody does.
    """
    if not context.is_active():
        raise ClientGone


class Calls:
    """The calls in flight, of all threads.

    Args:
        limit: How many there may be at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = Condition()
        self._closed = False
        self._handlers = 0
        self._open = 0
        self._linger = 0.0
        self._drain_ends: float | None = None
        self._last_end = -math.inf

    @contextmanager
    def admitted(self, record: CallRecord, context: grpc.ServicerContext) -> Iterator[None]:
        """Count a call while its handler runs, and until its status is on its way.

        Raises:
            ShuttingDown: If no new calls are taken any more.
            TooManyCalls: If the limit is reached.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDown("the server is shutting down: replay the stream on another")
            if self._handlers >= self._limit:
                raise TooManyCalls(
                    f"the server takes {self._limit} calls at once: try again, or another replica"
                )
            self._handlers += 1
            self._open += 1
        # A handler is done before its last message and its status are sent; a drain waits for these too.
        if not context.add_callback(self._sent):
            self._sent()
        # gRPC gives each call a context of its own, so there is nothing to set back.
        _record.set(record)
        try:
            yield
            if not record.peer.startswith(UNIX_PEER):
                self._hold(context)
        finally:
            with self._changed:
                self._handlers -= 1
                self._changed.notify_all()

    def drain(self, linger: float, grace: float) -> float:
        """Let calls over a network last a moment longer from now on: their connections end with the last.

        A connection that is closed while the other side still reads, or has sent what nobody reads any more,
        may lose the end of what was sent.

        Args:
            linger: Seconds between a call's last message and its status.
            grace: Seconds until calls are cut off.

        Returns:
            Seconds until those that are over by now have had this time, too; none from the second time on.
        """
        if self._drain_ends is not None:
            return 0.0
        now = time.monotonic()
        self._linger, self._drain_ends = linger, now + grace
        return min(max(self._last_end + linger - now, 0.0), grace)

    def close(self) -> None:
        """Admit no more calls."""
        with self._changed:
            self._closed = True

    def wait_until_none(self, timeout: float) -> bool:
        """Wait until every handler is done, its status sent or its client gone; whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == self._handlers == 0, timeout)

    def _hold(self, context: grpc.ServicerContext) -> None:
        """Wait where the server drains, unless the client goes; deadline and grace are not used up."""
        now = time.monotonic()
        self._last_end = now
        if self._drain_ends is None:
            return
        left = [self._drain_ends - now, context.time_remaining()]
        seconds = min(self._linger, *(each / 2 for each in left if each is not None))
        gone = Event()
        if context.add_callback(gone.set):
            gone.wait(max(seconds, 0.0))

    def _sent(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
