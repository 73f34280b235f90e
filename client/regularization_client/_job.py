"""What one call has to do: the header, and which elements come from and go where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from regularization_client._stores import Sink, Source


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
    """The elements that the call carries, without gaps, none of them empty."""

    @property
    def begin(self) -> int:
        """Index of the first element that the call carries."""
        return self.stretches[0].begin if self.stretches else 0

    @property
    def end(self) -> int:
        """One past the last."""
        return self.stretches[-1].end if self.stretches else 0


def chunks(job: Job, chunk_bytes: int) -> Iterator[list[Cut]]:
    """Yield the pieces of each chunk in turn, none of more than chunk_bytes, operands included.

    Small tensors travel together. A tensor that does not fit into what is left of a chunk begins one of its
    own, and chunks have a power of two elements: so the chunks of a large tensor lie on the block grid that
    the server adds up along. Where the operands change, so does the chunk.
    """
    cuts: list[Cut] = []
    room = 0
    for stretch in job.stretches:
        most = _power_of_two(chunk_bytes // (len(stretch.sources) * job.data_type.itemsize))
        if cuts and (
            stretch.end - stretch.begin > room or stretch.sources.keys() != cuts[-1].stretch.sources.keys()
        ):
            yield cuts
            cuts = []
        if not cuts:
            room = most
        for begin in range(stretch.begin, stretch.end, most):
            if room == 0 and cuts:
                yield cuts
                cuts, room = [], most
            end = min(begin + most, stretch.end)
            cuts.append(Cut(stretch, begin, end))
            room -= end - begin
    if cuts:
        yield cuts


def _power_of_two(number: int) -> int:
    """The largest power of two up to the number, and 1 at least."""
    return 1 << max(number.bit_length() - 1, 0)
