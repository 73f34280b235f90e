"""Calls whose elements lie in shared memory: where they lie, and the call on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from regularization_kernels.engine import Chunk, Method, run_whole
from regularization_kernels.errors import FieldMissing, OperandUnsupported, RegularizationError

from ..contract.binding import within
from ..contract.refusals import RegionOverlap, RegionRangeInvalid, SharedMemoryUnavailable
from ..contract.tensors import elements_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from regularization.v1.shared_memory_pb2 import SharedStretch, SharedTensor
    from regularization_kernels.engine import Call, ElementArray, MemoryBudget, Summary

    from .regions import Region, Regions

SHARED = "header.shared"
"""Path of the field that says where a call's elements lie."""

Name = Literal["parameters", "loss_gradients", "reference", "weights", "step_scales", "result"]
"""The field of a stretch."""

_INPUTS: tuple[Name, ...] = ("parameters", "loss_gradients", "reference", "weights", "step_scales")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a region, and the region, which lasts as long as this does."""

    region: Region
    begin: int
    end: int

    def cuts_into(self, other: Stretch) -> bool:
        """Whether it shares some bytes with a stretch of the same length, but not all."""
        if self.region is not other.region or self.begin == other.begin:
            return False
        return self.begin < other.end and other.begin < self.end


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
            self._stretches = _stretches(message, call, regions)
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


def _stretches(message: SharedTensor, call: Call, regions: Regions) -> dict[Name, Stretch]:
    """The stretches that are set."""
    if not message.HasField("parameters"):
        raise FieldMissing("is required and unset", field="parameters")
    stretches = {name: _stretch(message, name, call, regions) for name in _INPUTS if message.HasField(name)}
    if call.method is Method.PENALTY:
        if message.HasField("result"):
            raise OperandUnsupported(f"is not taken by {call.method.value}", field="result")
        return stretches
    if not message.HasField("result"):
        raise FieldMissing("is required and unset", field="result")
    result = _stretch(message, "result", call, regions)
    for name, stretch in stretches.items():
        if result.cuts_into(stretch):
            text = f"must be the stretch of {name} exactly, or share no byte with it"
            raise RegionOverlap(text, field="result")
    return {**stretches, "result": result}


def _stretch(tensor: SharedTensor, name: Name, call: Call, regions: Regions) -> Stretch:
    message: SharedStretch = getattr(tensor, name)
    alignment = call.layout.data_type.itemsize
    # Python's integers have no end: nothing here can overflow.
    offset, length = message.byte_offset, (call.end - call.begin) * alignment
    with within(name):
        region = regions.find(message.region)
        rule = None
        if offset % alignment:
            rule = f"must be a multiple of the element size, {alignment}"
        if offset > region.size - length:
            rule = f"must leave room for {length} bytes in a region of {region.size}"
        if rule is not None:
            text = f"{rule}, got {offset}"
            raise RegionRangeInvalid(
                text, field="byte_offset", offset=offset, length=length, size=region.size
            )
    return Stretch(region, offset, offset + length)
