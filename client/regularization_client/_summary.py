"""What the summary of an answer must say, by what was asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from regularization.v1 import summary_pb2

from regularization_client._errors import ProtocolError, TruncatedStreamError


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a summary before it comes."""

    sizes: Mapping[str, int]
    """How many elements each segment of the whole layout has, by name and in order."""

    begin: int
    """Index of the first element that the call carries."""

    end: int
    """One past the last."""

    figures: Collection[str]
    """Names of the figures that were asked for."""

    @classmethod
    def of_layout(
        cls, sizes: Mapping[str, int], figures: Collection[str], element_range: tuple[int, int] | None = None
    ) -> Expected:
        """Return what is expected of a call that carries a range of the layout's elements, or all."""
        begin, end = element_range or (0, sum(sizes.values()))
        return cls(sizes, begin, end, figures)

    def of(self, begin: int, end: int) -> Expected:
        """Return what is expected of the part of the call from begin to end."""
        return replace(self, begin=begin, end=end)

    def check(self, summary: summary_pb2.Summary | None) -> summary_pb2.Summary:
        """Return the summary, if it is one of this call.

        Raises:
            TruncatedStreamError: If there is none.
            ProtocolError: If it is of other elements or segments, or has figures that cannot be.
        """
        if summary is None:
            raise TruncatedStreamError("the answer has no summary")
        self._check_figures(summary.total, self.end - self.begin, "total")
        if self.begin == self.end:
            # Which segments an empty range touches, the contract leaves open.
            return summary
        due = list(self._segments())
        if len(summary.segments) != len(due):
            raise ProtocolError(f"the summary has {len(summary.segments)} segments, where {len(due)} are due")
        for entry, (name, elements) in zip(summary.segments, due, strict=True):
            if entry.name != name:
                raise ProtocolError(f"the summary has segment {entry.name!r}, where {name!r} is due")
            self._check_figures(entry.figures, elements, name)
        return summary

    def _segments(self) -> Iterator[tuple[str, int]]:
        """Yield name and number of elements of each segment that the call touches."""
        begin, first, last = 0, self.begin, self.end
        for name, size in self.sizes.items():
            end = begin + size
            inside = min(end, last) - max(begin, first)
            if inside > 0 or (size == 0 and inside == 0):
                yield name, inside
            begin = end

    def _check_figures(self, figures: summary_pb2.Figures, elements: int, place: str) -> None:
        if figures.elements != elements:
            raise ProtocolError(
                f"the summary is of {figures.elements} elements ({place}), where {elements} were sent"
            )
        for name in self.figures:
            if not figures.HasField(name):  # type: ignore[arg-type] # the schema's names, checked as such
                raise ProtocolError(f"the summary has no {name} ({place}), which was asked for")
        if not 0 <= figures.nonzeros <= elements:
            raise ProtocolError(f"the summary counts {figures.nonzeros} nonzeros ({place}) of {elements}")
        _check_sum(figures.penalty, place)
        _check_sum(figures.squared_distance, place)


def _check_sum(exact: summary_pb2.ExactSum, place: str) -> None:
    """See `ExactSum` in the schema: each number is what the ones before it leave, rounded."""
    value, expansion = exact.value, exact.expansion
    if not expansion:
        if value != 0:
            raise ProtocolError(f"the summary has a sum of {value} without its expansion ({place})")
        return
    first = expansion[0]
    if value != first and not (math.isnan(value) and math.isnan(first)):
        raise ProtocolError(f"the summary has a sum of {value} whose expansion begins with {first} ({place})")
    if len(expansion) == 1:
        return
    last = first
    for number in expansion[1:]:
        # Of an infinity or NaN nothing remains, and a remainder is at most half a unit in the last place.
        if not (math.isfinite(last) and 0 < abs(number) <= math.ulp(last) / 2):
            raise ProtocolError(f"the summary has a sum of {value} with {number} in its expansion ({place})")
        last = number
