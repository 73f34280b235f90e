"""What a way to carry out calls is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .._config import Retry
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


class Transport(Protocol):
    """A way for elements to the server and for results back: in chunks, sharded, in shared memory.

    A way that does not fit every call has another behind it, to which it leaves those that it does not fit.
    """

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """Carry out a call: when it returns, results are where they belong.

        Raises:
            RegularizationError: If the call fails, at last.
        """
