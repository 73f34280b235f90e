"""While a server stops: calls over a network last a moment longer, for their connections end with the last.

A connection that is closed while the other side still reads, or has sent what nobody reads any more, may lose
the end of what was sent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

    from .context import CallContext


class Drain:
    """The time between the last message of a call and its status: none until a server stops."""

    def __init__(self) -> None:
        self._linger = 0.0
        self._ends: float | None = None
        self._last_end = -math.inf

    @property
    def has_begun(self) -> bool:
        """Whether the server stops."""
        return self._ends is not None

    def begin(self, linger: float, grace: float) -> float:
        """Let calls over a network linger from now on.

        Args:
            linger: Seconds between a call's last message and its status.
            grace: Seconds until calls are cut off.

        Returns:
            Seconds until those that are over by now have had this time, too; none from the second time on.
        """
        if self.has_begun:
            return 0.0
        now = time.monotonic()
        self._linger, self._ends = linger, now + grace
        return min(max(self._last_end + linger - now, 0.0), grace)

    @contextmanager
    def lingering(self, context: CallContext) -> Iterator[None]:
        """Keep a call that has gone well, if its connection may close behind it."""
        yield
        if not context.is_local:
            self._hold(context.transport)

    def _hold(self, transport: grpc.ServicerContext) -> None:
        """Wait where the server stops, unless the client goes; deadline and grace are not used up."""
        now = time.monotonic()
        self._last_end = now
        if self._ends is None:
            return
        left = [self._ends - now, transport.time_remaining()]
        seconds = min(self._linger, *(each / 2 for each in left if each is not None))
        gone = Event()
        if transport.add_callback(gone.set):
            gone.wait(max(seconds, 0.0))
