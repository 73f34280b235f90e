"""Calls whose elements lie in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from regularization_kernels.engine import Chunk, Method, run_whole
from regularization_kernels.errors import RegularizationError

from ..contract.binding import within
from ..contract.refusals import SharedMemoryUnavailable
from ..contract.tensors import elements_at
from .stretches import stretches_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from regularization.v1.shared_memory_pb2 import SharedTensor
    from regularization_kernels.arrays import DataType
    from regularization_kernels.engine import Call, ElementArray, MemoryBudget, Summary

    from .regions import Regions

T = TypeVar("T")

SHARED = "header.shared"
"""Path of the field that says where a call's elements lie."""


class SharedElements:
    """The elements of a call. All that its header says of the memory is checked before anything is read.

    Args:
        message: Where they lie.
        element_range: Which of the vector they are.
        data_type: Theirs.
        reader: The method that writes no result; None where one is written.
        regions: The regions that there are; None where no shared memory is offered.

    Raises:
        SharedMemoryUnavailable: If no shared memory is offered.
        RegularizationError: If a region or a stretch of one is not what it must be.
    """

    def __init__(
        self,
        message: SharedTensor,
        element_range: tuple[int, int],
        data_type: DataType,
        reader: str | None,
        regions: Regions | None,
    ) -> None:
        if regions is None:
            text = "needs a server that listens on a Unix socket and has shared memory switched on"
            raise SharedMemoryUnavailable(text, field=SHARED)
        self._begin, end = element_range
        self._data_type = data_type
        with within(SHARED):
            self._stretches = stretches_of(message, end - self._begin, data_type.itemsize, reader, regions)

    def used(self, use: Callable[[Chunk, ElementArray | None], T]) -> T:
        """What is made of the elements and the place of the result, once; the regions are then let go."""
        stretches, self._stretches = self._stretches, {}
        arrays: dict[str, ElementArray] = {
            name: elements_at(stretch.region.memory, stretch.begin, stretch.end, self._data_type)
            for name, stretch in stretches.items()
        }
        out = arrays.pop("result", None)
        try:
            return use(Chunk(self._begin, **arrays), out)
        except RegularizationError as error:
            # The engine names fields of a chunk, which the header's field has, too.
            if error.field is not None:
                error.within(SHARED)
            raise


class SharedRun:
    """A call that is carried out on shared memory.

    Args:
        message: Where the elements lie.
        call: What is asked for.
        regions: The regions that there are; None where no shared memory is offered.

    Raises:
        SharedMemoryUnavailable: If no shared memory is offered.
        RegularizationError: If a region or a stretch of one is not what it must be.
    """

    def __init__(self, message: SharedTensor, call: Call, regions: Regions | None) -> None:
        reader = call.method.value if call.method is Method.PENALTY else None
        place = call.begin, call.end
        self._elements = SharedElements(message, place, call.layout.data_type, reader, regions)
        self._call = call

    def compute(self, budget: MemoryBudget, threads: int, check: Callable[[], None]) -> Summary:
        """Carry the call out, once; its regions are then let go.

        Args:
            budget: Where buffered bytes are taken from.
            threads: How many may work at once.
            check: Called now and then; what it raises ends the call.
        """

        def carried_out(chunk: Chunk, out: ElementArray | None) -> Summary:
            # What the client does to its memory meanwhile is not in our hands.
            return run_whole(self._call, chunk, out, budget, threads, check, volatile=True)

        return self._elements.used(carried_out)
