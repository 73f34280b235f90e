"""When a call that was refused may be tried again: what the server asks its clients to wait."""

from __future__ import annotations

from regularization_kernels.errors import BudgetExceeded

from .refusals import TooManyCalls

SECONDS_FOR_A_CALL = 0.5
"""Time in which some call ends: most take milliseconds."""

SECONDS_FOR_MEMORY = 1.0
"""Time in which memory comes back: it is held by calls that are longer."""


def seconds_to_wait(error: Exception) -> float | None:
    """Seconds after which a call may do better that ended with this error; None where it never will."""
    if isinstance(error, TooManyCalls):
        return SECONDS_FOR_A_CALL
    if isinstance(error, BudgetExceeded):
        requested, most = error.metadata.get("requested_bytes", 0), error.metadata.get("budget_bytes", 0)
        return SECONDS_FOR_MEMORY if int(requested) <= int(most) else None
    return None
