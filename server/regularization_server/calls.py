"""The calls in flight: their record, how many there may be, and when none is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING

from regularization_kernels.errors import ShuttingDown

from .refusals import TooManyCalls

if TYPE_CHECKING:
    import grpc


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
        finally:
            with self._changed:
                self._handlers -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Admit no more calls."""
        with self._changed:
            self._closed = True

    def wait_until_none(self, timeout: float) -> bool:
        """Wait until every handler is done, its status sent or its client gone; whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == self._handlers == 0, timeout)

    def _sent(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
