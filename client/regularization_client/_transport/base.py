"""What a way to carry out calls is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from .._config import Gather, Retry
from .._request.call import Call
from .._results import Summary

Progress = Callable[[int, int], object]
"""Called with elements done and elements in all."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a call is carried out."""

    timeout: float | None
    """Seconds for everything, replays and pauses included; None for no limit."""

    retry: Retry
    """How often to replay, and how long to wait before."""

    chunk_bytes: int
    """The most bytes of parameters and operands in one message."""

    progress: Progress | None = None
    """Told how far the call has come."""

    streams: int = 1
    """Over how many streams to send chunks at once, at most."""

    gather: Gather | None = None
    """What brings the statistics of all parts to each, where others have the rest of the vector."""

    def timed(self) -> Callable[[], Conditions]:
        """Return what gives these conditions with as much of their time as is left then."""
        if self.timeout is None:
            return lambda: self
        deadline = time.monotonic() + self.timeout
        return lambda: replace(self, timeout=max(deadline - time.monotonic(), 0.0))


class Transport(Protocol):
    """A way for elements to the server and for results back: in chunks, sharded, in shared memory.

    A way that does not fit every call has another behind it, to which it leaves those that it does not fit.
    """

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """Carry out a call: when it returns, results are where they belong.

        Raises:
            RegularizationError: If the call fails, at last.
        """


class Measurer(Transport, Protocol):
    """A way that can measure elements, too, for calls on parts of a vector."""

    def measure(self, call: Call, conditions: Conditions) -> bytes:
        """Return the statistics of a call's elements.

        Raises:
            RegularizationError: If that fails, at last.
        """
