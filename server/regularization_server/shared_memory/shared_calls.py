"""Calls whose elements lie in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regularization_kernels.engine import Chunk, run_whole
from regularization_kernels.errors import RegularizationError

from ..contract.binding import within
from ..contract.refusals import SharedMemoryUnavailable
from ..contract.tensors import elements_at
from .stretches import stretches_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from regularization.v1.shared_memory_pb2 import SharedTensor
    from regularization_kernels.engine import Call, ElementArray, MemoryBudget, Summary

    from .regions import Regions

SHARED = "header.shared"
"""Path of the field that says where a call's elements lie."""


class SharedRun:
    """A call on shared memory. All that its header says of the memory is checked before anything is read.

    Args:
        message: Where the elements lie.
        call: What is asked for.
        regions: The regions that there are; None where no shared memory is offered.

    Raises:
        SharedMemoryUnavailable: If no shared memory is offered.
        RegularizationError: If a region or a stretch of one is not what it must be.
    """

    def __init__(self, message: SharedTensor, call: Call, regions: Regions | None) -> None:
        if regions is None:
            text = "needs a server that listens on a Unix socket and has shared memory switched on"
            raise SharedMemoryUnavailable(text, field=SHARED)
        with within(SHARED):
            self._stretches = stretches_of(message, call, regions)
        self._call = call

    def compute(self, budget: MemoryBudget, threads: int, check: Callable[[], None]) -> Summary:
        """Carry the call out, once; its regions are then let go.

        Args:
            budget: Where buffered bytes are taken from.
            threads: How many may work at once.
            check: Called now and then; what it raises ends the call.
        """
        stretches, self._stretches = self._stretches, {}
        data_type = self._call.layout.data_type
        arrays: dict[str, ElementArray] = {
            name: elements_at(stretch.region.memory, stretch.begin, stretch.end, data_type)
            for name, stretch in stretches.items()
        }
        out = arrays.pop("result", None)
        try:
            chunk = Chunk(self._call.begin, **arrays)
            # What the client does to its memory meanwhile is not in our hands.
            return run_whole(self._call, chunk, out, budget, threads, check, volatile=True)
        except RegularizationError as error:
            # The engine names fields of a chunk, which the header's field has, too.
            if error.field is not None:
                error.within(SHARED)
            raise
