"""Where the elements of a call lie in shared memory. All that a header says of it is checked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from regularization_kernels.errors import FieldMissing, OperandUnsupported

from ..contract.binding import within
from ..contract.refusals import RegionOverlap, RegionRangeInvalid

if TYPE_CHECKING:
    from regularization.v1.shared_memory_pb2 import SharedStretch, SharedTensor

    from .regions import Region, Regions

Name = Literal["parameters", "loss_gradients", "reference", "weights", "step_scales", "result"]
"""The field of a stretch; the result comes last."""

_INPUTS: tuple[Name, ...] = get_args(Name)[:-1]


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


def stretches_of(
    message: SharedTensor, size: int, alignment: int, reader: str | None, regions: Regions
) -> dict[Name, Stretch]:
    """The stretches that are set, by name, each within its region.

    Args:
        message: Where they are said to lie.
        size: Elements of each.
        alignment: Bytes of an element.
        reader: The method that writes no result; None where one is written.
        regions: The regions that there are.

    Raises:
        RegularizationError: If one is missing, or not what it must be.
    """
    if not message.HasField("parameters"):
        raise FieldMissing("is required and unset", field="parameters")
    length = size * alignment
    stretches = {
        name: _stretch(message, name, length, alignment, regions)
        for name in _INPUTS
        if message.HasField(name)
    }
    if reader is not None:
        if message.HasField("result"):
            raise OperandUnsupported(f"is not taken by {reader}", field="result")
        return stretches
    if not message.HasField("result"):
        raise FieldMissing("is required and unset", field="result")
    result = _stretch(message, "result", length, alignment, regions)
    for name, stretch in stretches.items():
        if result.cuts_into(stretch):
            text = f"must be the stretch of {name} exactly, or share no byte with it"
            raise RegionOverlap(text, field="result")
    return {**stretches, "result": result}


def _stretch(tensor: SharedTensor, name: Name, length: int, alignment: int, regions: Regions) -> Stretch:
    message: SharedStretch = getattr(tensor, name)
    # Python's integers have no end: nothing here can overflow.
    offset = message.byte_offset
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
