"""How many calls there may be at once, and when none is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from ..contract.refusals import ShuttingDown, TooManyCalls
from ..contract.retries import ComingAgain

if TYPE_CHECKING:
    from .context import CallContext


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
        self._refused = ComingAgain()

    @property
    def in_flight(self) -> int:
        """Calls whose handlers run."""
        return self._handlers

    @contextmanager
    def admitted(self, context: CallContext) -> Iterator[None]:
        """Count a call while its handler runs, and until its status is on its way.

        Raises:
            ShuttingDown: If no new calls are taken any more.
            TooManyCalls: If the limit is reached.
        """
        self._admit()
        # A handler is done before its last message and its status are sent; a stop waits for these, too.
        if not context.transport.add_callback(self._sent):
            self._sent()
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

    def _admit(self) -> None:
        with self._changed:
            if self._closed:
                raise ShuttingDown("the server is shutting down: replay the stream on another")
            if self._handlers >= self._limit:
                text = f"the server takes {self._limit} calls at once: try again, or another replica"
                raise TooManyCalls(text, "server", self._refused.next())
            self._handlers += 1
            self._open += 1

    def _sent(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
