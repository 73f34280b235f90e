"""What one call has to do: the header, and which elements come from and go where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .expected import Expected
from .stores import Sink, Source

PENALTY, GRADIENT, PROXIMAL_STEP = "Penalty", "Gradient", "ProximalStep"
"""The methods that take a stream."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of elements of the flat vector: a tensor, or as much of it as the call carries."""

    begin: int
    """Index, in the whole vector, of its first element."""

    end: int
    """One past its last."""

    sources: Mapping[str, Source]
    """Where its elements come from, by field of TensorChunk in the schema's order, "parameters" first."""

    sink: Sink | None
    """Where its results go; None drops them."""


class Cut(NamedTuple):
    """A piece of a stretch that travels in one message; begin and end count from the whole vector's start."""

    stretch: Stretch
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Job:
    """One call, ready to be sent as often as need be."""

    method: str
    """Name of the method in the service."""

    header: bytes
    """The header as bytes."""

    data_type: np.dtype[Any]
    """The elements' data type on the wire."""

    stretches: Sequence[Stretch]
    """Where the elements come from and go, without gaps, none of them empty."""

    expected: Expected
    """What its summary must say."""

    element_range: tuple[int, int] | None = None
    """Begin and end of the elements that the call carries; None for those of all stretches."""

    @property
    def begin(self) -> int:
        """Index of the first element that the call carries."""
        if self.element_range is not None:
            return self.element_range[0]
        return self.stretches[0].begin if self.stretches else 0

    @property
    def end(self) -> int:
        """One past the last."""
        if self.element_range is not None:
            return self.element_range[1]
        return self.stretches[-1].end if self.stretches else 0

    def part(self, begin: int, end: int, header: bytes) -> Job:
        """Return the call that carries only the elements from begin to end, at least one."""
        touched = [each for each in self.stretches if each.begin < end and begin < each.end]
        return replace(
            self,
            header=header,
            stretches=touched,
            expected=self.expected.of(begin, end),
            element_range=(begin, end),
        )


@dataclass(frozen=True, slots=True)
class SharedJob:
    """One call whose elements lie in shared memory, and so will its results."""

    method: str
    """Name of the method in the service."""

    header: bytes
    """The header as bytes, which says where."""

    expected: Expected
    """What its summary must say."""

    regions: frozenset[bytes]
    """The handles of the memory."""

    in_place: bool
    """Whether the results take the place of what they are computed from."""

    @property
    def elements(self) -> int:
        """How many there are."""
        return self.expected.end - self.expected.begin


def chunks(job: Job, chunk_bytes: int) -> Iterator[list[Cut]]:
    """Yield the pieces of each chunk in turn, none of more than chunk_bytes, operands included.

    Small tensors travel together. A tensor that does not fit into what is left of a chunk begins one of its
    own, and chunks have a power of two elements: so the chunks of a large tensor lie on the block grid that
    the server adds up along. Where the operands change, so does the chunk.
    """
    cuts: list[Cut] = []
    room = 0
    for stretch in job.stretches:
        first, last = max(stretch.begin, job.begin), min(stretch.end, job.end)
        most = _power_of_two(chunk_bytes // (len(stretch.sources) * job.data_type.itemsize))
        if cuts and (last - first > room or stretch.sources.keys() != cuts[-1].stretch.sources.keys()):
            yield cuts
            cuts = []
        if not cuts:
            room = most
        for begin in range(first, last, most):
            if room == 0 and cuts:
                yield cuts
                cuts, room = [], most
            end = min(begin + most, last)
            cuts.append(Cut(stretch, begin, end))
            room -= end - begin
    if cuts:
        yield cuts


def _power_of_two(number: int) -> int:
    """The largest power of two up to the number, and 1 at least."""
    return 1 << max(number.bit_length() - 1, 0)
