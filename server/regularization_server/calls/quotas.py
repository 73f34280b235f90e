"""What one caller may have at once, beside the others: calls, and a share of the memory budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from regularization_kernels.engine import MemoryBudget

from ..contract.refusals import TooManyCalls
from ..contract.retries import ComingAgain
from .callers import Caller, CallerKind

if TYPE_CHECKING:
    from ..settings import Settings
    from .context import CallContext

USUAL_PERCENT = 90
"""What one caller may have of everything, unless settings say more or less: the others find the rest."""


class Limits(NamedTuple):
    """What one caller may have at once; None for all."""

    calls: int | None
    """Calls in flight."""
    memory: int | None
    """Bytes of the memory budget."""


@dataclass(slots=True)
class _Held:
    """What one caller has at present."""

    memory: MemoryBudget
    calls: int = 0
    refused: ComingAgain = field(default_factory=ComingAgain)


class Quotas:
    """What each caller has, of all callers that have calls in flight. Safe to use from many threads.

    Args:
        budget: The memory budget that all share.
        limits: What a caller may have.
        limits_of_host: Likewise, all callers over Unix sockets together, who show no token.
    """

    def __init__(self, budget: MemoryBudget, limits: Limits, limits_of_host: Limits) -> None:
        self._budget = budget
        self._limits = limits
        self._limits_of_host = limits_of_host
        self._held: dict[Caller, _Held] = {}
        self._lock = Lock()

    @property
    def callers(self) -> int:
        """Callers that have calls in flight."""
        return len(self._held)

    @contextmanager
    def counted(self, context: CallContext) -> Iterator[None]:
        """Count a call as one of its caller's, and give it the caller's share of the memory budget.

        Raises:
            TooManyCalls: If the caller has as many as it may have.
        """
        caller = context.caller
        context.memory = self._enter(caller)
        try:
            yield
        finally:
            self._leave(caller)

    def _enter(self, caller: Caller) -> MemoryBudget:
        limits = self._limits_of_host if caller.kind is CallerKind.HOST else self._limits
        with self._lock:
            held = self._held.get(caller)
            if held is None:
                held = self._held[caller] = _Held(self._share(limits.memory))
            if limits.calls is not None and held.calls >= limits.calls:
                text = f"a caller has {limits.calls} calls at once: wait until one of yours has ended"
                raise TooManyCalls(text, "caller", held.refused.next())
            held.calls += 1
            return held.memory

    def _share(self, memory: int | None) -> MemoryBudget:
        return self._budget if memory is None else MemoryBudget(memory, self._budget)

    def _leave(self, caller: Caller) -> None:
        with self._lock:
            held = self._held[caller]
            held.calls -= 1
            if not held.calls:
                del self._held[caller]


def quotas_of(settings: Settings, budget: MemoryBudget) -> Quotas:
    """The quotas that settings ask for."""
    calls, share = settings.max_calls_per_caller, settings.memory_share_per_caller
    limits = Limits(
        part_of(settings.max_concurrent_calls, USUAL_PERCENT) if calls is None else calls,
        part_of(budget.total, USUAL_PERCENT if share is None else share),
    )
    # They may be many: what nobody has set does not hold them.
    limits_of_host = Limits(calls, None if share is None else limits.memory)
    return Quotas(budget, limits, limits_of_host)


def part_of(whole: int, percent: int) -> int:
    """So many per cent of a whole, >= 1, rounded up."""
    return -(-whole * percent // 100)
