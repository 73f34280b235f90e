"""When a call that was refused may be tried again: what the server asks its clients to wait."""

from __future__ import annotations

import time

from regularization_kernels.errors import BudgetExceeded

from .refusals import TooManyCalls

SECONDS_FOR_A_CALL = 0.5
"""Time in which some call ends: most take milliseconds."""

SECONDS_APART = 0.02
"""Time between the calls that come again: fifty in a second are little work."""

LONGEST_SECONDS = 10.0
"""The longest that a caller is asked to wait for room for a call."""

SECONDS_FOR_MEMORY = 1.0
"""Time in which memory comes back: it is held by calls that are longer."""


class ComingAgain:
    """When calls that were refused come again, one after the other: all at once would be refused once more.

    Not safe to use from many threads.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def next(self) -> float:
        """Seconds after which the next one may come."""
        now = time.monotonic()
        self._last = min(max(now + SECONDS_FOR_A_CALL, self._last + SECONDS_APART), now + LONGEST_SECONDS)
        return self._last - now


def seconds_to_wait(error: Exception) -> float | None:
    """Seconds after which a call may do better that ended with this error; None where it never will."""
    if isinstance(error, TooManyCalls):
        return error.seconds
    if isinstance(error, BudgetExceeded):
        requested, most = error.metadata.get("requested_bytes", 0), error.metadata.get("budget_bytes", 0)
        return SECONDS_FOR_MEMORY if int(requested) <= int(most) else None
    return None
