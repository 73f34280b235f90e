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
        whole: The budget that this one is a share of: what is taken here is taken there, too. None for none.

    Attributes:
        total: Bytes.
        scope: Who shares it, for errors: "server", or "caller" where it is a share.
    """

    def __init__(self, total: int, whole: MemoryBudget | None = None) -> None:
        self.total = total
        self.scope = "server" if whole is None else "caller"
        self._whole = whole
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
            if size > self.total - self._used:
                raise self._exceeded(size)
            self._used += size
        if self._whole is not None:
            try:
                self._whole.reserve(size)
            except BudgetExceeded:
                self._give_back(size)
                raise

    def check_fits(self, size: int) -> None:
        """Check that ``size`` bytes could be had, if nobody else had any.

        Raises:
            BudgetExceeded: If not, however long one waits.
        """
        if size > self.total:
            raise self._exceeded(size)
        if self._whole is not None:
            self._whole.check_fits(size)

    def release(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self._give_back(size)
        if self._whole is not None:
            self._whole.release(size)

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._used -= size

    def _exceeded(self, size: int) -> BudgetExceeded:
        available = self.total - self._used
        owner = "the memory budget" if self._whole is None else "the caller's share of the memory budget"
        return BudgetExceeded(
            f"buffering {size} bytes exceeds {owner}: {available} of {self.total} are free",
            requested_bytes=size,
            available_bytes=available,
            budget_bytes=self.total,
            scope=self.scope,
        )


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

    def raise_to(self, size: int) -> None:
        """Hold ``size`` bytes at least.

        Raises:
            BudgetExceeded: If they do not fit; nothing more is held.
        """
        if size > self._held:
            self.add(size - self._held)

    def check_fits(self, size: int) -> None:
        """Check that ``size`` bytes could be had, if nobody else had any.

        Raises:
            BudgetExceeded: If not, however long one waits.
        """
        self._budget.check_fits(size)

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
