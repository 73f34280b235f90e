"""While a server stops: calls over a network last a moment longer, for their connections end with the last.

A connection that is closed while the other side still reads, or has sent what nobody reads any more, may lose
the end of what was sent.
"""

from __future__ import annotations

import math
import time
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    def hold(self, context: CallContext) -> None:
        """Keep a call that has gone well while the server stops, unless its client goes.

        Half of what its deadline and the grace leave is not used up. Over a Unix socket nothing is lost, and
        nobody waits.
        """
        if context.is_local:
            return
        now = time.monotonic()
        self._last_end = now
        if self._ends is None:
            return
        left = [self._ends - now, context.transport.time_remaining()]
        seconds = min(self._linger, *(each / 2 for each in left if each is not None))
        gone = Event()
        if context.transport.add_callback(gone.set):
            gone.wait(max(seconds, 0.0))
