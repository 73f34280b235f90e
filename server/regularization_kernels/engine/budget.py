"""One budget for all bytes that the process holds back for its calls."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Self

from ..errors import BudgetExceeded

if TYPE_CHECKING:
    from types import TracebackType


class MemoryBudget:
    """So many bytes for all calls together; what does not fit is refused before it is allocated.

    Safe to use from many threads.

    Args:
        total: Bytes, >= 0.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._lock = Lock()

    @property
    def used(self) -> int:
        """Bytes reserved at present."""
        return self._used

    def reserve(self, size: int) -> None:
        """Take ``size`` bytes from the budget.

        Raises:
            BudgetExceeded: If they do not fit; nothing is taken.
        """
        with self._lock:
            available = self.total - self._used
            if size > available:
                raise BudgetExceeded(
                    f"buffering {size} bytes exceeds the memory budget: {available} of {self.total} are free",
                    requested_bytes=size,
                    available_bytes=available,
                    budget_bytes=self.total,
                )
            self._used += size

    def release(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self._lock:
            self._used -= size


class Reservation:
    """What one call holds of a budget; it all goes back when the call closes."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._held = 0

    def add(self, size: int) -> None:
        """Hold ``size`` bytes more.

        Raises:
            BudgetExceeded: If they do not fit; nothing more is held.
        """
        self._budget.reserve(size)
        self._held += size

    def reduce_to(self, size: int) -> None:
        """Hold no more than ``size`` bytes."""
        if size < self._held:
            self._budget.release(self._held - size)
            self._held = size

    def close(self) -> None:
        """Hold nothing."""
        self.reduce_to(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
