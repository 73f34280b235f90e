"""What the messages of a call take of the memory budget: those in hand, those unread, those not sent yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regularization_kernels.engine import Reservation
from regularization_kernels.errors import BudgetExceeded

from ..units import KIB

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from regularization_kernels.engine import MemoryBudget

SMALL = 16 * KIB
"""Bytes of a message that is not charged: the call's thread takes more."""

REQUESTS_IN_HAND = 3
"""Times a request that its call takes: the message, and in float64 what is computed of it."""

ANSWERS_IN_HAND = 3
"""Copies of an answer that exist at once: the result, the message made of it, and the one that gRPC sends."""


PARTS_OF_WINDOW = 8
"""Of a window, a stream is charged for one of so many parts until a message comes that is not small: most
calls are one message, and that is small."""


class HeldMessages:
    """What the messages of one call take.

    Messages of a stream are mostly of one size. So what the largest took is held to the call's end, and of
    most messages nothing has to be counted.

    Args:
        memory: The budget.
        window: Bytes that the client may send of a stream before they are read.

    Raises:
        BudgetExceeded: If the window does not fit.
    """

    def __init__(self, memory: MemoryBudget, window: int) -> None:
        self._held = Reservation(memory)
        self._window = window
        self._request = SMALL
        self._answer = SMALL
        self._answers = ANSWERS_IN_HAND
        self._held.add(window // PARTS_OF_WINDOW)

    def received(self, size: int) -> None:
        """Account for a request message that is there.

        Raises:
            BudgetExceeded: If it does not fit.
        """
        if size > self._request:
            self._held.raise_to(self._sum(size, self._answer, self._answers))
            self._request = size

    def made(self, size: int) -> None:
        """Account for an answer that is to be sent.

        Raises:
            BudgetExceeded: If it does not fit.
        """
        if size > self._answer:
            self._held.raise_to(self._sum(self._request, size, self._answers))
            self._answer = size

    def may_wait(self, answers: int) -> bool:
        """Account for so many more answers that wait to be sent; whether they fit."""
        more = self._answers + answers
        try:
            self._held.raise_to(self._sum(self._request, self._answer, more))
        except BudgetExceeded:
            return False
        self._answers = more
        return True

    def _sum(self, request: int, answer: int, answers: int) -> int:
        """Bytes that messages of these sizes take, beyond those of small ones."""
        return self._window + REQUESTS_IN_HAND * (request - SMALL) + answers * (answer - SMALL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
