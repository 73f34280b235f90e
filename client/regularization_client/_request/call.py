"""One call: what its header says, and which elements come from and go where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from regularization.v1 import shared_memory_pb2

from .expected import Expected
from .header import Header
from .method import Method
from .stores import Elements, Sink, Source


class Stretch(NamedTuple):
    """A run of elements of the flat vector: a tensor, or as much of it as the call carries."""

    begin: int
    """Index, in the whole vector, of its first element."""

    end: int
    """One past its last."""

    sources: Mapping[str, Source]
    """Where its elements come from, by field of ``TensorChunk`` in the schema's order, "parameters" first."""

    sink: Sink | None
    """Where its results go; None drops them."""


class Keeper(Protocol):
    """Takes results by their place in the whole vector, in whatever order they come."""

    def keep(self, begin: int, values: Elements) -> None:
        """Keep the elements from begin on."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, to be carried out in whatever way, as often as need be."""

    header: Header
    """What the header says."""

    data_type: np.dtype[Any]
    """The elements' data type on the wire."""

    stretches: Sequence[Stretch]
    """Where the elements come from and go, in their order, none of them empty."""

    element_range: tuple[int, int] | None = None
    """Begin and end of the elements that the call carries; None for all of the layout's."""

    scattered: bool = False
    """Whether the call carries only some elements of its range: then it is several calls, its ``runs``."""

    results_may_alias: bool = False
    """Whether results may go to memory that they are computed from."""

    keeper: Keeper | None = None
    """What takes results in the place of the stretches' sinks; None where these do."""

    measured: frozenset[str] = frozenset()
    """Names of segments that its measurement is about, so that it may carry any part of them."""

    @property
    def method(self) -> Method:
        """What is asked for."""
        return self.header.method

    @property
    def begin(self) -> int:
        """Index of the first element that the call carries."""
        return 0 if self.element_range is None else self.element_range[0]

    @property
    def end(self) -> int:
        """One past the last."""
        if self.element_range is not None:
            return self.element_range[1]
        return self.header.layout.size

    @property
    def elements(self) -> int:
        """Number of elements that the call carries."""
        if self.scattered:
            return sum(stretch.end - stretch.begin for stretch in self.stretches)
        return self.end - self.begin

    @property
    def expected(self) -> Expected:
        """What the summary of the answer must say."""
        header = self.header
        return Expected(header.layout.sizes, self.begin, self.end, header.figures, header.by_segment)

    def header_bytes(self, shared: shared_memory_pb2.SharedTensor | None = None) -> bytes:
        """Return the header's bytes.

        Args:
            shared: Where the elements lie; None where they come in chunks.
        """
        return self.header.to_bytes(self.element_range, shared)

    def with_measurement(self, measurement: bytes, measured: frozenset[str]) -> Call:
        """Return the same call once these segments are measured."""
        return replace(self, header=replace(self.header, measurement=measurement), measured=measured)

    def measuring(self) -> Call:
        """Return the call that measures the same elements for this one."""
        fields = self.method.measured
        stretches = [
            Stretch(
                each.begin,
                each.end,
                {name: each.sources[name] for name in fields if name in each.sources},
                sink=None,
            )
            for each in self.stretches
        ]
        header = replace(self.header, method=self.method.measuring())
        return replace(self, header=header, stretches=stretches, results_may_alias=False)

    def runs(self) -> list[Call]:
        """Return the calls that carry the same elements, each without a gap between them."""
        if not self.scattered:
            return [self]
        runs: list[list[Stretch]] = []
        for stretch in self.stretches:
            if runs and runs[-1][-1].end == stretch.begin:
                runs[-1].append(stretch)
            else:
                runs.append([stretch])
        return [
            replace(self, stretches=run, element_range=(run[0].begin, run[-1].end), scattered=False)
            for run in runs
        ]

    def part(self, begin: int, end: int) -> Call:
        """Return the call that carries only the elements from begin to end, at least one."""
        touched = [each for each in self.stretches if each.begin < end and begin < each.end]
        return replace(self, stretches=touched, element_range=(begin, end))
